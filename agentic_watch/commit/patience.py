"""How long one turn may read journals: one at its limits takes seconds, and nobody else should wait for it.

What may take long is a generator that gives way now and then (judging.py). Whoever has others to serve goes on with it
later; whoever has not goes on to its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import TypeVar

_Value = TypeVar("_Value")
PACE = 32
"""Lines of a journal between two places to give way."""
_AT_LEAST = 6
"""Places that are passed in any case, so that journals of a few lines are read at once."""


class Patience:
    """Seconds that all journals of one turn may take together."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def finish(self, steps: Generator[None, None, _Value]) -> _Value | None:
        """Go on to the end and give its value; None when it is not there yet, and the same generator goes on later.

        Raises what it raises.
        """
        began = time.monotonic()
        passed = 0
        try:
            while passed < _AT_LEAST or time.monotonic() - began < self._left:
                next(steps)
                passed += 1
            return None
        except StopIteration as end:
            value: _Value = end.value
            return value
        finally:
            self._left -= time.monotonic() - began


ENDLESS = Patience(math.inf)
