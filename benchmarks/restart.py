"""The daemon started again over very many workspaces that are all committed: ready, memory, a look at all of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agentic_watch.daemon.daemon_state import look
from benchmarks import trees
from benchmarks.bench import Bench, Line, percentile, say, spread, turned
from benchmarks.finishing import finish_each
from benchmarks.processes import Daemon, Failed, bare, once, run, watcher

_MIB = 1 << 20
_GAP_SECONDS = 0.04
_STEP_SECONDS = 1.0
_DEADLINE_SECONDS = 120.0
_SLICE_MS = 50.0
_READY_SECONDS = 2.5
_RESIDENT_MIB = 95
"""What the daemon may hold over 100,000 workspaces."""
_WALKS = 3


@dataclass(frozen=True, slots=True)
class _Measured:
    """Of one daemon: seconds, and seconds of a processor, until READY=1; seconds from then to its last watch; bytes;
    seconds of finishes and of a look at all."""

    ready: float
    ready_cpu: float
    watched: float
    resident: int
    quiet: list[float]
    meanwhile: list[float]
    reconcile: float
    cpu: float


def restart(bench: Bench) -> None:
    """100,000 committed workspaces: the daemon of now, and the earlier one, one after the other."""
    count = bench.sizes.large
    root, history = bench.committed(count)
    measured: dict[str, list[_Measured]] = {name: [] for name in ("agentic-watch", *bench.earlier)}
    walks = [run(bare("floors", "walk", root)).said()["seconds"] for _ in range(_WALKS)]
    for turn in range(bench.sizes.restarts):
        for name in turned(list(measured), turn):
            checkout = bench.before if name == "before" else ""
            measured[name].append(_measure(bench, root, _history_of(name, root, history, checkout), checkout))
            say(f"  {name}: {_text(measured[name][-1])}")
    bench.raw["restart"] = {"walk_seconds": walks, "measured": {k: [repr(m) for m in v] for k, v in measured.items()}}
    _report(bench, count, measured, spread(walks).median)


def _history_of(name: str, root: str, history: str, checkout: str) -> str:
    """Each has a history of its own, since a later program may have upgraded the other one."""
    if name != "before":
        return history
    earlier = f"{os.path.dirname(history)}-before/history.db"
    once(root, earlier, checkout)
    return earlier


def _measure(bench: Bench, root: str, history: str, checkout: str) -> _Measured:
    again, run_number = _dispatched_again(bench, root)
    with watcher(root, history, checkout=checkout) as daemon:
        ready_cpu = daemon.cpu()
        watched = wait_watched(daemon)
        time.sleep(bench.sizes.rest_seconds)
        resident = daemon.resident()
        quiet = _finishes(daemon, root, again, run_number)
    again, run_number = _dispatched_again(bench, root)
    with watcher(root, history, reconcile_seconds=1, checkout=checkout) as looking:
        wait_watched(looking)
        cpu, began = looking.cpu(), time.perf_counter()
        time.sleep(bench.sizes.rest_seconds)
        _, state = look(history)
        if state is None:
            raise Failed("the daemon does not say how it is")
        share = (looking.cpu() - cpu) / (time.perf_counter() - began)
        meanwhile = _finishes(looking, root, again, run_number)
    scan = state.counted.last_scan_seconds
    return _Measured(daemon.ready_seconds, ready_cpu, watched, resident, quiet, meanwhile, scan, share)


def wait_watched(daemon: Daemon) -> float:
    """Seconds from the daemon's readiness until no watch has been added for a while."""
    began, before, since = time.perf_counter(), -1, 0.0
    while (now := time.perf_counter()) - began < _DEADLINE_SECONDS:
        if (watches := daemon.watches()) != before:
            before, since = watches, now
        elif now - since > 2 * _STEP_SECONDS:
            return since - began
        time.sleep(_STEP_SECONDS)
    raise Failed("watches are added without end")


def _dispatched_again(bench: Bench, root: str) -> tuple[Sequence[int], int]:
    """Have a few be at work when the daemon starts: which, and the number of their run, which no other has."""
    run_number = time.time_ns() // 1_000_000 % 1_000_000_000
    again = range(0, bench.sizes.large, max(1, bench.sizes.large // bench.sizes.samples))
    for number in again:
        status = json.dumps(trees.fields(number, "running", run_number)).encode()
        trees.write(f"{root}/{trees.name_of(number)}/.meta/status.json", status)
    bench.sync()
    return again, run_number


def _finishes(daemon: Daemon, root: str, numbers: Sequence[int], run_number: int) -> list[float]:
    """Seconds of single finishes."""
    return [sample.durable for sample in finish_each(daemon, root, numbers, _GAP_SECONDS, run_number)]


def _report(bench: Bench, count: int, measured: dict[str, list[_Measured]], walk: float) -> None:
    of = measured["agentic-watch"]
    earlier = measured.get("before", [])

    def line(
        case: str, values: tuple[str, str], ratio: str, target: str = "", met: bool | None = None, goal: bool = False
    ) -> None:
        ours, others = values
        bench.add(Line(case, ours, f"before {others}" if earlier else "", ratio, target, met, goal))

    ready = spread([one.ready for one in of])
    cpu = spread([one.ready_cpu for one in of]).median
    texts = (
        f"{ready.text()}, {cpu:.2f} s of a processor",
        " ".join(f"{one.ready:.2f} s, {one.ready_cpu:.2f} s of a processor" for one in earlier),
    )
    line(f"daemon over {count:,} committed workspaces: ready", texts, "", "≤ 2.5 s", ready.median <= _READY_SECONDS)
    resident = max(one.resident for one in of) / _MIB
    texts = (f"{resident:.1f} MiB", " ".join(f"{one.resident / _MIB:.1f} MiB" for one in earlier))
    case, target = f"… over {count:,}, all watched: resident memory", f"≤ {_RESIDENT_MIB} MiB"
    line(case, texts, "", target, resident <= _RESIDENT_MIB, goal=True)
    scan, *scans = (spread([one.reconcile for one in some]) for some in measured.values())
    texts = (scan.text(), " ".join(one.text() for one in scans))
    line("… a reconcile", texts, f"{scan.median / walk:.2f} × the bare walk ({walk:.2f} s)")
    quiet = percentile([seconds for one in of for seconds in one.quiet], 99) * 1e3
    ours, *others = (percentile([s for one in some for s in one.meanwhile], 99) * 1e3 for some in measured.values())
    texts = (f"{ours:.1f} ms (quiet {quiet:.1f})", " ".join(f"{one:.1f} ms" for one in others))
    case = "… one finish while it reconciles without a pause, p99"
    line(case, texts, f"+ {ours - quiet:.1f} ms", "≤ quiet + a slice (50 ms)", ours <= quiet + _SLICE_MS)


def _text(one: _Measured) -> str:
    half, most = (percentile(one.meanwhile, percent) * 1e3 for percent in (50, 99))
    return (
        f"ready {one.ready:.2f} s (processor {one.ready_cpu:.2f} s), watched {one.watched:.1f} s later, "
        f"{one.resident / _MIB:.0f} MiB, "
        f"reconcile {one.reconcile:.2f} s ({one.cpu:.0%} of a processor), finish meanwhile {half:.1f} / {most:.1f} ms"
    )
