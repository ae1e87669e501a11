"""An interactive agent by its hooks: each prompt is a run, whatever its end leaves out or tells in which order."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from dispatch_support import dispatch, statuses
from support import Host

from agentic_watch.dispatch import End, Overtaken, Uncommitted, Work, begin, finish

PROMPT = ("begin", "--workspace", "s", "--agent", "mine")
END = ("finish", "s", "--unless-finished")


def rows(host: Host) -> list[tuple[Any, ...]]:
    """(run, task, status, question) of each commit, in their order."""
    host.once()
    found = host.query("SELECT runs, task, status, question FROM dispatch_history ORDER BY updated_utc, runs")
    return [tuple(row) for row in found]


def test_another_prompt_ends_the_run_that_nobody_ended(host: Host) -> None:
    """Esc sends nothing at all: the next prompt fails that run first, and both are in the history."""
    dispatch(host, *PROMPT, "--task", "First")
    second = json.loads(dispatch(host, *PROMPT, "--task", "Second", "--json").stdout)
    assert (second["begun"], second["runs"]) == (True, 2)
    dispatch(host, *END, "--status", "ready-for-review")
    assert rows(host) == [
        (1, "First", "failed", "interrupted: another prompt came"),
        (2, "Second", "ready-for-review", ""),
    ]


def test_the_same_prompt_begins_one_run(host: Host) -> None:
    """A hook that runs twice changes nothing; the same words in another turn are another prompt."""
    turn = ("--task", "go on", "--process-id")
    begun = [json.loads(dispatch(host, *PROMPT, *turn, name, "--json").stdout) for name in ("p1", "p1", "p2", "p2")]
    assert [(one["runs"], one["begun"]) for one in begun] == [(1, True), (1, False), (2, True), (2, False)]
    assert rows(host) == [(1, "go on", "failed", "interrupted: another prompt came")]


def test_the_run_of_another_process_is_not_interrupted(host: Host) -> None:
    """Only the agent that is at work can have been given another prompt: else the run goes on."""
    mine = ("--pid", str(os.getpid()))
    dispatch(host, *PROMPT, "--task", "First", *mine)
    for other in (("--pid", "1"), ("--pid", "0"), ()):
        begun = json.loads(dispatch(host, *PROMPT, "--task", "Second", *other, "--json").stdout)
        assert (begun["begun"], begun["runs"]) == (False, 1)
    assert dispatch(host, "--workspace", "s", "--task", "Third", "--", "true").returncode == 1
    assert json.loads(dispatch(host, *PROMPT, "--task", "Second", *mine, "--json").stdout)["runs"] == 2


def test_a_library_is_told_to_commit_the_interrupted_run(host: Host) -> None:
    """It cannot commit; the run is failed all the same, and the next call begins."""
    root = str(host.root)
    first = begin(root, Work(task="First"), "s")
    with pytest.raises(Uncommitted):
        begin(root, Work(task="Second"), "s")
    assert statuses(host)["s"]["question"] == "interrupted: another prompt came"
    host.once()
    assert begin(root, Work(task="Second"), "s").runs == 2
    with pytest.raises(Overtaken):
        finish(first, End())


@pytest.mark.parametrize("early", ["SessionEnd", "StopFailure"])
def test_the_cause_stands_whichever_hook_is_first(host: Host, early: str) -> None:
    """The end of a session comes before the cause of a failure, or after it: the cause is what the history says."""
    dispatch(host, *PROMPT, "--task", "Fix", "--process-id", "p1")
    failure = ("finish", "s", "--process-id", "p1", "--status", "failed", "--question", "API Error: 529 Overloaded")
    ended = (*END, "--status", "failed", "--question", "ended by other")
    for step in (ended, failure) if early == "SessionEnd" else (failure, ended):
        assert dispatch(host, *step).returncode == 0
    assert rows(host)[-1] == (1, "Fix", "failed", "API Error: 529 Overloaded")
    newest = host.query("SELECT status, question FROM dispatches")
    assert [tuple(row) for row in newest] == [("failed", "API Error: 529 Overloaded")]


def test_a_late_hook_ends_no_other_run(host: Host) -> None:
    """By the number of its run, or by what its dispatcher calls it, an end is written onto its own run or onto none."""
    dispatch(host, *PROMPT, "--task", "First", "--process-id", "p1")
    dispatch(host, *PROMPT, "--task", "Second", "--process-id", "p2")
    before = statuses(host)
    for named in (("--process-id", "p1"), ("--run", "1"), ("--run", "7"), ("--process-id", "")):
        result = dispatch(host, "finish", "s", *named, "--status", "failed")
        assert (result.returncode, "is not written" in result.stderr, statuses(host)) == (1, True, before)
    assert dispatch(host, "finish", "s", "--process-id", "p2", "--run", "2").returncode == 0
    assert statuses(host)["s"]["status"] == "completed"


def test_begin_says_its_run(host: Host) -> None:
    """In JSON, and with -v, for `finish --run`; stdout has nothing but the directory else."""
    result = dispatch(host, *PROMPT, "-v")
    assert (result.stdout, result.stderr) == (f"{host.root}/s\n", f"{host.root}/s: begun, run 1\n")
    assert json.loads(dispatch(host, *PROMPT, "--json").stdout)["runs"] == 1
