"""When is a failing workspace tried again?"""

from __future__ import annotations

BACKOFF_SECONDS = (1, 5, 15, 60, 300)


def backoff(fail_count: int) -> float:
    """Seconds to wait after the `fail_count`-th failure in a row: 1, 5, 15, 60, then 300, ± 10 %."""
    import random  # 5 ms to import, and rarely needed

    return BACKOFF_SECONDS[min(fail_count, len(BACKOFF_SECONDS)) - 1] * random.uniform(0.9, 1.1)  # noqa: S311
