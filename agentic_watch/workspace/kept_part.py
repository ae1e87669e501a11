"""A part of a dispatch's file that was kept: its name, which part of the whole it is, and the compressed content."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from typing import NamedTuple

FILES_AT_MOST = 16
"""So many files of a dispatch are kept."""
LARGEST = 4 << 20
"""What is kept of one file at most, in bytes: the configuration allows no more."""
_COMPRESSION = 4
"""Half the time of zlib's own choice, for 4 % more bytes."""


class KeptFile(NamedTuple):
    """`name` is relative to the workspace, `size` the bytes of the whole file, `kept_from` the offset in it from which
    on it is kept; `content` is that part, compressed by zlib."""

    name: str
    size: int
    kept_from: int
    content: bytes

    @property
    def data(self) -> bytes:
        """What was kept, as it was written but for its secrets; nothing where it is damaged."""
        with contextlib.suppress(zlib.error):
            return expanded(self.content)
        return b""


def expanded(content: bytes) -> bytes:
    """The uncompressed content, at most `LARGEST` bytes of it. Raises zlib.error when it is none."""
    return zlib.decompressobj().decompress(content, LARGEST)


def kept_file(name: str, size: int, kept_from: int, data: bytes) -> KeptFile:
    """Make a kept file of its uncompressed part."""
    return KeptFile(name, size, kept_from, zlib.compress(data, _COMPRESSION))


def redacted(file: KeptFile, redact: Callable[[str], str]) -> KeptFile:
    """A kept file without its secrets; the same one when it holds none, or cannot be read."""
    data = file.data
    clean = without_secrets(data, redact)
    return file if clean == data else kept_file(file.name, file.size, file.kept_from, clean)


def without_secrets(data: bytes, redact: Callable[[str], str]) -> bytes:
    """The bytes of a text without its secrets; those that are no UTF-8 stay as they are."""
    return redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
