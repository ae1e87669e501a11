"""`make fuzz`: seeds one after the other, until there were enough passes. The first difference ends it."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from .seeds import play, play_kept, play_on
from .world import Difference

_FAST = "/dev/shm"


def main() -> int:
    """Play; gives the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--passes", type=int, default=20_000, help="how many passes to compare (%(default)s)")
    parser.add_argument("--seed", type=int, help="the first seed (a random one)")
    parser.add_argument("--only", action="store_true", help="this one seed")
    parser.add_argument("--ordinary", action="store_true", help="nothing that somebody spoils by hand")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.randrange(10**6) * 1000
    print(f"seeds from {first} on", flush=True)
    started = said = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_FAST if Path(_FAST).is_dir() else None) as base:
        try:
            play_kept(Path(base))
            if options.only:
                play(Path(base), first, ordinary=options.ordinary)
                options.passes = 0
            played = play_on(Path(base), first, options.passes, ordinary=options.ordinary) if options.passes else ()
            for seed, passes in played:
                if time.monotonic() - said > 10:
                    said = time.monotonic()
                    print(f"  {passes:,} passes, to seed {seed}, {said - started:.0f} s", flush=True)
        except Difference as difference:
            again = f"--seed {seed_of(difference)} --only{' --ordinary' if options.ordinary else ''}"
            print(f"{difference}\nagain: make fuzz FUZZ='{again}'", file=sys.stderr)
            return 1
    print(f"no difference in {time.monotonic() - started:.0f} s")
    return 0


def seed_of(difference: Difference) -> str:
    """The seed that a difference names."""
    return str(difference).split(",")[0].removeprefix("seed ")


if __name__ == "__main__":
    sys.exit(main())
