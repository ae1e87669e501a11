"""`python -m benchmarks`: measure, print the table, keep the raw numbers in benchmarks/out/."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import (
    answers,
    busy_host,
    cold,
    dispatching,
    growth,
    hardship,
    hostile_storms,
    kept_logs,
    latency,
    long_rows,
    looking,
    plots,
    report,
    restart,
    startup,
    trees,
    warm,
    watching,
)
from benchmarks.bench import FULL, QUICK, Bench, Sizes, say
from benchmarks.processes import REPOSITORY

OUT = REPOSITORY / "benchmarks" / "out"
PAGE = REPOSITORY / "benchmarks" / "RESULTS.md"
PLOTS = REPOSITORY / "docs"
CASES: dict[str, Callable[[Bench], None]] = {
    "startup": startup.startup,
    "latency": latency.latency,
    "dispatching": dispatching.dispatching,
    "kept-logs": kept_logs.kept_logs,
    "burst": cold.burst,
    "cold-small": cold.cold_small,
    "cold-medium": cold.cold_medium,
    "warm": warm.warm,
    "clones": watching.clones,
    "build": watching.build,
    "idle": watching.idle,
    "restart": restart.restart,
    "rename": hardship.rename,
    "storm": hardship.storm,
    "hostile-storms": hostile_storms.hostile_storms,
    "busy-host": busy_host.busy_host,
    "journals": growth.journals,
    "history": growth.history,
    "answers": answers.answers,
    "looking": looking.looking,
    "fleet": long_rows.fleet,
    "long-work": long_rows.long_work,
}
GOALS = ("startup", "latency", "dispatching", "burst", "cold-medium", "idle", "hostile-storms", "looking", "history")
LONG = ("restart", "fleet", "long-work")
"""Cases that measure goals, in a quarter of an hour; what takes longer is measured when it is asked for."""
_GOAL_ROWS, _LONG_ROWS = (100_000, 300_000), (2_000_000, 3_000_000)
"""The sizes of a history that goals name, each after one before it: a rate is that of the way between the two."""


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, a minute: whether all works, no numbers")
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--goals", action="store_true", help="only what is a goal, fifteen minutes: goals.md")
    parser.add_argument("--long", action="store_true", help="... and what takes an hour more")
    parser.add_argument("--work", type=Path, default=OUT / "work", help="where to make the trees (%(default)s)")
    parser.add_argument("--kept", type=Path, help="where trees of committed workspaces last for another run")
    parser.add_argument("--rows", type=int, metavar="N", help="how large the history of `history` and `answers` gets")
    parser.add_argument("--before", type=Path, metavar="DIR", help="an earlier checkout, measured in turn too")
    parser.add_argument("--storm-minutes", type=float, help="how long the case busy-host takes (1)")
    parser.add_argument("--write-docs", action="store_true", help="put table and plot into docs/")
    parsed = parser.parse_args(given)
    if parsed.write_docs and (parsed.quick or parsed.only or parsed.goals):
        parser.error("--write-docs goes with a whole run only")
    cases = GOALS if parsed.goals else [name for name in CASES if name not in LONG]
    parsed.only = parsed.only or [*cases, *(LONG if parsed.long else ())]
    return parsed


def main(given: Sequence[str] | None = None) -> int:
    """Run the cases, one after the other; gives the exit status (a missed target is a result, not a failure)."""
    options = _arguments(given)
    options.work.mkdir(parents=True, exist_ok=True)
    work = tempfile.mkdtemp(dir=options.work)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that watchers and trees go too
    bench = Bench(
        work,
        _sizes(options),
        before=str(options.before.resolve()) if options.before else "",
        kept=str(options.kept.resolve()) if options.kept else "",
        goals_only=options.goals,
    )
    about = report.machine(work)
    try:
        for name, case in CASES.items():
            if name in options.only:
                _run(name, case, bench)
        _tell(bench, options, about)
    finally:
        trees.remove(work)
    return 0


def _sizes(options: argparse.Namespace) -> Sizes:
    sizes = QUICK if options.quick else FULL
    if options.storm_minutes is not None:
        sizes = replace(sizes, storm_seconds=60 * options.storm_minutes)
    if options.goals and not options.quick:
        sizes = replace(sizes, history_rows=_GOAL_ROWS + (_LONG_ROWS if options.long else ()))
    if not options.rows:
        return sizes
    return replace(sizes, history_rows=(*(size for size in sizes.history_rows if size < options.rows), options.rows))


def _tell(bench: Bench, options: argparse.Namespace, about: dict[str, Any]) -> None:
    """Write and print what came out, while the trees are still there: to remove them takes minutes."""
    partial = " **Only tried at small sizes: these numbers mean nothing.**" if options.quick else ""
    report.write(OUT, bench, about, partial)
    drawn = _draw(bench)
    print((report.goals if options.goals else report.block)(bench, about, partial), flush=True)
    if options.write_docs:
        report.write_docs(PAGE, report.block(bench, about, partial))
        for path in drawn:
            shutil.copy(path, PLOTS / path.name)


def _run(name: str, case: Callable[[Bench], None], bench: Bench) -> None:
    say(f"{name} …")
    started = time.monotonic()
    case(bench)
    say(f"{name}: {time.monotonic() - started:.0f} s")


def _draw(bench: Bench) -> list[Path]:
    try:
        return plots.draw(OUT, bench.raw)
    except ImportError:
        say("no plots: matplotlib is not installed (pip install --group bench)")
        return []


if __name__ == "__main__":
    sys.exit(main())
