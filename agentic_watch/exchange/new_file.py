"""A file that appears whole, under its name, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO


@contextlib.contextmanager
def new_file(path: str) -> Iterator[BinaryIO]:
    """A file to write, durably in place when the block ends well, and gone when it does not.

    Nothing that is there is replaced: it may be the only copy of something. Only its owner may read it, as one may the
    history that it comes from. Raises OSError, FileExistsError when the name is taken.
    """
    with (
        new_path(path, place=_link) as temporary,
        open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as file,
    ):
        yield file


@contextlib.contextmanager
def new_path(path: str, *, place: Callable[[str, str], None] = os.rename) -> Iterator[str]:
    """The name of a file that the block makes beside `path`, and that takes its place durably. Raises OSError."""
    temporary = f"{path}.{os.urandom(6).hex()}.part"
    try:
        yield temporary
        _sync(temporary)
        place(temporary, path)
        _sync(os.path.dirname(path) or ".")
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _link(temporary: str, path: str) -> None:
    """Give the file its name, unless somebody has it."""
    os.link(temporary, path)
    os.unlink(temporary)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
