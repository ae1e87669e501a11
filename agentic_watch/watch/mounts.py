"""Which file systems send no events for what other hosts or a server do."""

from __future__ import annotations

from agentic_watch.host.mounts import filesystem_type

_SILENT = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs", "beegfs"})


def filesystem_without_events(directory: int) -> str | None:
    """The type of the file system of an open directory when inotify cannot be relied on there, else None.

    inotify(7): it "does not report … events that occur on network filesystems"; most FUSE ones are as silent.
    What cannot be found out counts as a file system that sends events.
    """
    kind = filesystem_type(directory)
    if kind is not None and (kind in _SILENT or kind == "fuse" or kind.startswith("fuse.")):
        return kind
    return None
