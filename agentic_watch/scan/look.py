"""A directory, seen from the one that holds it: is it a workspace, has it changed? By stat, without reading a file."""

from __future__ import annotations

import os

from agentic_watch.config import Root
from agentic_watch.workspace import layout, signatures
from agentic_watch.workspace.candidate import Candidate

_IN_META, _BESIDE, _MARKER = (f"/{name}" for name in (layout.META_STATUS, layout.STATUS, layout.META_MARKER))


def sight(root: Root, parent: int, base: str, name: str) -> Candidate | None:
    """The directory `base` of the open directory `parent` as a candidate when it is a workspace, else None.

    Its signature is those of `.meta/status.json`, `status.json` and the marker, ABSENT for one that is not there.
    Raises OSError when the directory cannot be looked into.
    """
    found = layout.status_files(parent, f"{base}/", root, name.count("/") + 1)
    if found is None:
        return None
    stats = b"".join([signatures.of(info) if info is not None else signatures.ABSENT for info in found])
    marker_path = base + _MARKER
    marker = signatures.ABSENT if signatures.is_absent(parent, marker_path) else signatures.at(parent, marker_path)
    changed_at = max(info.st_ctime for info in found if info is not None)
    return Candidate(root, name, stats + marker, changed_at)


def sight_of_journal(root: Root, directory: int, name: str) -> Candidate | None:
    """The open directory `name`, which has no status, as a candidate when it has a journal: of what was committed there
    it may be all that is left."""
    journal, marker = (signatures.at(directory, path) for path in (layout.META_JOURNAL, layout.META_MARKER))
    return Candidate(root, name, signatures.ABSENT + journal + marker) if journal != signatures.ABSENT else None


def is_marked(candidate: Candidate) -> bool:
    """Whether a marker was there when it was seen."""
    return not candidate.signature.endswith(signatures.ABSENT)


def is_unchanged(root: Root, parent: int, base: str, before: bytes) -> bool:
    """Whether the files of the workspace `base` still have this signature; a no may only be a doubt."""
    in_meta = not before.startswith(signatures.ABSENT)
    if root.layout not in ("auto", "meta" if in_meta else "root"):
        return False  # it was judged by a file that this layout does not read
    here, there = (_IN_META, _BESIDE) if in_meta else (_BESIDE, _IN_META)
    try:
        status = signatures.of(os.stat(base + here, dir_fd=parent, follow_symlinks=False))
        # For what was not there a question costs less than a stat, which would raise.
        if root.layout == "auto" and not signatures.is_absent(parent, base + there):
            return False
        if not before.endswith(signatures.ABSENT):
            marker = signatures.of(os.stat(base + _MARKER, dir_fd=parent, follow_symlinks=False))
        elif not signatures.is_absent(parent, base + _MARKER):
            return False
        else:
            marker = signatures.ABSENT
    except OSError:
        return False
    return before == (status + signatures.ABSENT + marker if in_meta else signatures.ABSENT + status + marker)
