"""What watching costs: full clones at the start, a build meanwhile, and nothing at all for a minute."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from benchmarks import trees
from benchmarks.bench import Bench, Line, percentile, say, spread, turned
from benchmarks.finishing import finish_each
from benchmarks.processes import REPOSITORY, Daemon, Failed, bare, environment, rival, run, start, watcher

_MIB = 1 << 20
_RIVALS = ("watchdog", "watchfiles")
_RESIDENT_MIB = (45, 20)
"""What the daemon may hold while nothing happens: over 20,000 workspaces, over 200."""
_NOISE = 1.1
_BUILD_GAP_SECONDS = 0.04
_BUILD_SECONDS_PER_FILE = 0.0005


def clones(bench: Bench) -> None:
    """200 workspaces with 2,000 directories in each `repo/`: until ready, and how many watches."""
    few, inside = bench.sizes.few, bench.sizes.clone_directories
    ready: dict[str, list[float]] = defaultdict(list)
    watches: dict[str, int] = {}
    with bench.tree(few, "running") as (empty, _), bench.tree(few, "running", inside) as (full, _):
        for turn in range(bench.sizes.rounds):
            for name, root in turned_pairs({"empty repo": empty, "full repo": full}, turn):
                with bench.place() as place, watcher(root, f"{place}/history.db") as daemon:
                    ready[name].append(daemon.ready_seconds)
                    watches[name] = daemon.watches()
        tried = {kind: _try_rival(bench, kind, full) for kind in _RIVALS}
    bench.raw["clones"] = {"ready_seconds": ready, "watches": watches, "rivals": tried}
    others = "; ".join(f"{kind}: {_rival_text(one)}" for kind, one in tried.items())
    full_ready, empty_ready = spread(ready["full repo"]), spread(ready["empty repo"])
    case = f"{few:,} workspaces, {inside:,} directories in each `repo/`: ready"
    bench.add(Line(case, full_ready.text(), others, "", "< 1 s", full_ready.median < 1))
    ratio = full_ready.median / empty_ready.median
    others = f"with empty `repo/` {empty_ready.text()}"
    bench.add(Line("… against empty `repo/`", full_ready.text(), others, f"{ratio:.2f} ×", "≤ 1.1 ×", ratio <= _NOISE))
    each = watches["full repo"] / few
    bench.add(Line("… watches a workspace", f"{each:.2f}", f"directories: {inside + 3:,}", "", "≤ 3", each <= 3))


def turned_pairs(pairs: dict[str, str], turn: int) -> list[tuple[str, str]]:
    """The contestants with what belongs to each, in the order of this round."""
    return [(name, pairs[name]) for name in turned(list(pairs), turn)]


def _try_rival(bench: Bench, kind: str, root: str) -> dict[str, Any]:
    try:
        with bench.place() as place, rival(kind, root, f"{place}/history.db") as daemon:
            return {"ready_seconds": daemon.ready_seconds, "watches": daemon.watches(), "cpu": daemon.cpu()}
    except Failed as error:
        return {"error": str(error).strip().splitlines()[-1]}


def _rival_text(tried: dict[str, Any]) -> str:
    if "error" in tried:
        cause, _, _ = str(tried["error"]).partition(" about [")  # which path it was is this machine's affair
        return f"did not start ({cause[:90]})"
    return f"{tried['ready_seconds']:.1f} s, {tried['watches']:,} watches"


def build(bench: Bench) -> None:
    """A build writing 20,000 files inside one `repo/`: the watcher's CPU, and the latency of others meanwhile."""
    cpu = {name: _build_cpu(bench, name) for name in ("agentic-watch", *_RIVALS)}
    samples = {quiet: _latencies(bench, quiet=quiet) for quiet in (True, False)}
    bench.raw["build"] = {"cpu_seconds": cpu, "quiet": samples[True], "meanwhile": samples[False]}
    files = bench.sizes.build_files
    others = "; ".join(f"{kind} {cpu[kind]:.2f} s" for kind in _RIVALS)
    ours = cpu["agentic-watch"]
    case = f"watcher's CPU while a build writes {files:,} files in a `repo/`"
    bench.add(Line(case, f"{ours:.3f} s", others, "", "< 0.1 s", ours < 0.1))
    quiet, meanwhile = (percentile(samples[key]["watcher"], 99) * 1e3 for key in (True, False))
    floors = " → ".join(f"{percentile(samples[key]['floor'], 99) * 1e3:.2f}" for key in (True, False))
    ratio = meanwhile / quiet
    others = f"quiet {quiet:.2f} ms; the floor, quiet → meanwhile: {floors} ms"
    case = "p99 of one finish while the build runs"
    bench.add(Line(case, f"{meanwhile:.2f} ms", others, f"{ratio:.2f} × quiet", "≤ 2 ×", ratio <= 2))


def _build_cpu(bench: Bench, name: str) -> float:
    """CPU seconds of a watcher from before a build to after it has taken in its events."""
    with bench.tree(bench.sizes.few, "running") as (root, history), start(name, root, history) as daemon:
        time.sleep(bench.sizes.rest_seconds)
        before = daemon.cpu()
        run(bare("floors", "build", f"{root}/{trees.name_of(0)}/repo", str(bench.sizes.build_files), "0"))
        time.sleep(1.0)
        return daemon.cpu() - before


def _latencies(bench: Bench, *, quiet: bool) -> dict[str, list[float]]:
    """Seconds of single finishes, by our watcher and by the bare script, with or without a build beside."""
    count, files = bench.sizes.samples, bench.sizes.build_files
    found = {}
    for who in ("watcher", "floor"):
        with bench.tree(count + 1, "running") as (root, history), contextlib.ExitStack() as stack:
            daemon = stack.enter_context(watcher(root, history)) if who == "watcher" else None
            if not quiet:
                stack.enter_context(_building(f"{root}/{trees.name_of(count)}/repo", files))
            found[who] = _samples(daemon, root, history, count)
        say(f"  {'quiet' if quiet else 'meanwhile'}, {who}: p99 {percentile(found[who], 99) * 1e3:.2f} ms")
    return found


def _samples(daemon: Daemon | None, root: str, history: str, count: int) -> list[float]:
    if daemon is not None:
        return [sample.durable for sample in finish_each(daemon, root, range(count), _BUILD_GAP_SECONDS)]
    said = run(bare("floors", "single", root, history, str(count), str(_BUILD_GAP_SECONDS))).said()
    return [float(seconds) for seconds in said["seconds"]]


@contextlib.contextmanager
def _building(directory: str, files: int) -> Iterator[None]:
    """A build that runs beside, 2,000 files a second as a fast compiler writes them."""
    arguments = bare("floors", "build", directory, str(files), str(files * _BUILD_SECONDS_PER_FILE))
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=environment(), cwd=REPOSITORY)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def idle(bench: Bench) -> None:
    """A minute in which nothing happens, for all at once: ours with 20,000 and 200 workspaces, rivals with 20,000."""
    seconds = bench.sizes.idle_seconds
    rivals = () if bench.goals_only else _RIVALS
    many, few = bench.sizes.medium, bench.sizes.few
    with contextlib.ExitStack() as stack:
        big, small = bench.committed(many), bench.committed(few)
        daemons = {
            f"{many:,}": stack.enter_context(watcher(*big, settle_seconds=None)),
            f"{few:,}": stack.enter_context(watcher(*small, settle_seconds=None)),
        }
        for kind in rivals:
            try:
                daemons[kind] = stack.enter_context(rival(kind, big[0], f"{os.path.dirname(big[0])}/{kind}/history.db"))
            except Failed as error:
                say(f"  idle, {kind}: {error}")
        time.sleep(bench.sizes.rest_seconds)
        before = {name: daemon.cpu() for name, daemon in daemons.items()}
        time.sleep(seconds)
        cpu = {name: daemon.cpu() - before[name] for name, daemon in daemons.items()}
        resident = {name: daemon.resident() for name, daemon in daemons.items()}
        watches = {name: daemon.watches() for name, daemon in daemons.items()}
    bench.raw["idle"] = {"seconds": seconds, "cpu_seconds": cpu, "resident_bytes": resident, "watches": watches}
    _report_idle(bench, cpu, resident)


def _report_idle(bench: Bench, cpu: dict[str, float], resident: dict[str, int]) -> None:
    seconds, many, few = bench.sizes.idle_seconds, f"{bench.sizes.medium:,}", f"{bench.sizes.few:,}"
    there = [kind for kind in _RIVALS if kind in cpu]
    others = "; ".join(f"{kind} {cpu[kind]:.3f} s" for kind in there)
    case = f"CPU in {seconds:.0f} idle seconds, {many} workspaces"
    bench.add(Line(case, f"{cpu[many]:.3f} s", others, "", "< 0.05 s", cpu[many] < 0.05))
    others = "; ".join(f"{kind} {resident[kind] / _MIB:.0f} MiB" for kind in there)
    for name, limit in zip((many, few), _RESIDENT_MIB, strict=True):
        case = f"resident memory, idle, {name} workspaces"
        text, target = f"{resident[name] / _MIB:.1f} MiB", f"≤ {limit} MiB"
        met = resident[name] <= limit * _MIB
        bench.add(Line(case, text, others if name == many else "", "", target, met, goal=True))
