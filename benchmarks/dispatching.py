"""`dispatch -- COMMAND`: what it adds to a run time, what it holds while it waits, how soon its end is committed.

The command is true(1), in a git clone of 200 files and outside of one, under the daemon: while it runs nothing else can
be done, so that all that is added shows. The end of a command is the moment that it prints itself as its last act
(date(1)); the durable marker is the daemon's line `NAME: committed`, which follows its last sync.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.bench import Bench, Line, percentile, turned
from benchmarks.processes import Daemon, environment, ours, watcher

_FILES = 200
_WHERE = {"clone": "a clone of 200 files", "plain": "no clone"}
_ADDED_SECONDS, _WAITING_MIB = 0.06, 14
_RSS = re.compile(r"^(VmHWM|RssAnon|VmRSS):\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that a wrapped run took longer than the bare one before it: by the wall, and of processor time."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def dispatching(bench: Bench) -> None:
    """Wrapped and bare in turns; latency with no settle time and with the default one."""
    with bench.place() as place:
        for name in ("root", "plain"):
            os.mkdir(f"{place}/{name}")
        clone = _clone(f"{place}/clone")
        with watcher(f"{place}/root", f"{place}/state/history.db") as daemon:
            wrapper = _wrapper(place)
            added = _added(bench, place, daemon)
            held = _waiting(wrapper, clone)
            daemon.wait_committed(1)
            soon = _latencies(daemon, wrapper, clone, bench.sizes.samples // 2)
        with watcher(f"{place}/root", f"{place}/state/history.db", settle_seconds=None) as daemon:
            settled = _latencies(daemon, wrapper, clone, max(2, bench.sizes.samples // 10))
    bench.raw["dispatching"] = {
        "added": {f"{name} {where}": asdict(costs) for (name, where), costs in added.items()},
        "waiting_bytes": held,
        "settle_0": soon,
        "settle_2": settled,
    }
    _report_costs(bench, added, held)
    for settle, samples in (("0", soon), ("2 s (default)", settled)):
        text = f"{percentile(samples, 50) * 1e3:.0f} ms ({percentile(samples, 99) * 1e3:.0f})"
        bench.add(Line(f"`dispatch`: command's end to durable marker, settle {settle}, p50 (p99)", text, ""))


def _wrapper(place: str, checkout: str = "") -> list[str]:
    return [*ours("--config", f"{place}/config.toml", "dispatch", checkout=checkout), "--task", "bench", "--"]


def _clone(path: str) -> str:
    who = [word for key in ("name", "email") for word in ("-c", f"user.{key}=bench")]
    os.mkdir(path)
    for number in range(_FILES):
        Path(f"{path}/file-{number}.txt").write_text("a line\n" * 50, "utf-8")
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "all"]):
        subprocess.run(["git", *arguments], cwd=path, env=environment(), check=True)
    return path


def _added(bench: Bench, place: str, daemon: Daemon) -> dict[tuple[str, str], Costs]:
    """What a wrapped run costs more than a bare one, git's processes included, for each contestant and place."""
    wrappers = {"agentic-watch": _wrapper(place)}
    wrappers |= {name: _wrapper(place, bench.before) for name in bench.earlier}
    costs = {(name, where): Costs() for name in wrappers for where in _WHERE}
    for turn in range(max(2, bench.sizes.samples // 2) + 1):
        for name in turned(list(wrappers), turn):
            for where in _WHERE:
                bare = _seconds(["true"], f"{place}/{where}")
                wrapped = _seconds([*wrappers[name], "true"], f"{place}/{where}")
                daemon.wait_committed(1)
                if turn:  # the first one compiles what it imports
                    costs[name, where].wall.append(wrapped[0] - bare[0])
                    costs[name, where].cpu.append(wrapped[1] - bare[1])
    return costs


def _seconds(arguments: list[str], directory: str) -> tuple[float, float]:
    started = time.perf_counter()
    process = subprocess.Popen(arguments, cwd=directory, env=environment())
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime


def _waiting(wrapper: list[str], clone: str) -> dict[str, int]:
    """Bytes that a wrapper holds while its command runs: resident now, the peak until then, and its own alone."""
    with subprocess.Popen([*wrapper, "sleep", "3"], cwd=clone, env=environment()) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not any(_name(child) == "sleep" for child in children.read_text("ascii").split()):
            time.sleep(0.01)
        time.sleep(0.5)
        text = Path(f"/proc/{process.pid}/status").read_text("ascii")
        process.terminate()
    return {name: int(kilobytes) * 1024 for name, kilobytes in _RSS.findall(text)}


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _latencies(daemon: Daemon, wrapper: list[str], clone: str, count: int) -> list[float]:
    """Seconds from each command's last act to the daemon's word that its commit is durable."""
    samples = []
    for _ in range(count):
        arguments = [*wrapper, "date", "+%s%N"]
        with subprocess.Popen(arguments, cwd=clone, env=environment(), stdout=subprocess.PIPE) as process:
            daemon.wait_committed(1)
            durable = time.time_ns()
            assert process.stdout is not None
            samples.append((durable - int(process.stdout.read())) / 1e9)
    return samples


def _report_costs(bench: Bench, added: dict[tuple[str, str], Costs], held: dict[str, int]) -> None:
    for where, name in _WHERE.items():
        costs = added["agentic-watch", where]
        others = "".join(f"before {_both(added[earlier, where])}" for earlier in bench.earlier)
        case = f"`dispatch -- true` in {name}: added to its run time, p50 (p99)"
        target, met = f"≤ {_ADDED_SECONDS * 1e3:.0f} ms", percentile(costs.wall, 50) <= _ADDED_SECONDS
        bench.add(Line(case, _both(costs), others, "", target, met, goal=where == "clone"))
    resident = held["VmRSS"] / 2**20
    text = f"{resident:.1f} MiB, {held['RssAnon'] / 2**20:.1f} of it its own"
    target, met = f"≤ {_WAITING_MIB} MiB", resident <= _WAITING_MIB
    bench.add(Line("`dispatch`: memory while it waits", text, "", "", target, met, goal=True))


def _both(costs: Costs) -> str:
    wall, cpu = (
        f"{percentile(samples, 50) * 1e3:.0f} ms ({percentile(samples, 99) * 1e3:.0f})"
        for samples in (costs.wall, costs.cpu)
    )
    return f"{wall}, processor {cpu}"
