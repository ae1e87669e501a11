"""How long a command takes that has nothing to do."""

from __future__ import annotations

import sys
from collections import defaultdict

from benchmarks.bench import Bench, Line, spread, turned
from benchmarks.processes import once, ours, run

_CLICK = "python -c 'import click'"
_TARGETS = {"--version": 1.2, "--help": 1.3, "history -n 20": 1.8, "--once": 2.2}
_WORKSPACES = 10


def startup(bench: Bench) -> None:
    """`--version`, `--help`, a list and `--once` beside an interpreter that imports click."""
    seconds: dict[str, list[float]] = defaultdict(list)
    with bench.tree(_WORKSPACES) as (root, history):
        once(root, history)
        commands = {
            _CLICK: [sys.executable, "-c", "import click"],
            "--version": ours("--version"),
            "--help": ours("--help"),
            "history -n 20": ours("--root", root, "--history", history, "history", "-n", "20"),
            "--once": ours("--root", root, "--history", history, "--once"),
        }
        for turn in range(bench.sizes.start_rounds):
            for name in turned(list(commands), turn):
                seconds[name].append(run(commands[name]).seconds)
    bench.raw["startup"] = {"seconds": seconds}
    click = spread(seconds[_CLICK])
    for name, most in _TARGETS.items():
        one = spread(seconds[name])
        ratio = one.median / click.median
        case = f"`agentic-watch {name}`" + (" with nothing to do" if name == "--once" else "")
        others = f"`{_CLICK}` {click.text(1e3, 'ms', 0)}"
        bench.add(Line(case, one.text(1e3, "ms", 0), others, f"{ratio:.2f} ×", f"≤ {most} ×", ratio <= most, goal=True))
