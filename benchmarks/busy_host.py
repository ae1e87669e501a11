"""A busy host: agents write files in their clones, dispatchers statuses that are not finished, for minutes or hours.

What the daemon needs must not grow with the time, and others' finishes must not wait.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count as counted

from benchmarks.bench import Bench, Line, percentile, say
from benchmarks.finishing import finish_each
from benchmarks.processes import REPOSITORY, Daemon, bare, environment, watcher

_MIB = 1 << 20
_FILES_A_SECOND = 20_000
_STATUSES_A_SECOND = 200
_GAP_SECONDS = 0.04
_LATEST_MS = 100.0
_FLAT = 1.25
_FLAT_BYTES = 2 * _MIB


@dataclass(frozen=True, slots=True)
class _Round:
    """Some finishes, one after the other: seconds of each, the daemon's share of a processor, and its memory then."""

    finishes: list[float]
    cpu: float
    resident: int


def busy_host(bench: Bench) -> None:
    """Half of the workspaces finish again and again, the other half is where the storm is."""
    count = bench.sizes.few
    stormy = (str(count), str(count))
    with bench.tree(2 * count, "running") as (root, history), watcher(root, history) as daemon:
        quiet = _round(daemon, root, count, 1)
        with contextlib.ExitStack() as stack:
            said = [
                stack.enter_context(_storm(kind, root, *stormy, str(rate)))
                for kind, rate in (("clones", _FILES_A_SECOND), ("statuses", _STATUSES_A_SECOND))
            ]
            rounds = list(_rounds(bench, daemon, root, count))
    rates = [storm["a_second"] for storm in said]
    bench.raw["busy-host"] = {"quiet": asdict(quiet), "rounds": [asdict(one) for one in rounds], "a_second": rates}
    _report(bench, quiet, rounds, rates)


def _rounds(bench: Bench, daemon: Daemon, root: str, count: int) -> Iterator[_Round]:
    """Rounds until the time is over; at least two, the first of which warms up."""
    end = time.monotonic() + bench.sizes.storm_seconds
    for run in counted(2):
        one = _round(daemon, root, count, run)
        say(
            f"  busy host: p99 {percentile(one.finishes, 99) * 1e3:.1f} ms, CPU {one.cpu:.1%}, "
            f"{one.resident / _MIB:.1f} MiB, {max(0.0, end - time.monotonic()):.0f} s left"
        )
        if run > 2:
            yield one
        if run > 3 and time.monotonic() >= end:
            return


def _round(daemon: Daemon, root: str, count: int, run: int) -> _Round:
    cpu, began = daemon.cpu(), time.perf_counter()
    finishes = [sample.durable for sample in finish_each(daemon, root, range(count), _GAP_SECONDS, run)]
    return _Round(finishes, (daemon.cpu() - cpu) / (time.perf_counter() - began), daemon.resident())


@contextlib.contextmanager
def _storm(*arguments: str) -> Iterator[dict[str, float]]:
    """A storm; when it is over, what it says of itself."""
    process = subprocess.Popen(bare("storm", *arguments), env=environment(), cwd=REPOSITORY, stdout=subprocess.PIPE)
    said: dict[str, float] = {}
    try:
        yield said
    finally:
        process.terminate()
        output, _ = process.communicate()
        said |= json.loads(output)


def _report(bench: Bench, quiet: _Round, rounds: list[_Round], rates: list[float]) -> None:
    files, statuses = rates
    late = percentile([seconds for one in rounds for seconds in one.finishes], 99) * 1e3
    others = f"quiet {percentile(quiet.finishes, 99) * 1e3:.1f} ms"
    case = (
        f"{bench.sizes.storm_seconds:.0f} s of {files:,.0f} files a second in clones and {statuses:,.0f} unfinished "
        "statuses a second: p99 of others' finishes"
    )
    bench.add(Line(case, f"{late:.1f} ms", others, "", "≤ 100 ms", late <= _LATEST_MS))
    part = -(-len(rounds) // 4)
    first, last = (sum(one.cpu for one in some) / part for some in (rounds[:part], rounds[-part:]))
    text = f"{last:.1%} of a processor at the end"
    others = f"{first:.1%} at the beginning; {quiet.cpu:.1%} without the storm"
    bench.add(
        Line("… the daemon's CPU", text, others, f"{last / first:.2f} ×", "flat (≤ 1.25 ×)", last <= _FLAT * first)
    )
    begin, end = rounds[0].resident, rounds[-1].resident
    text, others = f"{end / _MIB:.1f} MiB at the end", f"{begin / _MIB:.1f} MiB at the beginning"
    met = end <= begin + _FLAT_BYTES
    bench.add(Line("… its resident memory", text, others, f"+ {(end - begin) / _MIB:.1f} MiB", "≤ + 2 MiB", met))
