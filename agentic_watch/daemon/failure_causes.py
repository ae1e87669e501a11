"""Why workspaces fail, in a few classes: what a metric may be labelled with. Add a line to extend them.

A class says who can help: the dispatcher (malformed), the agent's workspace (planted, too_large), the operator
(permission, disk_full), the host's disk (io), or nobody but time (held).
"""

from __future__ import annotations

CLASSES = (
    ("permission", ("Permission denied", "Operation not permitted", "Read-only file system", "given to its owner")),
    ("disk_full", ("No space left", "Disk quota exceeded", "disk full")),
    ("held", ("leased", "is held", "locked")),
    ("too_large", ("over the limit", "holds more than", "too much memory", "too long", "nested deeper")),
    ("planted", ("symbolic link", "FIFO", "hard links", "regular file", "is a directory", "is a device", "the name ")),
    ("gone", ("is not there",)),
    ("malformed", ("is not", "has no", "has an", "is empty", "out of range", "lies outside", "holds")),
    ("io", ("Input/output error", "cannot be ", "Stale file handle")),
)
"""(class, words of which one is in the cause); the first class that fits counts."""

OTHER = "other"


def cause_class(cause: str) -> str:
    """The class of a workspace's failure, from the cause in the words of workspace_errors; OTHER when none fits."""
    return next((name for name, words in CLASSES if any(word in cause for word in words)), OTHER)
