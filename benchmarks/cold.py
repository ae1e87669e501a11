"""Everything finished, nothing committed: `--once`, and 2,000 finishes at once under the daemon."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable

from benchmarks import trees
from benchmarks.bench import Bench, Line, Spread, say, spread, turned
from benchmarks.processes import REPOSITORY, Daemon, Failed, bare, built_by_go, once, run, start

_TRIAL = 500
_THREADS = (16, 32)
_WATCHERS = ("agentic-watch", "watchdog", "watchfiles")
_FIRST = "version 0.1.0"
_SAME_BYTES = 0.01
_FLOORS_SPEED, _TIMES_GO, _TIMES_SINGLE, _TIMES_FLOOR = 0.85, 3, 1.1, 1.4
"""The goals: of a cold pass, against the floor by syncfs and the Go program that syncs; of a burst, against `--once
--jobs 1` and that floor."""

Contestant = Callable[[str, str, int], tuple[float, float]]
"""(root, history, count) → seconds of wall time and of CPU."""


def cold_small(bench: Bench) -> None:
    """2,000 finished workspaces."""
    _cold(bench, "cold-small", bench.sizes.small, bench.sizes.rounds)


def cold_medium(bench: Bench) -> None:
    """20,000 finished workspaces."""
    _cold(bench, "cold-medium", bench.sizes.medium, bench.sizes.rounds_medium)


def _cold(bench: Bench, case: str, count: int, rounds: int) -> None:
    contestants: dict[str, Contestant] = {
        "agentic-watch": _ours(),
        "one process": _ours("--jobs", "1"),
        **{name: _ours(checkout=bench.before) for name in bench.earlier},
        "syncfs floor": _floor("syncfs"),
        **_by_go(bench),
        **(_by_first_version(bench) if count > bench.sizes.small else {}),
    }
    if not bench.goals_only:
        contestants |= {"sequential loop": _loop, "overlapped floor": _floor(_best_threads(bench))}
        if count <= bench.sizes.small:
            contestants["floor one by one"] = _floor(0)
    seconds, cpu, written = _compete(bench, contestants, count, rounds)
    bench.raw[case] = {"workspaces": count, "threads": bench.threads, "seconds": seconds, "cpu_seconds": cpu}
    bench.raw[case]["journal_bytes"] = written
    _same_bytes(written)
    by, busy = ({name: spread(some) for name, some in all_of.items()} for all_of in (seconds, cpu))
    title = f"cold `--once`, {count:,} finished workspaces"
    _report_goals(bench, title, by, busy, goal=count > bench.sizes.small)
    if not bench.goals_only:
        _report(bench, title, by)


def _by_first_version(bench: Bench) -> dict[str, Contestant]:
    """Version 0.1.0, which works in one process, out of the repository's past; nothing where that is not there."""
    git = ["git", "-C", str(REPOSITORY)]
    search = [*git, "log", "--format=%H", '-S"0.1.0"', "--", "agentic_watch/__init__.py"]
    ended, *_ = subprocess.run(search, capture_output=True, check=False, text=True).stdout.split() or [""]
    if not ended:
        return {}
    place = f"{bench.work}/first-version"
    if not os.path.exists(place):
        archive = subprocess.run([*git, "archive", f"{ended}~1", "agentic_watch"], capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(place, filter="data")
    return {_FIRST: _ours(checkout=place)}


def _by_go(bench: Bench) -> dict[str, Contestant]:
    """The program in Go, with its syncs and without; nothing where there is no Go."""
    if (program := built_by_go("straight.go", bench.work)) is None:
        return {}
    return {"Go, all synced": _go(program, "-sync"), "Go, nothing synced": _go(program)}


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


def _go(program: str, *options: str) -> Contestant:
    def contestant(root: str, _: str, count: int) -> tuple[float, float]:
        ran = run([program, *options, root])
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
    ours, floor = written["agentic-watch"], written["syncfs floor"]
    if abs(ours - floor) > _SAME_BYTES * ours:
        raise Failed(f"the floor wrote {floor} bytes of journal, agentic-watch {ours}")


def _report_goals(bench: Bench, case: str, by: dict[str, Spread], cpu: dict[str, Spread], *, goal: bool) -> None:
    ours, floor, single = by["agentic-watch"], by["syncfs floor"], cpu["one process"]
    part = floor.median / ours.median
    target, met = f"≥ {_FLOORS_SPEED} ×", part >= _FLOORS_SPEED
    bench.add(Line(case, ours.text(), f"syncfs floor {floor.text()}", f"{part:.2f} × its speed", target, met, goal))
    if synced := by.get("Go, all synced"):
        faster, unsynced = synced.median / ours.median, by["Go, nothing synced"]
        others = f"Go, each file synced {synced.text()}; Go, nothing synced {unsynced.text()}, neither with a history"
        target, met = f"≥ {_TIMES_GO} ×", faster >= _TIMES_GO
        bench.add(Line(case, ours.text(), others, f"{faster:.1f} × as fast", target, met, goal))
    case += ", `--jobs 1`: processor"
    if earlier := cpu.get(_FIRST):
        others, ratio = f"{_FIRST} {earlier.text()}", single.median / earlier.median
        bench.add(Line(case, single.text(), others, f"{ratio:.2f} ×", "≤ 1 ×", ratio <= 1, goal))
    else:
        bench.add(Line(case, single.text(), "", f"{by['one process'].text()} by the clock"))


def _report(bench: Bench, case: str, by: dict[str, Spread]) -> None:
    ours, loop, floor = by["agentic-watch"], by["sequential loop"], by["overlapped floor"]
    faster = loop.median / ours.median
    others = f"sequential durable loop {loop.text()}"
    if earlier := by.get("before"):
        others += f"; before {earlier.text()}"
    bench.add(Line(case, ours.text(), others, f"{faster:.1f} × as fast", "≥ 3 ×", faster >= 3))
    others = f"overlapped floor {floor.text()}"
    if single := by.get("floor one by one"):
        others += f"; floor one by one {single.text()}"
    bench.add(Line(case, ours.text(), others, f"{floor.median / ours.median:.2f} × the floor's speed"))


def burst(bench: Bench) -> None:
    """2,000 finishes at once under the daemon, beside the cold `--once` and the floor of the same work."""
    count = bench.sizes.small
    passes = {
        "cold --once": _ours(),
        "cold --once --jobs 1": _ours("--jobs", "1"),
        "syncfs floor": _floor("syncfs"),
    }
    seconds: dict[str, list[float]] = defaultdict(list)
    failed: dict[str, str] = {}
    for turn in range(bench.sizes.rounds):
        for name in turned([*passes, *_WATCHERS, *bench.earlier], turn):
            if name in passes:
                with bench.tree(count) as (root, history):
                    seconds[name].append(passes[name](root, history, count)[0])
            elif name not in failed:
                _try_burst(bench, name, count, seconds, failed)
    bench.raw["burst"] = {"workspaces": count, "seconds": seconds, "failed": failed}
    _report_burst(bench, count, {name: spread(samples) for name, samples in seconds.items()}, failed)


def _report_burst(bench: Bench, count: int, by: dict[str, Spread], failed: dict[str, str]) -> None:
    case = f"{count:,} finishes at once, daemon, until all are committed"
    ours = by["agentic-watch"]
    for name, most in (("syncfs floor", _TIMES_FLOOR), ("cold --once --jobs 1", _TIMES_SINGLE)):
        ratio = ours.median / by[name].median
        others = f"{name} {by[name].text()}"
        bench.add(Line(case, ours.text(), others, f"{ratio:.2f} ×", f"≤ {most} ×", ratio <= most, goal=True))
    others = "; ".join(
        f"{name}: {failed[name]}" if name in failed else f"{name} {by[name].text()}"
        for name in ("cold --once", *_WATCHERS[1:], *bench.earlier)
    )
    bench.add(Line(case, ours.text(), others))


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
