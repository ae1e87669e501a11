"""Every call of a run as a point: stop there, or fail there, run again, and look."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import trace
from . import tree as trees
from .trace import Call, Traced
from .tree import AGAIN, TORN, Tree

SIGKILLED = -9
WORKERS = max(2, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A template tree, whether its history is still there, and the command that is disturbed."""

    template: Tree
    history: bool
    command: tuple[str, ...]

    def fresh(self, base: Path) -> Tree:
        """A copy to disturb."""
        return trees.copy(self.template, base, history=self.history)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done at a point: strace's words for it, and the calls that it can befall."""

    name: str
    words: str
    befalls: Callable[[Call], bool]

    def __str__(self) -> str:
        return self.name


KILL = Fault("kill", "signal=SIGKILL", lambda call: call.mutates)
EIO = Fault("EIO", "error=EIO", lambda call: call.mutates or call.call in trace.READING)
ENOSPC = Fault("ENOSPC", "error=ENOSPC", lambda call: call.mutates and call.call != "fchown")
SHORT = Fault("short write", "retval=5", lambda call: call.call in ("write", "pwrite64"))


def undisturbed(scenario: Scenario, base: Path) -> list[Call]:
    """The calls of a run in which nothing goes wrong; itself checked."""
    tree = scenario.fresh(base)
    seen = trace.traced(tree, base / "trace", scenario.command)
    assert (seen.status, seen.stderr.count("failed")) == (0, 0), seen.stderr
    assert trees.problems(tree, index=False) == []
    return seen.calls


def try_all(scenario: Scenario, fault: Fault, points: Iterable[Call], base: Path) -> list[str]:
    """Disturb a run at each point; gives one line for each point that ended wrong or was not reached."""

    def attempt(numbered: tuple[int, Call]) -> list[str]:
        number, point = numbered
        own = base / f"{fault.name}-{number}"
        found = try_one(scenario, fault, point, own)
        if not found:
            shutil.rmtree(own)
        return [f"{fault.name} at {point}: {problem}" for problem in found]

    with ThreadPoolExecutor(WORKERS) as pool:
        return [line for lines in pool.map(attempt, enumerate(points)) for line in lines]


def try_one(scenario: Scenario, fault: Fault, point: Call, base: Path) -> list[str]:
    """Disturb a run at one point, look, run once more without, and look again."""
    tree = scenario.fresh(base)
    words = f"{point.call}:{fault.words}:when={point.nth}"
    seen = trace.traced(tree, base / "trace", scenario.command, inject=words)
    if fault is KILL:
        return _stopped(tree, seen) + _old_lines_lost(tree) + run_again(tree)
    if fault is SHORT and point.call == "pwrite64":
        return _lied_to(tree, seen)
    return _failed(tree, seen, point) + _old_lines_lost(tree) + run_again(tree)


def kill_threads(scenario: Scenario, call: str, nth: int, base: Path) -> tuple[int, list[str]]:
    """Kill the program as it is, threads and all, where one of its threads makes its `nth` such call.

    Gives its exit status (it may never get there) and what is wrong after the next run.
    """
    tree = scenario.fresh(base)
    words = f"{call}:signal=SIGKILL:when={nth}"
    seen = trace.traced(tree, base / "trace", scenario.command, inject=words, program=trees.PROGRAM)
    return seen.status, trees.order_problems(tree) + run_again(tree)


def try_jobs(scenario: Scenario, points: Iterable[Call], base: Path) -> tuple[int, list[str]]:
    """Kill, at each point, every process of the pass that gets there, look, run once more without, and look again.

    Gives at how many points one was killed (which of two makes a call depends on who comes first), and what is wrong.
    """

    def attempt(numbered: tuple[int, Call]) -> tuple[bool, list[str]]:
        number, point = numbered
        tree = scenario.fresh(base / f"job-{number}")
        words = f"{point.call}:{KILL.words}:when={point.nth}"
        seen = trace.traced(tree, base / f"job-{number}" / "trace", scenario.command, inject=words)
        found = []
        if "Traceback" in seen.stderr or seen.status not in (0, 1, SIGKILLED):
            found.append(f"status {seen.status}: {seen.stderr.strip()[-300:]}")
        found += trees.order_problems(tree) + _old_lines_lost(tree)
        if seen.status == 0:
            found += [f"ended with 0, but {problem}" for problem in trees.problems(tree, index=False)]
        reached = "killed by signal 9" in seen.stderr or seen.status == SIGKILLED
        return reached, [f"{KILL.name} at {point}: {problem}" for problem in found + run_again(tree)]

    with ThreadPoolExecutor(WORKERS) as pool:
        tried = list(pool.map(attempt, enumerate(points)))
    return sum(reached for reached, _ in tried), [line for _, lines in tried for line in lines]


def run_again(tree: Tree) -> list[str]:
    """Run `--once` undisturbed; all must be there, once."""
    again = tree.run("--once")
    if again.returncode:
        return [f"the next run ended with {again.returncode}: {again.stderr.strip()}"]
    return [f"after the next run {problem}" for problem in trees.problems(tree)]


def _lied_to(tree: Tree, seen: Traced) -> list[str]:
    """SQLite was told that five bytes were written which were not: it writes the rest, and its file is wrong.

    No program can see that at once. What must hold: the workspaces are whole, and a new history in place of
    the wrong one gets every row from the journals.
    """
    if not seen.injected:
        return ["was not reached"]
    found = ["a traceback"] if "Traceback" in seen.stderr else []
    tree.run("--once")
    found += trees.workspace_problems(tree)
    if trees.problems(tree):
        tree.history.parent.rename(tree.history.parent.with_name("spoilt"))
        found += run_again(tree)
    return found


def _stopped(tree: Tree, seen: Traced) -> list[str]:
    if seen.status != SIGKILLED:
        return [f"was not reached: status {seen.status}"]
    return trees.order_problems(tree)


def _failed(tree: Tree, seen: Traced, point: Call) -> list[str]:
    if not seen.injected:
        return ["was not reached"]
    found = []
    if "Traceback" in seen.stderr or seen.status not in (0, 1):
        found.append(f"status {seen.status}: {seen.stderr.strip()[-300:]}")
    if seen.status == 0:
        found += [f"ended with 0, but {problem}" for problem in trees.problems(tree, index=False)]
    elif not seen.stderr.strip():
        found.append("failed without a word")
    if point.path.startswith("root/"):
        found += trees.order_problems(tree)
    return found


def _old_lines_lost(tree: Tree) -> list[str]:
    firsts = {name: [line["runs"] for line in trees.lines(tree, name)][:1] for name in (AGAIN, TORN)}
    return [f"{name}: lost its old line" for name, first in firsts.items() if first != [1]]
