"""Journals that take long to read: nobody else waits for them, and nothing of them is lost."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

import pytest
from daemon_support import Service
from support import Host, Workspace, held_lock, make, patched

from agentic_watch.commit.committer import Committer
from agentic_watch.commit.outcome import Verdict
from agentic_watch.history.store import History
from agentic_watch.workspace import files


def fill(workspace: Workspace, lines: int) -> None:
    """Give a workspace so many journal lines, one a run, as core-agent writes them."""
    with workspace.journal.open("w") as journal:
        for number in range(1, lines + 1):
            record = {
                "workspace": workspace.name,
                "updated_at": f"2026-01-01T00:00:00.{number:09}Z",
                "runs": number,
                "status": "completed",
                "committed_at": "2026-01-01T00:00:01Z",
            }
            journal.write(json.dumps(record) + "\n")


@contextlib.contextmanager
def committer(host: Host) -> Iterator[Committer]:
    """A committer of the test's own."""
    with (
        contextlib.closing(History(str(host.history))) as history,
        contextlib.closing(Committer(host.config(), history)) as made,
    ):
        yield made


def rows(host: Host) -> int:
    """How many rows the history holds."""
    return int(host.query("SELECT count(*) AS n FROM dispatch_history")[0]["n"])


def test_a_long_journal_is_read_in_turns(host: Host) -> None:
    """Without time each turn reads a piece; at the end there is one line, one marker, and a row for every line."""
    workspace = make(host.root)
    fill(workspace, 2_000)
    with committer(host) as made:
        verdicts = []
        while not verdicts or verdicts[-1] is Verdict.READING:
            (outcome,) = made.commit_each([host.candidate()], journal_seconds=0.0)
            verdicts.append(outcome.verdict)
    assert verdicts == [Verdict.READING] * (len(verdicts) - 1) + [Verdict.COMMITTED]
    assert len(verdicts) > 5
    assert len(workspace.lines()) == 2_001
    assert rows(host) == 2_001
    assert host.once().counts == {"scanned": 1, "skipped": 1}


@pytest.mark.parametrize("before", ["running", "failed", None])
def test_a_finish_that_comes_while_the_journal_is_read_is_committed(host: Host, before: str | None) -> None:
    """The status said something else, or was not there, when the reading began: it is asked once more at the end."""
    workspace = make(host.root, status=before or "running")
    fill(workspace, 2_000)
    if before is None:
        (workspace.meta / "status.json").unlink()
    finish = "2026-04-15T10:00:00Z"
    with committer(host) as made:
        (outcome,) = made.commit_each([host.candidate()], journal_seconds=0.0)
        workspace.write_status(status="completed", updated_at=finish)
        verdicts = []
        while outcome.verdict is Verdict.READING:
            *earlier, outcome = made.commit_each([host.candidate()], journal_seconds=0.0)
            verdicts += [one.verdict for one in earlier]
    assert len(verdicts) == 1  # of what it said when the reading began
    assert outcome.verdict is Verdict.COMMITTED
    assert workspace.mark()["updated_at"] == finish
    assert rows(host) == 2_001 + (before == "failed")


def test_others_are_committed_while_a_long_journal_is_read(host: Host) -> None:
    """In the same call, though the long one was first."""
    fill(make(host.root, "org/repo/long"), 2_000)
    make(host.root, "org/repo/short")
    with committer(host) as made:
        candidates = [host.candidate("org/repo/long"), host.candidate("org/repo/short")]
        found = {o.candidate.name: o.verdict for o in made.commit_each(candidates, journal_seconds=0.0)}
    assert found == {"org/repo/long": Verdict.READING, "org/repo/short": Verdict.COMMITTED}


def test_few_are_kept_open_and_all_are_read_at_last(host: Host) -> None:
    """What finds no room begins anew when it is its turn; the lock of one that is given up is free."""
    names = [f"org/repo/long-{number}" for number in range(6)]
    for name in names:
        fill(make(host.root, name), 600)
    with committer(host) as made:
        left, turns = set(names), 0
        while left:
            turns += 1
            assert turns < 200
            for outcome in made.commit_each(map(host.candidate, sorted(left)), journal_seconds=0.0):
                if outcome.verdict is Verdict.COMMITTED:
                    left.remove(outcome.candidate.name)
                else:
                    assert outcome.verdict is Verdict.READING
            if turns == 1:
                made.use(host.config())
                for name in names:
                    with held_lock(Workspace(host.root, name).meta):
                        pass
    assert rows(host) == 6 * 601


def test_a_workspace_that_is_being_read_is_locked(host: Host) -> None:
    """Another process waits; what is read and what is written then belong together."""
    workspace = make(host.root)
    fill(workspace, 2_000)
    with committer(host) as made:
        (outcome,) = made.commit_each([host.candidate()], journal_seconds=0.0)
        assert outcome.verdict is Verdict.READING
        meta = files.open_root(str(workspace.meta))
        try:
            assert not files.try_lock(meta, ".meta")
        finally:
            os.close(meta)


ENDLESS = """
import os, time
from agentic_watch.commit.journal_search import JournalSearch
read = JournalSearch.read
def endless(*given, **how):
    yield from read(*given, **how)
    while not os.path.exists({end!r}):
        time.sleep(0.001)
        yield
JournalSearch.read = endless
"""
"""A patch of the program: the reading of a journal goes on until there is a file."""


def test_a_finish_does_not_wait_for_long_journals(host: Host) -> None:
    """While the daemon reads them, however long, another workspace is committed as ever; then they are, too."""
    long = [make(host.root, f"org/repo/long-{number}") for number in range(3)]
    for workspace in long:
        fill(workspace, 2_000)
    quick = make(host.root, "org/repo/quick", status="running")
    end = host.base / "end"
    service = Service(host, environ=patched(host.base, ENDLESS.format(end=str(end))))
    service.start()  # ready once they are read
    with contextlib.ExitStack() as at_end:
        at_end.push(service)
        service.wait(
            lambda: host.history.exists() and service.watches() == 11
        )  # root, org, repo, and two of each workspace
        quick.write_status()
        service.wait_committed(quick)
        assert not any(workspace.marker.exists() for workspace in long)
        end.touch()
        service.wait(lambda: all(workspace.marker.exists() for workspace in long), 100.0)
        service.wait(lambda: rows(host) == 3 * 2_001 + 1, 100.0)


@pytest.mark.faults
def test_journals_at_their_limit_keep_the_memory_bounded(host: Host) -> None:
    """Several of 10,000 lines: read in turns, two at a time at most, below what the security page promises."""
    names = [f"org/repo/long-{number}" for number in range(5)]
    for name in names:
        fill(make(host.root, name), 9_990)
    quick = [make(host.root, f"org/repo/quick-{number}", status="running") for number in range(20)]
    service = Service(host, environ={"WATCHDOG_USEC": "20000000"})
    service.start()  # ready once they are read
    with contextlib.ExitStack() as at_end:
        at_end.push(service)
        service.wait(
            lambda: host.history.exists() and service.watches() == 53
        )  # root, org, repo, and two of each workspace
        for workspace in quick:
            workspace.write_status()
            service.wait_committed(workspace)
        service.wait(lambda: all(Workspace(host.root, name).marker.exists() for name in names), 400.0)
        assert peak(service.pid) < 200 << 20


def peak(pid: int) -> int:
    """The most memory that a process ever held, in bytes (VmHWM)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
