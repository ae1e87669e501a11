"""sha256 and blake2b without OpenSSL, which hashlib always loads and which takes 3.6 MiB per process."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def _of(names: tuple[str, ...], digest: str) -> Callable[..., Any]:
    """The interpreter's built-in implementation, as used by `random`; hashlib's if it was built without."""
    for name in (*names, "hashlib"):
        try:
            found: Callable[..., Any] = getattr(import_module(name), digest)
        except ImportError:
            continue
        return found
    raise ImportError(digest)


sha256 = _of(("_sha2", "_sha256"), "sha256")
blake2b = _of(("_blake2",), "blake2b")
