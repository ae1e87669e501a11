"""One agent at its worst, in two ways: what others' finishes, a stop and the daemon's memory have of it.

A status of 600 KB that is touched 230 times a second in turns with the report; a thousand small statuses, each touched
20 times a second. Both stay below what would cost a single directory its watch when it stood alone.
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import trees
from benchmarks.bench import Bench, Line, percentile, say
from benchmarks.finishing import finish_each
from benchmarks.processes import REPOSITORY, bare, environment, watcher

_MIB = 1 << 20
_GAP_SECONDS = 0.04
_LARGE_BYTES = 600_000
_WARM_UP_SECONDS = 5.0
_STOP_SECONDS = 2.0
_TIMES_QUIET = 3
_FLAT_BYTES = 2 * _MIB


@dataclass(frozen=True, slots=True)
class _Storm:
    """So many workspaces, touched so often in all, each status so large."""

    name: str
    workspaces: int
    rate: int
    status_bytes: int


_STORMS = (
    _Storm("one status of 600 KB, 230 times a second", 1, 230, _LARGE_BYTES),
    _Storm("1,000 statuses, 20 times a second each", 1_000, 20_000, 0),
)


def hostile_storms(bench: Bench) -> None:
    """Finishes of others without and beside each storm, settle 0."""
    for storm in _STORMS:
        _measure(bench, storm)


def _measure(bench: Bench, storm: _Storm) -> None:
    count = bench.sizes.samples
    with bench.tree(2 * count + storm.workspaces, "running") as (root, history), watcher(root, history) as daemon:
        quiet = [sample.durable for sample in finish_each(daemon, root, range(count), _GAP_SECONDS)]
        if storm.status_bytes:
            _enlarge(root, 2 * count, storm.status_bytes)
        before = daemon.resident()
        arguments = bare("storm", "touched", root, str(2 * count), str(storm.workspaces), str(storm.rate))
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment(), cwd=REPOSITORY)
        try:
            time.sleep(_WARM_UP_SECONDS)
            beside = [sample.durable for sample in finish_each(daemon, root, range(count, 2 * count), _GAP_SECONDS)]
            grown = daemon.resident() - before
            began = time.perf_counter()
            daemon.stop()
            stopped = time.perf_counter() - began
        finally:
            process.terminate()
            output, _ = process.communicate()
    rate = json.loads(output)["a_second"]
    bench.raw[f"hostile storm: {storm.name}"] = {"quiet": quiet, "beside": beside, "grown": grown, "a_second": rate}
    say(f"  {storm.name}: {rate:.0f} a second, p50 {percentile(beside, 50) * 1e3:.1f} ms")
    quiet_p99, beside_p99 = (percentile(values, 99) * 1e3 for values in (quiet, beside))
    ratio = beside_p99 / quiet_p99
    case = f"an agent touches {storm.name}: p99 of others' finishes, settle 0"
    target, met = f"≤ {_TIMES_QUIET} × quiet", ratio <= _TIMES_QUIET
    others = f"quiet {quiet_p99:.1f} ms"
    bench.add(Line(case, f"{beside_p99:.1f} ms", others, f"{ratio:.2f} ×", target, met, goal=True))
    bench.add(Line("… SIGTERM is obeyed after", f"{stopped:.2f} s", "", "", "≤ 2 s", stopped <= _STOP_SECONDS))
    text, others = f"{(before + grown) / _MIB:.1f} MiB", f"{before / _MIB:.1f} MiB before"
    ratio_text, target = f"+ {grown / _MIB:.1f} MiB", f"≤ + {_FLAT_BYTES // _MIB} MiB"
    bench.add(Line("… resident memory", text, others, ratio_text, target, grown <= _FLAT_BYTES, goal=True))


def _enlarge(root: str, number: int, size: int) -> None:
    status = Path(f"{root}/{trees.name_of(number)}/.meta/status.json")
    document = json.loads(status.read_bytes())
    status.write_text(json.dumps(document | {"task": "x" * size}), "utf-8")
