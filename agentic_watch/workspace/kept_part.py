"""The kept part of a dispatch's file: its name, its position in the whole file, and the compressed content."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from typing import NamedTuple

FILES_AT_MOST = 16
"""Files kept per dispatch at most."""
LARGEST = 4 << 20
"""Maximum bytes kept of one file; the configuration cannot exceed it."""
_COMPRESSION = 4
"""Takes half the time of zlib's default level, for 4 % more bytes."""


class KeptFile(NamedTuple):
    """`name` is relative to the workspace, `size` is that of the whole file, `kept_from` the offset where the kept part
    begins; `content` is the part, compressed by zlib."""

    name: str
    size: int
    kept_from: int
    content: bytes

    @property
    def data(self) -> bytes:
        """The kept part, redacted and uncompressed; empty if it is damaged."""
        with contextlib.suppress(zlib.error):
            return expanded(self.content)
        return b""


def expanded(content: bytes) -> bytes:
    """Uncompress at most `LARGEST` bytes. Raises zlib.error for invalid content."""
    return zlib.decompressobj().decompress(content, LARGEST)


def kept_file(name: str, size: int, kept_from: int, data: bytes) -> KeptFile:
    """Create a kept file from its uncompressed part."""
    return KeptFile(name, size, kept_from, zlib.compress(data, _COMPRESSION))


def redacted(file: KeptFile, redact: Callable[[str], str]) -> KeptFile:
    """A redacted kept file; the same object when it has no secret or cannot be uncompressed."""
    data = file.data
    clean = without_secrets(data, redact)
    return file if clean == data else kept_file(file.name, file.size, file.kept_from, clean)


def without_secrets(data: bytes, redact: Callable[[str], str]) -> bytes:
    """Redact the bytes of a text; bytes that are not UTF-8 stay unchanged."""
    return redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
