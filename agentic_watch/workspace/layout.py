"""Where things are in a workspace, and which directories are one.

The original (core-agent) writes `status.json` beside `.meta/`; the newer layout has it in `.meta/`.
"""

from __future__ import annotations

import errno
import os
import stat

from agentic_watch.config import Root
from agentic_watch.workspace import signatures

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
