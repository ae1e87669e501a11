"""An open workspace: the descriptors of its directory and its `.meta`, and the lock on the latter."""

from __future__ import annotations

import fcntl
import os

from agentic_watch.workspace import files
from agentic_watch.workspace.layout import META
from agentic_watch.workspace.workspace_errors import Malformed, Missing, from_os_error

_NAMES_AT_MOST = 10_000


class Place:
    """`directory` is the workspace, `meta` its `.meta` or None while there is none.

    When the lock was taken, `names` were those in `.meta`, `listed` says that these were all; `device` is the number
    of the file system that `.meta` lies on, -1 before.
    """

    __slots__ = ("device", "directory", "listed", "meta", "names")  # thousands may be open

    def __init__(self, directory: int, meta: int | None) -> None:
        self.directory = directory
        self.meta = meta
        self.names: frozenset[str] = frozenset()
        self.listed = False
        self.device = -1

    @property
    def inode(self) -> tuple[int, int]:
        """Device and inode of the workspace's directory, which it keeps under another name. Raises WorkspaceError."""
        info = files.stat_of(self.directory, ".")
        return info.st_dev, info.st_ino

    def make_meta(self, mode: int = 0o755) -> None:
        """Make `.meta/` (`mode` less umask) when only `status.json` is there."""
        if self.meta is None:
            self.meta = files.make_directory(self.directory, META, META, mode=mode)

    def lock(self) -> bool:
        """Take the workspace's lock without waiting, and list `.meta`; False when another process holds it.

        flock on the directory itself leaves no lock file. Who swapped `.meta` between our open and
        our lock would have us lock a directory that nobody else looks at: Malformed.
        """
        assert self.meta is not None
        if not files.try_lock(self.meta, META):
            return False
        device = files.device_if_same(self.directory, META, self.meta)
        if device is None:
            raise Malformed(META, "was replaced while it was opened")
        self.device = device
        self.names, self.listed = files.names(self.meta, _NAMES_AT_MOST, META)
        return True

    def is_held(self) -> bool:
        """Whether another process holds the lock now. To find out it is held shared, for an instant."""
        assert self.meta is not None
        try:
            fcntl.flock(self.meta, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(self.meta, fcntl.LOCK_UN)
        except BlockingIOError:
            return True
        except OSError as error:
            raise from_os_error(META, error) from error
        return False

    def lacks(self, name: str) -> bool:
        """Whether `.meta` held no `name` when it was locked; what is only made under the lock is still not there."""
        return self.listed and name not in self.names

    def release(self) -> None:
        """Close the workspace's directory; `.meta` stays open, and locked."""
        if self.directory >= 0:
            os.close(self.directory)
            self.directory = -1

    def close(self) -> None:
        """Close both descriptors, which releases the lock."""
        self.release()
        if self.meta is not None:
            os.close(self.meta)
            self.meta = None


class Opener:
    """Opens workspaces one after the other; neighbours share the walk to the directory that holds them.

    That directory stays open until `close` or the next other one, so an opener should not live long.
    """

    def __init__(self) -> None:
        self._above: tuple[str, str] | None = None
        self._parent = -1

    def open(self, root_path: str, name: str) -> Place:
        """Open the workspace `name` below a root. Raises Missing when it or the root is gone, WorkspaceError else."""
        above, _, base = name.rpartition("/")
        shared = self._above == (root_path, above)
        if not shared:
            self._walk(root_path, above)
        try:
            directory = files.open_directory(self._parent, base, base)
        except Missing:
            if not shared:
                raise
            self._walk(root_path, above)  # the one that was kept may have been replaced
            directory = files.open_directory(self._parent, base, base)
        try:
            meta = files.open_directory(directory, META, META)
        except Missing:
            meta = None
        except BaseException:
            os.close(directory)
            raise
        return Place(directory, meta)

    def _walk(self, root_path: str, above: str) -> None:
        self.close()
        try:
            self._parent = files.open_root(root_path)
        except OSError as error:
            raise from_os_error(root_path, error) from error
        if above:
            root = self._parent
            try:
                self._parent = files.walk(root, above)
            except BaseException:
                self._parent = -1
                raise
            finally:
                os.close(root)
        self._above = root_path, above

    def close(self) -> None:
        """Close the directory that is kept."""
        if self._parent >= 0:
            os.close(self._parent)
        self._above, self._parent = None, -1


def open_place(root_path: str, name: str) -> Place:
    """Open one workspace: `Opener.open`."""
    opener = Opener()
    try:
        return opener.open(root_path, name)
    finally:
        opener.close()
