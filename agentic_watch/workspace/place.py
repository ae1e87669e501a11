"""An open workspace: the descriptors of its directory and its `.meta`, and the lock on the latter."""

from __future__ import annotations

import os
from dataclasses import dataclass

from agentic_watch.workspace import files
from agentic_watch.workspace.errors import Malformed, Missing, from_os_error
from agentic_watch.workspace.layout import META


@dataclass(slots=True)
class Place:
    """`directory` is the workspace, `meta` its `.meta` or None while there is none."""

    directory: int
    meta: int | None

    @property
    def device(self) -> int:
        """The device number of the file system that `.meta` lies on."""
        assert self.meta is not None
        return os.fstat(self.meta).st_dev

    def make_meta(self) -> None:
        """Make `.meta/` when only `status.json` is there."""
        if self.meta is None:
            self.meta = files.make_directory(self.directory, META, META)

    def lock(self) -> bool:
        """Take the workspace's lock without waiting; False when another process holds it.

        flock on the directory itself leaves no lock file. Who swapped `.meta` between our open and
        our lock would have us lock a directory that nobody else looks at: Malformed.
        """
        assert self.meta is not None
        if not files.try_lock(self.meta, META):
            return False
        if not files.same_object(self.directory, META, self.meta):
            raise Malformed(META, "was replaced while it was opened")
        return True

    def close(self) -> None:
        """Close both descriptors, which releases the lock."""
        for descriptor in (self.meta, self.directory):
            if descriptor is not None:
                os.close(descriptor)


def open_place(root_path: str, name: str) -> Place:
    """Open the workspace `name` below a root. Raises Missing when it or the root is gone, WorkspaceError else."""
    try:
        root = files.open_root(root_path)
    except OSError as error:
        raise from_os_error(root_path, error) from error
    try:
        directory = files.walk(root, name)
    finally:
        os.close(root)
    try:
        meta = files.open_directory(directory, META, META)
    except Missing:
        meta = None
    except BaseException:
        os.close(directory)
        raise
    return Place(directory, meta)
