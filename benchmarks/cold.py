"""Everything finished, nothing committed: `--once`, and 2,000 finishes at once under the daemon."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from benchmarks import trees
from benchmarks.bench import Bench, Line, Spread, say, spread, turned
from benchmarks.processes import Daemon, Failed, bare, built_by_go, once, run, start

_TRIAL = 500
_THREADS = (16, 32)
_WATCHERS = ("agentic-watch", "watchdog", "watchfiles")
_SAME_BYTES = 0.01

Contestant = Callable[[str, str, int], tuple[float, float]]
"""(root, history, count) → seconds of wall time and of CPU."""


def cold_small(bench: Bench) -> None:
    """2,000 finished workspaces."""
    _cold(bench, "cold-small", bench.sizes.small, bench.sizes.rounds)


def cold_medium(bench: Bench) -> None:
    """20,000 finished workspaces."""
    _cold(bench, "cold-medium", bench.sizes.medium, bench.sizes.rounds_medium)


def _cold(bench: Bench, case: str, count: int, rounds: int) -> None:
    best = _best_threads(bench)
    contestants: dict[str, Contestant] = {
        "agentic-watch": _ours(),
        "one process": _ours("--jobs", "1"),
        **{name: _ours(checkout=bench.before) for name in bench.earlier},
        "sequential loop": _loop,
        "overlapped floor": _floor(best),
        "syncfs floor": _floor("syncfs"),
    }
    if (unsynced := built_by_go("unsynced.go", bench.work)) is not None:
        contestants["Go, nothing synced"] = _unsynced(unsynced)
    if count <= bench.sizes.small:
        contestants["floor one by one"] = _floor(0)
    seconds, cpu, written = _compete(bench, contestants, count, rounds)
    bench.raw[case] = {"workspaces": count, "threads": best, "seconds": seconds, "cpu_seconds": cpu}
    bench.raw[case]["journal_bytes"] = written
    _same_bytes(written)
    _report(bench, count, {name: spread(samples) for name, samples in seconds.items()})


def _compete(
    bench: Bench, contestants: dict[str, Contestant], count: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, int]]:
    seconds: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    written = {}
    for turn in range(rounds):
        for name in turned(list(contestants), turn):
            with bench.tree(count) as (root, history):
                wall, busy = contestants[name](root, history, count)
                written[name] = trees.journal_bytes(root, count)
            seconds[name].append(wall)
            cpu[name].append(busy)
            say(f"  {count:,} cold, {name}: {wall:.2f} s, CPU {busy:.2f} s")
    return seconds, cpu, written


def _ours(*options: str, checkout: str = "") -> Contestant:
    def contestant(root: str, history: str, count: int) -> tuple[float, float]:
        ran = once(root, history, *options, checkout=checkout)
        if (committed := ran.said()["committed"]) != count:
            raise Failed(f"--once committed {committed} of {count}")
        return ran.seconds, ran.cpu

    return contestant


def _loop(root: str, history: str, _: int) -> tuple[float, float]:
    ran = run(bare("rivals", "loop", root, history))
    return ran.seconds, ran.cpu


def _unsynced(program: str) -> Contestant:
    def contestant(root: str, _: str, count: int) -> tuple[float, float]:
        ran = run([program, root])
        if (committed := ran.said()["committed"]) != count:
            raise Failed(f"{program} committed {committed} of {count}")
        return ran.seconds, ran.cpu

    return contestant


def _floor(threads: int | str) -> Contestant:
    def contestant(root: str, history: str, count: int) -> tuple[float, float]:
        said = run(bare("floors", "write", root, history, str(count), str(threads))).said()
        return said["seconds"], said["cpu"]

    return contestant


def _best_threads(bench: Bench) -> int:
    """How many threads serve the floor best here."""
    if not bench.threads:
        count = min(_TRIAL, bench.sizes.small)
        seconds, _, _ = _compete(bench, {str(threads): _floor(threads) for threads in _THREADS}, count, 2)
        bench.threads = int(min(seconds, key=lambda name: min(seconds[name])))
    return bench.threads


def _same_bytes(written: dict[str, int]) -> None:
    """The floor must write what we write, else the comparison says nothing."""
    ours, floor = written["agentic-watch"], written["overlapped floor"]
    if abs(ours - floor) > _SAME_BYTES * ours:
        raise Failed(f"the floor wrote {floor} bytes of journal, agentic-watch {ours}")


def _report(bench: Bench, count: int, by: dict[str, Spread]) -> None:
    ours, loop, floor = by["agentic-watch"], by["sequential loop"], by["overlapped floor"]
    case = f"cold `--once`, {count:,} finished workspaces"
    others = f"sequential durable loop {loop.text()}"
    if earlier := by.get("before"):
        others += f"; before {earlier.text()}"
    faster = loop.median / ours.median
    bench.add(Line(case, ours.text(), others, f"{faster:.1f} × as fast", "≥ 3 ×", faster >= 3))
    others = f"overlapped floor {floor.text()}"
    if single := by.get("floor one by one"):
        others += f"; floor one by one {single.text()}"
    part = floor.median / ours.median
    bench.add(Line(case, ours.text(), others, f"{part:.2f} × the floor's speed", "≥ 0.6 ×", part >= 0.6))
    by_syncfs, single = by["syncfs floor"], by["one process"]
    others = f"floor by syncfs {by_syncfs.text()}; `--jobs 1` {single.text()}"
    part = by_syncfs.median / ours.median
    bench.add(Line(case, ours.text(), others, f"{part:.2f} × that floor's speed; {count / ours.median:,.0f} a second"))
    if unsynced := by.get("Go, nothing synced"):
        part = unsynced.median / ours.median
        others = f"Go, nothing synced, no history {unsynced.text()}"
        bench.add(Line(case, ours.text(), others, f"{part:.2f} × its speed", "> 1 ×", part > 1))


def burst(bench: Bench) -> None:
    """2,000 finishes at once under the daemon, beside the cold `--once` of the same work."""
    count = bench.sizes.small
    seconds: dict[str, list[float]] = defaultdict(list)
    failed: dict[str, str] = {}
    for turn in range(bench.sizes.rounds):
        for name in turned(["cold --once", "cold --once --jobs 1", *_WATCHERS, *bench.earlier], turn):
            if name.startswith("cold --once"):
                with bench.tree(count) as (root, history):
                    seconds[name].append(_ours(*name.split()[2:])(root, history, count)[0])
            elif name not in failed:
                _try_burst(bench, name, count, seconds, failed)
    bench.raw["burst"] = {"workspaces": count, "seconds": seconds, "failed": failed}
    by = {name: spread(samples) for name, samples in seconds.items()}
    ratio = by["agentic-watch"].median / by["cold --once"].median
    others = "; ".join(
        f"{name}: {failed[name]}" if name in failed else f"{name} {by[name].text()}"
        for name in ("cold --once", "cold --once --jobs 1", *_WATCHERS[1:], *bench.earlier)
    )
    case = f"{count:,} finishes at once, daemon, until all are committed"
    bench.add(Line(case, by["agentic-watch"].text(), others, f"{ratio:.2f} × cold", "≤ 1.2 ×", ratio <= 1.2))


def _try_burst(bench: Bench, name: str, count: int, seconds: dict[str, list[float]], failed: dict[str, str]) -> None:
    """One round of a watcher; a rival that loses a finish is out, ours may not."""
    try:
        seconds[name].append(_burst(bench, name, count))
    except Failed as error:
        if name == _WATCHERS[0]:
            raise
        failed[name] = str(error)
    say(f"  {count:,} at once, {name}: {failed.get(name) or f'{seconds[name][-1]:.2f} s'}")


def _burst(bench: Bench, name: str, count: int) -> float:
    """Seconds from the first rename to the last marker."""
    with bench.tree(count, "running") as (root, history):
        for number in range(count):
            trees.stage(root, number)
        bench.sync()
        with start(name, root, history, bench.before) as daemon:
            seconds = _finish_all(daemon, root, count)
        trees.journal_bytes(root, count)
        return seconds


def _finish_all(daemon: Daemon, root: str, count: int) -> float:
    started = time.perf_counter()
    for number in range(count):
        trees.finish(root, number)
    daemon.wait_committed(count)
    return time.perf_counter() - started
