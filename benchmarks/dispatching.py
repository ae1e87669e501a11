"""`dispatch -- COMMAND`: what it adds to a run time, what it holds while it waits, how soon its end is committed.

The command runs in a git clone of 200 files, under the daemon. Its end is the moment that it prints itself as its last
act (date(1)); the durable marker is the daemon's line `NAME: committed`, which follows its last sync.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from benchmarks.bench import Bench, Line, percentile, say, spread
from benchmarks.processes import Daemon, environment, ours, watcher

_COMMAND_SECONDS = "0.3"
_FILES = 200
_RSS = re.compile(r"^(VmHWM|RssAnon|VmRSS):\s+(\d+) kB", re.MULTILINE)


def dispatching(bench: Bench) -> None:
    """Wrapped and bare in turns; latency with no settle time and with the default one."""
    with bench.place() as place:
        os.mkdir(f"{place}/root")
        clone = _clone(f"{place}/clone")
        with watcher(f"{place}/root", f"{place}/state/history.db") as daemon:
            wrapper = _wrapper(place)
            added, cpu = _added(bench, wrapper, clone)
            held = _waiting(wrapper, clone)
            daemon.wait_committed(len(added) + 1)
            soon = _latencies(daemon, wrapper, clone, bench.sizes.samples // 2)
        with watcher(f"{place}/root", f"{place}/state/history.db", settle_seconds=None) as daemon:
            settled = _latencies(daemon, wrapper, clone, max(2, bench.sizes.samples // 10))
    bench.raw["dispatching"] = {
        "added_seconds": added,
        "cpu_seconds": cpu,
        "waiting_bytes": held,
        "settle_0": soon,
        "settle_2": settled,
    }
    _report_costs(bench, added, cpu, held)
    for settle, samples in (("0", soon), ("2 s (default)", settled)):
        text = f"{percentile(samples, 50) * 1e3:.0f} ms ({percentile(samples, 99) * 1e3:.0f})"
        bench.add(Line(f"`dispatch`: command's end to durable marker, settle {settle}, p50 (p99)", text, ""))


def _wrapper(place: str) -> list[str]:
    return [*ours("--config", f"{place}/config.toml", "-q", "dispatch"), "--task", "bench", "--"]


def _clone(path: str) -> str:
    who = [word for key in ("name", "email") for word in ("-c", f"user.{key}=bench")]
    os.mkdir(path)
    for number in range(_FILES):
        Path(f"{path}/file-{number}.txt").write_text("a line\n" * 50, "utf-8")
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "all"]):
        subprocess.run(["git", *arguments], cwd=path, env=environment(), check=True)
    return path


def _added(bench: Bench, wrapper: list[str], clone: str) -> tuple[list[float], list[float]]:
    """Seconds that each wrapped run took longer than the bare run before it, by the wall and of CPU, git's included."""
    added, cpu = [], []
    for _ in range(max(2, bench.sizes.samples // 4)):
        bare = _seconds(["sleep", _COMMAND_SECONDS], clone)
        wrapped = _seconds([*wrapper, "sleep", _COMMAND_SECONDS], clone)
        added.append(wrapped[0] - bare[0])
        cpu.append(wrapped[1] - bare[1])
    say(f"  dispatch adds {spread(added).text(1e3, 'ms', 1)}, CPU {spread(cpu).text(1e3, 'ms', 1)}")
    return added, cpu


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


def _report_costs(bench: Bench, added: list[float], cpu: list[float], held: dict[str, int]) -> None:
    typical = percentile(added, 50)
    text = f"{typical * 1e3:.0f} ms (p99 {percentile(added, 99) * 1e3:.0f}), CPU {percentile(cpu, 50) * 1e3:.0f} ms"
    bench.add(Line("`dispatch`: added to a command's run time, p50", text, "", "", "≤ 80 ms", typical <= 0.08))
    resident = held["VmRSS"] / 2**20
    text = f"{resident:.1f} MiB, {held['RssAnon'] / 2**20:.1f} of it its own"
    bench.add(Line("`dispatch`: memory while it waits", text, "", "", "≤ 20 MiB", resident <= 20))
