"""How long one turn may read journals: one at its limits takes seconds, and nobody else should wait for it.

What may take long is a generator that gives way now and then (found.py). Whoever has others to serve goes on with it
later; whoever has not goes on to its end.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeVar

_Value = TypeVar("_Value")
PACE = 32
"""Lines of a journal between two places to give way."""
_AT_LEAST = 6
"""Places that are passed in any case, so that journals of a few lines are read at once."""


class PatienceOver(Exception):
    """It is not at its end yet; the same generator goes on."""


class Patience:
    """Seconds that all journals of one turn may take together; None for as long as they need."""

    def __init__(self, seconds: float | None) -> None:
        self._left = seconds

    def finish(self, steps: Generator[None, None, _Value]) -> _Value:
        """Go on to the end and give its value. Raises what it raises, and PatienceOver."""
        began = time.monotonic()
        passed = 0
        try:
            while True:
                next(steps)
                passed += 1
                if self._left is not None and passed >= _AT_LEAST and time.monotonic() - began >= self._left:
                    raise PatienceOver
        except StopIteration as end:
            value: _Value = end.value
            return value
        finally:
            if self._left is not None:
                self._left -= time.monotonic() - began


ENDLESS = Patience(None)
