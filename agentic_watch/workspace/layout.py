"""Where things are in a workspace, and which directories are one.

The original (core-agent) writes `status.json` beside `.meta/`; the newer layout has it in `.meta/`.

Which directory names can be a workspace's name.

Which directories are never entered when workspaces are looked for, and which can therefore be no workspace.
"""

from __future__ import annotations

import errno
import os
import stat
from fnmatch import fnmatchcase

from agentic_watch.config import Root
from agentic_watch.workspace import files, signatures


def name_problem(name: str) -> str | None:
    """Why a directory's name cannot be a workspace's name, or None when it can.

    A name goes into log lines, JSON and SQL text: it must be UTF-8 without control characters.
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
"""Directories whose appearance can make the one that holds them a workspace."""
_STATUS_DEPTHS = (1, 3)


def status_files(directory: int, prefix: str, root: Root, depth: int) -> tuple[os.stat_result | None, ...] | None:
    """The stats of (`.meta/status.json`, `status.json`) of the directory `prefix` when it is a workspace, else None.

    `prefix` is "" or ends in `/`. A stat is only a hint: the commit opens everything anew, guarded.
    Raises OSError when the directory cannot be looked into.
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
    """What stands for the status's signature in a workspace that has none, but the journal `meta` holds: none of the
    status files', and the journal's."""
    return signatures.ABSENT + signatures.at(meta, JOURNAL)


def _is_dispatched(directory: int, prefix: str) -> bool:
    return _is_directory(directory, prefix + META) and any(_is_directory(directory, prefix + c) for c in CLONES)


def _is_directory(directory: int, path: str) -> bool:
    info = _stat(directory, path)
    return info is not None and stat.S_ISDIR(info.st_mode)


def exists(directory: int, path: str) -> bool:
    """Whether `path` is there, as whatever it may be."""
    return _stat(directory, path) is not None


def _stat(directory: int, path: str) -> os.stat_result | None:
    try:
        return os.stat(path, dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return None  # `.meta` is a symbolic link to nowhere
        raise


_NEVER = frozenset({META, ".git", "node_modules"})
_CLONE_DEPTH = 4


def may_enter(root: Root, base: str, name: str, depth: int, beside_workspace_files: bool) -> bool:
    """Whether the directory `base`, which is `name` relative to the root, at `depth` may be looked into.

    `beside_workspace_files`: its parent holds a `.meta` or a status file, so a clone beside is not ours.
    """
    if depth > root.max_depth or base in _NEVER:
        return False
    if base in CLONES and (depth >= _CLONE_DEPTH or beside_workspace_files):
        return False
    return not root.ignore or not any(fnmatchcase(base, glob) or fnmatchcase(name, glob) for glob in root.ignore)


def no_workspace(root: Root, name: str) -> tuple[str, str] | None:
    """Why the directory `name` below a root can be no workspace, and the name of the one it belongs to ("" for none).

    None when it can be one. Only a hint from what lies there now: a root that cannot be looked into tells nothing.
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
                return f"it lies inside of the workspace {parent}", parent
    except OSError:
        return None
    finally:
        os.close(directory)
    return None


def _holds_one(directory: int, parent: str, root: Root, depth: int, base: str) -> bool:
    """Whether `parent` is a workspace, or will be one whose clone is `base`."""
    if base in CLONES and exists(directory, f"{parent}/{META}"):
        return True
    return status_files(directory, f"{parent}/", root, depth) is not None
