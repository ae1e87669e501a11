"""A pass over trees that are mounted read-only: rows come of their lines, and nothing in them changes."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from typing import Any

from . import rule
from .world import World, want

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir", "link", "symlink", "chmod", "chown", "utime")
_AT_MOST = 3
"""So many passes until the history is well: the first may find out that it is damaged or is another."""


def pass_over(world: World) -> None:
    """Run passes that meet EROFS below the roots. The world must have no daemon."""
    tree = _tree(world)
    with world.watched(whole=True) as before:
        want(_in_a_child(world) == 0, "a read-only tree ended the pass")
    want(_tree(world) == tree, "a read-only tree was written to")
    lacking = [*rule.lacking_rows(before, world.records(), world.late)]
    want(not lacking, f"a read-only tree gave no rows: {lacking}")


def _tree(world: World) -> dict[str, tuple[int, int, bytes]]:
    paths = sorted(path for root in world.roots for path in root.path.rglob("*"))
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in paths
    }


def _in_a_child(world: World) -> int:
    with warnings.catch_warnings():  # pytest's helpers have threads, which the child does not touch
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _mount(tuple(f"{root.path}/" for root in world.roots))
            code = _until_well(world)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _until_well(world: World) -> int:
    """Only workspaces may fail, for what cannot be written there."""
    for _ in range(_AT_MOST):
        did = world.program.run("--once", "--json").document()
        if all(failure["workspace"] for failure in did["failures"]):
            return 0
    return 2


def _mount(roots: tuple[str, ...]) -> None:
    """Have the operating system refuse every change below the roots, as a mount with `ro` does."""
    real = os.open

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & _WRITES and _is_below(roots, path, dir_fd):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, mode, dir_fd=dir_fd)

    os.open = opened
    for name in _CHANGES:
        setattr(os, name, _refused(getattr(os, name), roots))


def _refused(real: Callable[..., Any], roots: tuple[str, ...]) -> Callable[..., Any]:
    def change(path: Any, *given: Any, **named: Any) -> Any:
        if _is_below(roots, path, named.get("dir_fd", named.get("src_dir_fd"))):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, *given, **named)

    return change


def _is_below(roots: tuple[str, ...], path: Any, directory: int | None) -> bool:
    base = os.getcwd() if directory is None else os.readlink(f"/proc/self/fd/{directory}")
    return os.path.join(base, os.fspath(path)).startswith(roots)
