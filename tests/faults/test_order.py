"""What is synced, in which order: a power cut may come between any two calls."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import trace
from .points import Scenario
from .trace import SYNCING, Call
from .tree import AGAIN, NAMES, NEW, TORN, Tree

Calls = dict[str, list[Call]]
HISTORY_LOG = "state/history.db-wal"


@dataclass(frozen=True, slots=True)
class Step:
    """A call that is looked for: what it is called in a complaint, and how it is known."""

    name: str
    known: Callable[[Call], bool]


def call(names: str, path: str) -> Step:
    """A call of one of these names on the path that the expression matches whole."""
    return Step(f"{names} {path}", lambda c: c.call in names.split("|") and re.fullmatch(path, c.path) is not None)


def made(path: str) -> Step:
    """The making of a file."""
    return Step(
        f"creation of {path}", lambda c: c.call == "openat" and c.mutates and re.fullmatch(path, c.path) is not None
    )


def synced(path: str) -> Step:
    """A sync of a file or a directory."""
    return call("|".join(SYNCING), path)


def plan(name: str) -> list[Step]:
    """The steps of one workspace's commit, in the order in which they must come."""
    workspace = f"root/{name}"
    meta = rf"{workspace}/\.meta"
    temporary = rf"{meta}/\.commit\.json\.[0-9a-f]+\.tmp"
    line = [call("write", rf"{meta}/journal\.jsonl"), synced(rf"{meta}/journal\.jsonl"), synced(meta)]
    fresh = [made(rf"{meta}/journal\.jsonl"), *line, synced(workspace)]
    row = [call("pwrite64", re.escape(HISTORY_LOG)), synced(re.escape(HISTORY_LOG))]
    mark = [made(temporary), call("write", temporary), synced(temporary), call("renameat", temporary), synced(meta)]
    start = [call("mkdirat", meta), synced(workspace), *fresh] if name == NEW else line
    return start + row + mark


def missing(calls: list[Call], steps: list[Step]) -> str | None:
    """The first step that does not come after the one before it, None when all do."""
    rest = iter(calls)
    for step in steps:
        if not any(step.known(each) for each in rest):
            return step.name
    return None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scenario", ["once", "once, history lost", "commit"])
def test_each_record_is_durable_before_the_next(calls_of: Calls, scenario: str, name: str) -> None:
    """Journal, then row, then marker, each synced, and its directory too, before the next is begun."""
    assert missing(calls_of[scenario], plan(name)) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_left_out_sync_would_be_noticed(calls_of: Calls, name: str) -> None:
    """Without any one of the syncs of a workspace's files and directories the order above is not met."""
    calls = calls_of["commit"]
    own = [each for each in calls if each.call in SYNCING and f"{each.path}/".startswith(f"root/{name}/")]
    needed = {str(one) for one in own if missing([each for each in calls if each is not one], plan(name))}
    journal_and_marker = {each for each in own if "corrupt" not in each.path}
    assert len(needed) == len(journal_and_marker) - (2 if name == TORN else 0) >= 3


def test_torn_tail_is_safe_elsewhere_before_it_is_cut(calls_of: Calls) -> None:
    """The copy of a torn line, and its name, are durable before the journal is cut; the cut, before the append."""
    meta = rf"root/{TORN}/\.meta"
    aside, journal = rf"{meta}/journal\.jsonl\.corrupt-.*", rf"{meta}/journal\.jsonl"
    steps = [
        made(aside),
        call("write", aside),
        synced(aside),
        synced(meta),
        call("ftruncate", journal),
        synced(journal),
        call("write", journal),
        synced(journal),
    ]
    assert missing(calls_of["once"], steps) is None


def test_new_history_is_durable_with_its_directory(calls_of: Calls) -> None:
    """A history made anew has its log, its directory, and the name of that directory synced before any row."""
    calls = calls_of["once, history lost"]
    steps = [
        call("mkdir", "state"),
        made("state/history.db"),
        synced("state"),
        synced(re.escape(HISTORY_LOG)),
        made(r".*\.tmp"),
    ]
    assert missing(calls, steps) is None


def test_reused_line_is_synced_again(scenarios: dict[str, Scenario], tmp_path: Path) -> None:
    """A line that a killed run wrote may never have been synced: the next run syncs it, and the way to it."""
    tree = scenarios["once"].fresh(tmp_path)
    _forget_all_but_the_line(tree)
    calls = trace.traced(tree, tmp_path / "trace", ("--once",)).calls
    meta = rf"root/{AGAIN}/\.meta"
    steps = [
        synced(rf"{meta}/journal\.jsonl"),
        synced(meta),
        synced(f"root/{AGAIN}"),
        synced(re.escape(HISTORY_LOG)),
        call("renameat", rf"{meta}/.*\.tmp"),
    ]
    assert missing(calls, steps) is None
    assert not [each for each in calls if call("write", rf"{meta}/journal\.jsonl").known(each)]


def _forget_all_but_the_line(tree: Tree) -> None:
    """As after a kill right behind the write of the line."""
    tree.run("commit", AGAIN)
    (tree.meta(AGAIN) / "commit.json").unlink()
    connection = sqlite3.connect(tree.history)
    with connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM dispatch_history WHERE workspace = ? AND runs = 2", (AGAIN,))
    connection.close()


def test_empty_journal_of_a_killed_run_counts_as_new(scenarios: dict[str, Scenario], tmp_path: Path) -> None:
    """Nobody has synced the way to a journal that is empty: the workspace's directory is synced like a new one's."""
    tree = scenarios["once"].fresh(tmp_path)
    tree.meta(NEW).mkdir()
    (tree.meta(NEW) / "journal.jsonl").touch()
    calls = trace.traced(tree, tmp_path / "trace", ("--once",)).calls
    meta = rf"root/{NEW}/\.meta"
    steps = [
        call("write", rf"{meta}/journal\.jsonl"),
        synced(f"root/{NEW}"),
        synced(re.escape(HISTORY_LOG)),
        call("renameat", rf"{meta}/.*\.tmp"),
    ]
    assert missing(calls, steps) is None


def test_history_syncs_in_full(template: Tree) -> None:
    """The history is opened with `synchronous=FULL` and a write-ahead log."""
    from agentic_watch.history.store import History

    history = History(str(template.history))
    try:
        with history.reading() as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        history.close()
