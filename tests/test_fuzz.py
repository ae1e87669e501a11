"""Random moves against a model of journal, row and marker: a few hundred passes, and every seed that once failed.

`make fuzz` plays ten thousand.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.seeds import KEPT, play, play_on


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_failed_shows_no_difference(tmp_path: Path, seed: int) -> None:
    """What it found stays mended."""
    assert play(tmp_path, seed) > 0


def test_random_moves_show_no_difference(tmp_path: Path) -> None:
    """Each pass leaves one line, one row and one marker for what is finished, whatever happened before it."""
    *_, (_, passes) = play_on(tmp_path, 1, 300)
    assert passes >= 300
