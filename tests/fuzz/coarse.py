"""A file system that keeps whole seconds only: every change of a seed falls into the same few of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

_SECOND = 1_000_000_000
_FIELDS = tuple(name for name in dir(os.stat_result) if name.startswith("st_"))


@contextlib.contextmanager
def whole_seconds() -> Iterator[None]:
    """Have os.stat and os.fstat tell times as such a file system does."""
    before = os.stat, os.fstat
    os.stat, os.fstat = (_coarse(real) for real in before)
    try:
        yield
    finally:
        os.stat, os.fstat = before


def _coarse(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
    def tell(*given: Any, **named: Any) -> os.stat_result:
        info = real(*given, **named)
        fields = {name: getattr(info, name) for name in _FIELDS}
        for name in ("st_atime", "st_mtime", "st_ctime"):
            fields[f"{name}_ns"] = fields[f"{name}_ns"] // _SECOND * _SECOND
            fields[name] = float(int(fields[name]))
        return os.stat_result(tuple(info), fields)

    return tell
