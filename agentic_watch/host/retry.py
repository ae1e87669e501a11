"""Retries after pauses.

The caller sets the policy: pauses in seconds, such as `(0.05, 0.2, 0.8)`, or `every`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def every(pause: float, seconds: float) -> Iterator[float]:
    """Yield the same pause until `seconds` have passed since the first."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield pause


def wait_until(is_so: Callable[[], bool], pauses: Iterable[float]) -> bool:
    """Whether `is_so` becomes true: checked before each pause and after the last."""
    for pause in pauses:
        if is_so():
            return True
        time.sleep(pause)
    return is_so()


def retry(
    act: Callable[[], T],
    again: Callable[[Exception], bool],
    pauses: Iterable[float],
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """The result of `act`; if it raises an error for which `again` is true, retry after each pause."""
    left = iter(pauses)
    while True:
        try:
            return act()
        except Exception as error:
            if not again(error) or (pause := next(left, None)) is None:
                raise
        sleep(pause)
