"""One round: a host of its own, events by a seed, rest, and the look at what is left."""

from __future__ import annotations

from pathlib import Path
from random import Random

from soak.end_state import assert_exactly_once, assert_not_grown, assert_records_agree, size_at_rest
from soak.events import EventfulHost
from soak.simulated_host import SimulatedHost


def play(seed: int, steps: int, base: Path) -> SimulatedHost:
    """Play `steps` events twice, with kills and without, and assert the end state. Raises AssertionError."""
    simulated = EventfulHost(base, Random(seed))
    try:
        simulated.begin()
        for _ in range(steps):
            simulated.step()
        simulated.come_to_rest()
        simulated.lively = False  # the one that lives now lives to the end
        for _ in range(steps):
            simulated.step()
        simulated.come_to_rest()
        assert_exactly_once(simulated)
        assert_records_agree(simulated)
        old = size_at_rest(simulated)
        simulated.stop()
        simulated.start()
        simulated.wait_ready()
        assert_not_grown(size_at_rest(simulated), old)
        assert_exactly_once(simulated)
    except BaseException:
        print(f"seed {seed}, {steps} steps; the last events: {', '.join(simulated.told[-12:])}")
        raise
    finally:
        simulated.end()
    return simulated
