"""`make soak`: rounds with new seeds for so many minutes. Each seed is printed; one that fails becomes a test."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from soak.hostile_host import attack
from soak.rounds import play


def main() -> int:
    """Play until the time is over; 1 when a round failed."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=300, help="events in each half of a round")
    parser.add_argument("--seed", type=int, help="play this one, once")
    parser.add_argument("--hostile", action="store_true", help="a host under attack instead: storms, hangs, locks")
    given = parser.parse_args()
    if given.hostile:
        return _attack(60 * given.minutes, given.seed)
    end = time.monotonic() + 60 * given.minutes
    rounds = 0
    while not rounds or (given.seed is None and time.monotonic() < end):
        rounds += 1
        seed = random.randrange(10**6) if given.seed is None else given.seed
        print(f"seed {seed}: ", end="", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="agentic-watch-soak-") as directory:
            try:
                played = play(seed, given.steps, Path(directory))
            except AssertionError:
                traceback.print_exc()
                print(f"seed {seed}: FAILED; again: make soak SOAK='--seed {seed} --steps {given.steps}'")
                print("then add it to KEPT in tests/soak/test_soak.py")
                return 1
        print(
            f"{len(played.told)} events, {len(played.must)} commits exactly once, {len(played.gone)} pruned; "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
    return 0


def _attack(seconds: float, seed: int | None) -> int:
    seed = random.randrange(10**6) if seed is None else seed
    print(f"seed {seed}, {seconds:.0f} s: ", end="", flush=True)
    with tempfile.TemporaryDirectory(prefix="agentic-watch-soak-") as directory:
        try:
            print(attack(seconds, seed, Path(directory)).text())
        except AssertionError:
            traceback.print_exc()
            return 1
    return 0


sys.exit(main())
