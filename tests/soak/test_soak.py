"""A very short soak, and each seed that failed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak.rounds import play

KEPT = [(1, 40), (392619, 60), (758419, 60)]
"""(seed, steps): a first one, and some that failed once, shortened; what they found has tests of its own."""


@pytest.mark.parametrize(("seed", "steps"), KEPT)
def test_each_finished_dispatch_is_there_exactly_once(seed: int, steps: int, tmp_path: Path) -> None:
    """Whatever happens to the host: one row, one line, one marker each; the daemon holds what a new one holds."""
    assert play(seed, steps, tmp_path).must
