"""A pass over a tree that is mounted read-only: rows come of its lines, and nothing in it changes."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from typing import Any

from .checks import row_of, want
from .world import World, identity_of

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir", "link", "symlink", "chmod", "chown", "utime")
_AT_MOST = 3
"""So many passes until the history is well: the first may find out that it is damaged or is another."""


def pass_over(world: World) -> None:
    """Run passes that meet EROFS below the root. The world must have no history open."""
    tree, before = _tree(world), world.rows()
    want(_in_a_child(world) == 0, "a read-only tree ended the pass")
    rows = world.rows()
    want(_tree(world) == tree, "a read-only tree was written to")
    want(not world.must - set(rows), f"a read-only tree lost rows: {sorted(world.must - set(rows))}")
    told = {(x["workspace"], identity_of(x)) for name in world.names() for x in world.lines(name)}
    want(not set(rows) - set(before) - told, f"rows without lines: {sorted(set(rows) - set(before) - told)}")
    for name in world.names():
        own = {identity_of(x) for x in world.lines(name) if x["workspace"] == name}
        missing = {identity for identity in own if row_of(name, identity, rows) is None}
        want(not missing or world.status(name) is None, f"{name}: a read-only tree gave no rows for {missing}")


def _tree(world: World) -> dict[str, tuple[int, int, bytes]]:
    paths = sorted(world.root.rglob("*"))
    return {
        str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in paths
    }


def _in_a_child(world: World) -> int:
    with warnings.catch_warnings():  # pytest's helpers have threads, which the child does not touch
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _mount(str(world.root))
            code = _until_well(world)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _until_well(world: World) -> int:
    for _ in range(_AT_MOST):
        if all(failure.workspace for failure in world.one_pass().failures):
            return 0
    return 2


def _mount(root: str) -> None:
    """Have the operating system refuse every change below the root, as a mount with `ro` does."""
    real = os.open

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & _WRITES and _is_below(root, path, dir_fd):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, mode, dir_fd=dir_fd)

    os.open = opened
    for name in _CHANGES:
        setattr(os, name, _refused(getattr(os, name), root))


def _refused(real: Callable[..., Any], root: str) -> Callable[..., Any]:
    def change(path: Any, *given: Any, **named: Any) -> Any:
        if _is_below(root, path, named.get("dir_fd", named.get("src_dir_fd"))):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, *given, **named)

    return change


def _is_below(root: str, path: Any, directory: int | None) -> bool:
    base = os.getcwd() if directory is None else os.readlink(f"/proc/self/fd/{directory}")
    return os.path.join(base, os.fspath(path)).startswith(f"{root}/")
