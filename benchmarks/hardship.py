"""When watching is hard: a large organisation is renamed; an agent storms its own `.meta`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator

from benchmarks import trees
from benchmarks.bench import Bench, Line, percentile, say
from benchmarks.finishing import finish_each
from benchmarks.processes import REPOSITORY, Daemon, Failed, bare, environment, ours, run, watcher

_GAP_SECONDS = 0.04
_DEADLINE_SECONDS = 120.0
_STEP_SECONDS = 0.001
_ORGANISATIONS = 10


def rename(bench: Bench) -> None:
    """Two watches a workspace; one of ten organisations is renamed, then finishes in another and in the renamed one."""
    count, samples = bench.sizes.renamed, bench.sizes.samples // 4
    with bench.tree(count, "running") as (root, history), watcher(root, history) as daemon:
        watches = daemon.watches()
        time.sleep(bench.sizes.rest_seconds)
        elsewhere = [number for number in range(count) if trees.name_of(number).startswith("org-1/")]
        quiet = [sample.durable for sample in finish_each(daemon, root, elsewhere[:samples], _GAP_SECONDS)]
        trees.stage(root, 0)  # lies in org-0
        began = time.perf_counter()
        os.rename(f"{root}/org-0", f"{root}/renamed")
        meta = f"{root}/renamed/{trees.name_of(0).partition('/')[2]}/.meta"
        os.rename(f"{meta}/.status.json.tmp", f"{meta}/status.json")
        after = [sample.durable for sample in finish_each(daemon, root, elsewhere[samples : 2 * samples], _GAP_SECONDS)]
        renamed = _wait_for(f"{meta}/commit.json", began)
        time.sleep(bench.sizes.rest_seconds)
        overflows = _overflows(root, history)
    bench.raw["rename"] = {"watches": watches, "quiet": quiet, "after": after, "renamed": renamed}
    before_p99, after_p99 = (percentile(values, 99) * 1e3 for values in (quiet, after))
    ratio = after_p99 / before_p99
    case = (
        f"{watches:,} watches, `mv` of an org with {count // _ORGANISATIONS:,}: p99 of finishes elsewhere right after"
    )
    bench.add(Line(case, f"{after_p99:.2f} ms", f"before {before_p99:.2f} ms", f"{ratio:.2f} ×", "≤ 2 ×", ratio <= 2))
    case = "… one finish in the renamed org, from the `mv` on; queue overflows"
    bench.add(Line(case, f"{renamed:.2f} s; {overflows}", "", "", "0 overflows", overflows == 0))


def storm(bench: Bench) -> None:
    """Finishes of others on a quiet host and beside an agent that storms its own `.meta`; what the storm costs."""
    count = bench.sizes.samples
    with bench.tree(2 * count + 1, "running") as (root, history), watcher(root, history) as daemon:
        quiet = [sample.durable for sample in finish_each(daemon, root, range(count), _GAP_SECONDS)]
        lines = _lines(daemon)
        with _storming(f"{root}/{trees.name_of(2 * count)}/.meta"):
            cpu, began = daemon.cpu(), time.perf_counter()
            time.sleep(bench.sizes.idle_seconds / 2)
            share = (daemon.cpu() - cpu) / (time.perf_counter() - began)
            meanwhile = [sample.durable for sample in finish_each(daemon, root, range(count, 2 * count), _GAP_SECONDS)]
        said = _lines(daemon) - lines
        overflows = _overflows(root, history)
    bench.raw["storm"] = {"quiet": quiet, "meanwhile": meanwhile, "cpu": share, "lines": said, "overflows": overflows}
    say(f"  storm: {overflows} overflows")
    quiet_p99, storm_p99 = (percentile(values, 99) * 1e3 for values in (quiet, meanwhile))
    ratio = storm_p99 / quiet_p99
    case = "an agent storms its own `.meta`: p99 of others' finishes"
    bench.add(Line(case, f"{storm_p99:.2f} ms", f"quiet {quiet_p99:.2f} ms", f"{ratio:.2f} ×", "≤ 2 ×", ratio <= 2))
    bench.add(Line("… the daemon's CPU by the storm alone", f"{share:.1%}", "", "", "≤ 30 %", share <= 0.3))
    bench.add(Line("… lines logged", str(said), "", "", "≤ 3", said <= 3))


@contextlib.contextmanager
def _storming(directory: str) -> Iterator[None]:
    process = subprocess.Popen(
        bare("storm", "own", directory), stdout=subprocess.DEVNULL, env=environment(), cwd=REPOSITORY
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _lines(daemon: Daemon) -> int:
    """Log lines at the usual level so far, those of commits left out."""
    lines = [line for line in daemon.log.splitlines() if b" DEBUG " not in line]
    return len([line for line in lines if b" committed (" not in line])


def _wait_for(path: str, began: float) -> float:
    while not os.path.exists(path):
        if time.perf_counter() - began > _DEADLINE_SECONDS:
            raise Failed(f"{path} did not appear")
        time.sleep(_STEP_SECONDS)
    return time.perf_counter() - began


def _overflows(root: str, history: str) -> int:
    said = json.loads(run(ours("--root", root, "--history", history, "status", "--json")).output)
    return int(said["daemon"]["overflows"])
