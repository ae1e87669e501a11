"""A single finish under the daemon, settle 0, beside the floor and the watchers a user could write."""

from __future__ import annotations

from collections import defaultdict

from benchmarks.bench import Bench, Line, percentile, say, turned
from benchmarks.finishing import GAP_SECONDS, finish_each
from benchmarks.processes import bare, run, start

_BLOCKS = 4
_WATCHERS = ("agentic-watch", "watchdog", "watchfiles")
_TIMES_FLOOR, _TIMES_MEDIAN = 1.9, 2


def latency(bench: Bench) -> None:
    """200 samples each, in blocks that take turns, each block on a fresh tree."""
    count = max(1, bench.sizes.samples // _BLOCKS)
    durable: dict[str, list[float]] = defaultdict(list)
    seen: dict[str, list[float]] = defaultdict(list)
    for turn in range(_BLOCKS):
        for name in turned([*_WATCHERS, *bench.earlier, "floor"], turn):
            if name == "floor":
                durable[name] += single_floor(bench, count)
                continue
            with bench.tree(count, "running") as (root, history), start(name, root, history, bench.before) as daemon:
                samples = finish_each(daemon, root, range(count))
            durable[name] += [sample.durable for sample in samples]
            seen[name] += [sample.seen for sample in samples]
        say("  one finish: " + ", ".join(f"{name} {percentile(s, 50) * 1e3:.2f} ms" for name, s in durable.items()))
    bench.raw["latency"] = {"durable_seconds": durable, "seen_seconds": seen}
    _report(bench, durable, percentile(seen["agentic-watch"], 50))


def single_floor(bench: Bench, count: int) -> list[float]:
    """Seconds of each of `count` commits by the bare script, on a fresh tree."""
    with bench.tree(count) as (root, history):
        said = run(bare("floors", "single", root, history, str(count), str(GAP_SECONDS))).said()
    return [float(seconds) for seconds in said["seconds"]]


def _report(bench: Bench, durable: dict[str, list[float]], seen: float) -> None:
    ours, floor = durable["agentic-watch"], durable["floor"]
    half, most = percentile(ours, 50), percentile(ours, 99)
    others = "; ".join(f"{name} {_text(durable[name])}" for name in durable if name != _WATCHERS[0])
    ratio = half / percentile(floor, 50)
    case = "one finish to its durable marker, settle 0, p50 (p99)"
    text = f"{_text(ours)}; marker seen after {seen * 1e3:.2f} ms"
    target, met = f"≤ {_TIMES_FLOOR} ×", ratio <= _TIMES_FLOOR
    bench.add(Line(case, text, others, f"{ratio:.2f} × the floor", target, met, goal=True))
    case = "one finish to its durable marker, p99 against p50"
    target, met = f"≤ {_TIMES_MEDIAN} ×", most <= _TIMES_MEDIAN * half
    bench.add(Line(case, f"{most * 1e3:.2f} ms", "", f"{most / half:.1f} ×", target, met, goal=True))


def _text(samples: list[float]) -> str:
    return f"{percentile(samples, 50) * 1e3:.2f} ms ({percentile(samples, 99) * 1e3:.2f})"
