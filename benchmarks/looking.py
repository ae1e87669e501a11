"""What an operator asks of a host with tens of thousands of workspaces, while its daemon runs."""

from __future__ import annotations

from collections import defaultdict

from benchmarks.bench import Bench, Line, spread, turned
from benchmarks.processes import Failed, Ran, ours, run, watcher
from benchmarks.restart import wait_watched

_SECONDS = {"check --quick": 0.15, "status": 0.5}
"""What each may take."""


def looking(bench: Bench) -> None:
    """`check --quick` and `status`, in turns, over workspaces that are all committed."""
    count = bench.sizes.asked
    root, history = bench.committed(count)
    ran: dict[str, list[Ran]] = defaultdict(list)
    with watcher(root, history, settle_seconds=None) as daemon:
        wait_watched(daemon)
        for turn in range(bench.sizes.rounds):
            for name in turned(list(_SECONDS), turn):
                ran[name].append(run(ours("--root", root, "--history", history, *name.split(), "--json")))
    if (counted := ran["status"][-1].said()["roots"][0]["workspaces_count"]) != count:
        raise Failed(f"status counts {counted} of {count} workspaces")
    bench.raw["looking"] = {name: {"seconds": [one.seconds for one in some]} for name, some in ran.items()}
    for name, most in _SECONDS.items():
        seconds, cpu = (spread(samples) for samples in zip(*((one.seconds, one.cpu) for one in ran[name]), strict=True))
        text = f"{seconds.text(1e3, 'ms', 0)}, processor {cpu.text(1e3, 'ms', 0)}"
        met = seconds.median <= most
        bench.add(Line(f"`{name}`, {count:,} workspaces", text, "", "", f"≤ {most * 1e3:.0f} ms", met, goal=True))
