"""What it costs to keep a log: the commit of a failed dispatch with 64 KiB of one, and without, in turns.

The log is made of lines as agents' programs print them: times, tools, paths, numbers.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack, closing

from agentic_watch.commit.committer import Committer
from agentic_watch.commit.outcome import Verdict
from agentic_watch.config import Config, Root
from agentic_watch.history.store import History
from agentic_watch.workspace.candidate import Candidate
from benchmarks import trees
from benchmarks.bench import Bench, Line, percentile

_BYTES = 64 << 10
_TOOLS = ("Read", "Edit", "Bash(pytest -q)", "Grep", "Write")
_WORDS = ("the", "test", "fails", "because", "fixture", "is", "shared", "so", "each", "gets", "its", "own", "and")


def kept_logs(bench: Bench) -> None:
    """As many commits as there are samples of each kind, one workspace after the other."""
    seconds: dict[str, list[float]] = {"with a log": [], "without": []}
    processor: dict[str, list[float]] = {name: [] for name in seconds}
    sizes: dict[str, int] = {}
    with bench.place() as place, ExitStack() as stack:
        committers = {}
        for name in seconds:
            root, history = f"{place}/{name}", f"{place}/state of {name}/history.db"
            trees.make(root, bench.sizes.samples, "failed")
            config = Config(roots=(Root(root),), history=history)
            store = stack.enter_context(closing(History(history)))
            committers[name] = stack.enter_context(closing(Committer(config, store)))
        for number in range(bench.sizes.samples):
            workspace = trees.name_of(number)
            trees.write(f"{place}/with a log/{workspace}/.meta/agent.log", _log(number))
            for name, committer in committers.items():
                began, busy = time.perf_counter(), time.process_time()
                outcome = committer.commit(Candidate(committer.config.roots[0], workspace))
                seconds[name].append(time.perf_counter() - began)
                processor[name].append(time.process_time() - busy)
                assert outcome.verdict is Verdict.COMMITTED, outcome
        for name, committer in committers.items():
            with committer.history.reading() as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            sizes[name] = os.path.getsize(committer.config.history)
    bench.raw["kept_logs"] = {"seconds": seconds, "processor_seconds": processor, "history_bytes": sizes}
    _report(bench, seconds, processor, sizes)


def _report(
    bench: Bench, seconds: dict[str, list[float]], processor: dict[str, list[float]], sizes: dict[str, int]
) -> None:
    ours, bare = (percentile(seconds[name], 50) for name in ("with a log", "without"))
    busy, idle = (percentile(processor[name], 50) for name in ("with a log", "without"))
    added = (sizes["with a log"] - sizes["without"]) / bench.sizes.samples
    text = f"{ours * 1e3:.2f} ms, {added / 1024:.1f} KiB in the history"
    case = "one commit of a failed dispatch with 64 KiB of log, p50"
    bench.add(Line(case, text, f"without {bare * 1e3:.2f} ms", f"{(busy - idle) * 1e3:+.2f} ms of processor time"))


def _log(number: int) -> bytes:
    chance = random.Random(number)
    lines: list[str] = []
    size = 0
    while size <= _BYTES:
        clock = ":".join(f"{chance.randrange(60):02}" for _ in range(3))
        where = f"src/{chance.choice(_WORDS)}_{chance.randrange(300)}.py:{chance.randrange(900)}"
        words = " ".join(chance.choices(_WORDS, k=chance.randrange(4, 14)))
        lines.append(f"2026-11-30T{clock}.{chance.randrange(1000):03}Z {chance.choice(_TOOLS)} {where} {words}\n")
        size += len(lines[-1])
    return "".join(lines).encode()
