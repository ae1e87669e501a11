"""The layout of a workspace: where its files are, which directories are workspaces, and which are never searched.

core-agent writes `status.json` beside `.meta/`; the newer layout has it in `.meta/`.
"""

from __future__ import annotations

import errno
import os
import stat
from fnmatch import fnmatchcase

from agentic_watch.config import Root
from agentic_watch.workspace import files, signatures


def name_problem(name: str) -> str | None:
    """Why a directory's name cannot be a workspace's name; None when it can.

    Names appear in log lines, JSON and SQL text: they must be UTF-8 without control characters.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    return None if name.isprintable() else "the name holds control characters"


META = ".meta"
STATUS = "status.json"
REPORT = "report.json"
JOURNAL = "journal.jsonl"
MARKER = "commit.json"

META_STATUS = f"{META}/{STATUS}"
META_MARKER = f"{META}/{MARKER}"
META_REPORT = f"{META}/{REPORT}"
META_JOURNAL = f"{META}/{JOURNAL}"

CLONES = frozenset({"repo", "src"})
TELLING_DIRECTORIES = CLONES | {META}
"""Names of directories whose appearance can make their parent a workspace."""
_STATUS_DEPTHS = (1, 3)


def status_files(directory: int, prefix: str, root: Root, depth: int) -> tuple[os.stat_result | None, ...] | None:
    """The stats of (`.meta/status.json`, `status.json`) of the directory `prefix` if it is a workspace, else None.

    `prefix` is "" or ends in `/`. A stat is only a hint: the commit opens everything again, safely. Raises OSError when
    the directory cannot be read.
    """
    in_meta = _stat(directory, prefix + META_STATUS) if root.layout != "root" else None
    beside = _stat(directory, prefix + STATUS) if root.layout != "meta" else None
    if in_meta is not None:
        return in_meta, beside
    if beside is None:
        return None
    if depth in _STATUS_DEPTHS or _is_dispatched(directory, prefix):
        return None, beside
    return None


def journal_signature(meta: int) -> bytes:
    """The signature of a workspace without a status file but with a journal in `meta`: two absent files, then the
    journal."""
    return signatures.ABSENT + signatures.at(meta, JOURNAL)


def _is_dispatched(directory: int, prefix: str) -> bool:
    return _is_directory(directory, prefix + META) and any(_is_directory(directory, prefix + c) for c in CLONES)


def _is_directory(directory: int, path: str) -> bool:
    info = _stat(directory, path)
    return info is not None and stat.S_ISDIR(info.st_mode)


def exists(directory: int, path: str) -> bool:
    """Whether `path` exists, as a file of any type."""
    return _stat(directory, path) is not None


def _stat(directory: int, path: str) -> os.stat_result | None:
    try:
        return os.stat(path, dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return None  # `.meta` is a dangling symlink
        raise


_NEVER = frozenset({META, ".git", "node_modules"})
_CLONE_DEPTH = 4


def may_enter(root: Root, base: str, name: str, depth: int, beside_workspace_files: bool) -> bool:
    """Whether to search the directory `base`, which is `name` relative to the root, at `depth`.

    `beside_workspace_files`: its parent has a `.meta` or a status file, so a clone in it belongs to that workspace.
    """
    if depth > root.max_depth or base in _NEVER:
        return False
    if base in CLONES and (depth >= _CLONE_DEPTH or beside_workspace_files):
        return False
    return not root.ignore or not any(fnmatchcase(base, glob) or fnmatchcase(name, glob) for glob in root.ignore)


def no_workspace(root: Root, name: str) -> tuple[str, str] | None:
    """Why the directory `name` below a root cannot be a workspace, and the workspace it belongs to ("" for none).

    None when it can be one. A hint from the current files: None also when the root cannot be read.
    """
    parts = name.split("/")
    above = ["/".join(parts[:depth]) for depth in range(len(parts))]
    for base, parent in zip(parts, above, strict=True):
        if base in _NEVER:
            return f"no workspace lies in {base}", parent
    try:
        directory = files.open_root(root.path)
    except OSError:
        return None
    try:
        for depth, parent in enumerate(above[1:], 1):
            if _holds_one(directory, parent, root, depth, parts[depth]):
                return f"it is inside the workspace {parent}", parent
    except OSError:
        return None
    finally:
        os.close(directory)
    return None


def _holds_one(directory: int, parent: str, root: Root, depth: int, base: str) -> bool:
    """Whether `parent` is a workspace, or may become one with the clone `base`."""
    if base in CLONES and exists(directory, f"{parent}/{META}"):
        return True
    return status_files(directory, f"{parent}/", root, depth) is not None
