"""An open workspace: descriptors of its directory and its `.meta`, and the lock on `.meta`."""

from __future__ import annotations

import fcntl
import os

from agentic_watch.workspace import files
from agentic_watch.workspace.layout import META
from agentic_watch.workspace.workspace_errors import Malformed, Missing, from_os_error

_NAMES_AT_MOST = 10_000


class Place:
    """`directory` is the workspace, `meta` its `.meta`, or None when it does not exist.

    `names` are the entries of `.meta` when the lock was taken, and `listed` says that they are complete; `device` is
    the device number of `.meta`, -1 before the lock.
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
        """Device and inode of the workspace's directory, which survive a rename. Raises WorkspaceError."""
        info = files.stat_of(self.directory, ".")
        return info.st_dev, info.st_ino

    def make_meta(self, mode: int = 0o755) -> None:
        """Create `.meta/` (`mode` less umask) when only `status.json` exists."""
        if self.meta is None:
            self.meta = files.make_directory(self.directory, META, META, mode=mode)

    def lock(self) -> bool:
        """Take the workspace's lock without waiting, and list `.meta`; False when another process holds it.

        flock on the directory itself leaves no lock file. Raises Malformed if `.meta` was replaced between open and
        lock: the lock would be on a directory that no other process uses.
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
        """Whether another process holds the lock now; tested by a brief shared lock."""
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
        """Whether `.meta` had no `name` when it was locked. Still true for files that only the holder of the lock
        creates."""
        return self.listed and name not in self.names

    def release(self) -> None:
        """Close the workspace's directory; `.meta` stays open and locked."""
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
    """Opens workspaces one after another; siblings share the walk to their parent directory.

    The parent stays open until `close` or the next other parent, so keep an opener only briefly.
    """

    def __init__(self) -> None:
        self._above: tuple[str, str] | None = None
        self._parent = -1

    def open(self, root_path: str, name: str) -> Place:
        """Open the workspace `name` below a root. Raises Missing when it or the root does not exist, else
        WorkspaceError."""
        above, _, base = name.rpartition("/")
        shared = self._above == (root_path, above)
        if not shared:
            self._walk(root_path, above)
        try:
            directory = files.open_directory(self._parent, base, base)
        except Missing:
            if not shared:
                raise
            self._walk(root_path, above)  # the open parent may have been replaced
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
        """Close the parent directory."""
        if self._parent >= 0:
            os.close(self._parent)
        self._above, self._parent = None, -1


def open_place(root_path: str, name: str) -> Place:
    """Open a single workspace, as `Opener.open`."""
    opener = Opener()
    try:
        return opener.open(root_path, name)
    finally:
        opener.close()
