"""Nothing to do: `--once` over workspaces that are all committed, beside a bare walk of the same tree."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

from benchmarks.bench import Bench, Line, say, spread, turned
from benchmarks.processes import Failed, Ran, bare, once, run

_MIB = 1 << 20
_CONTESTANTS = ("agentic-watch", "agentic-watch, empty root", "bare walk", "plain loop")
_FLAT = 1.25


def warm(bench: Bench) -> None:
    """2,000, 20,000 and 100,000 committed workspaces."""
    measured = {count: _measure(bench, count) for count in (bench.sizes.small, bench.sizes.medium, bench.sizes.large)}
    bench.raw["warm"] = measured
    for count, raw in measured.items():
        _report(bench, count, raw)
    _report_growth(bench, measured)


def _measure(bench: Bench, count: int) -> dict[str, Any]:
    with bench.tree(count) as (root, history):
        empty, empty_history = f"{os.path.dirname(root)}/empty", f"{os.path.dirname(root)}/empty.db"
        os.mkdir(empty)
        once(empty, empty_history)
        first = once(root, history)
        before_history = f"{os.path.dirname(root)}/before/history.db"
        if bench.before:
            once(root, before_history, checkout=bench.before)
        loop_history = f"{os.path.dirname(root)}/loop/history.db"
        seconds: dict[str, list[float]] = defaultdict(list)
        peaks = []
        for turn in range(bench.sizes.rounds * (3 if count == bench.sizes.small else 1)):  # small ones need more
            bench.sync()
            for name in turned([*_CONTESTANTS, *bench.earlier], turn):
                if name == "agentic-watch":
                    ran = _nothing_to_do(root, history)
                    seconds[name].append(ran.seconds)
                    peaks.append(ran.peak)
                elif name == "bare walk":
                    seconds[name].append(run(bare("floors", "walk", root)).said()["seconds"])
                elif name == "before":
                    seconds[name].append(_nothing_to_do(root, before_history, bench.before).seconds)
                elif name == "plain loop":
                    seconds[name].append(run(bare("rivals", "loop", root, loop_history)).seconds)
                else:
                    seconds[name].append(once(empty, empty_history).seconds)
            say(f"  {count:,} warm: " + ", ".join(f"{name} {samples[-1]:.3f} s" for name, samples in seconds.items()))
    return {"seconds": seconds, "peak_bytes": peaks, "cold_seconds": first.seconds, "cold_peak_bytes": first.peak}


def _nothing_to_do(root: str, history: str, checkout: str = "") -> Ran:
    ran = once(root, history, checkout=checkout)
    if ran.said()["committed"]:
        raise Failed("the warm run found something to commit")
    return ran


def _beyond_start(raw: dict[str, Any]) -> float:
    """Seconds of our run beyond what it takes on an empty root: the constant."""
    ours, empty = (spread(raw["seconds"][name]).median for name in _CONTESTANTS[:2])
    return ours - empty


def _report(bench: Bench, count: int, raw: dict[str, Any]) -> None:
    by = {name: spread(samples) for name, samples in raw["seconds"].items()}
    ours, empty, walk, loop = (by[name] for name in _CONTESTANTS)
    ratio = _beyond_start(raw) / walk.median
    others = f"bare walk {walk.text(digits=3)}; plain loop {loop.text(digits=3)}"
    if earlier := by.get("before"):
        others += f"; before {earlier.text(digits=3)}"
    bench.add(
        Line(
            f"warm `--once`, {count:,} committed workspaces",
            ours.text(digits=3),
            others,
            f"{ratio:.2f} × the walk + {empty.median:.2f} s (an empty root)",
        )
    )


def _report_growth(bench: Bench, measured: dict[int, dict[str, Any]]) -> None:
    small, large = min(measured), max(measured)
    each = {count: _beyond_start(raw) / count for count, raw in measured.items()}
    noise = each[small] <= 0  # too few workspaces to be seen beside the start
    ratio = each[large] / each[small] if not noise else 0.0
    bench.add(
        Line(
            f"warm cost per workspace, {large:,} against {small:,}",
            f"{each[large] * 1e6:.1f} µs",
            f"{each[small] * 1e6:.1f} µs",
            f"{ratio:.2f} ×",
            f"flat (≤ {_FLAT} ×)",
            None if noise else ratio <= _FLAT,
        )
    )
    peak = spread(measured[large]["peak_bytes"])
    case = f"peak memory of warm `--once`, {large:,} workspaces"
    bench.add(Line(case, peak.text(1 / _MIB, "MiB", 0), "", "", "< 100 MiB", peak.high < 100 * _MIB))
