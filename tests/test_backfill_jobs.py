"""`--once --jobs N`: several processes, one pass; each dispatch exactly once, whatever becomes of a job."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import Host, held_lock, make, run, snapshot, start, wait_for

from agentic_watch.backfill import BackfillJobs, SharePass, Summary
from agentic_watch.history.store import History

MANY = 1000


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host.make(tmp_path)


def make_many(host: Host, count: int = MANY) -> None:
    for number in range(count):
        make(host.root, f"org/repo{number % 50}/{number}")


def assert_exactly_once(host: Host, count: int = MANY) -> None:
    """One row, one line and one marker of each."""
    assert len(host.rows()) == count
    journals = list(host.root.glob("org/repo*/*/.meta/journal.jsonl"))
    assert len(journals) == count
    assert {path.read_bytes().count(b"\n") for path in journals} == {1}
    assert len(list(host.root.glob("org/repo*/*/.meta/commit.json"))) == count


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def marked(host: Host) -> bool:
    return any(host.root.glob("org/repo*/*/.meta/commit.json"))


@contextlib.contextmanager
def no_job_ends(host: Host) -> Iterator[None]:
    """Hold so many workspaces that each share has some, for which its job waits: however fast it is, it is at work."""
    with contextlib.ExitStack() as held:
        for number in range(50):
            held.enter_context(held_lock(host.root / f"org/repo{number}/{number}/.meta"))
        yield


@pytest.mark.parametrize("jobs", ["1", "2", "5"])
def test_all_counts_are_those_of_one_process(tmp_path: Path, jobs: str) -> None:
    """The fixture tree, cold, warm, and with its history lost: each number as one process has it."""
    alone, together = (Host.make(tmp_path / name, "root") for name in ("alone", "together"))
    for history_is_lost in (False, False, True):
        if history_is_lost:
            alone.forget_history()
            together.forget_history()
        one, several = alone.once(), together.once("--jobs", jobs)
        assert (several.code, several.counts) == (one.code, one.counts)
        assert sorted(several.failures.items()) == sorted(one.failures.items())
    assert together.rows().keys() == alone.rows().keys()


def test_a_second_pass_changes_nothing(host: Host) -> None:
    """All is skipped, no byte below the root is touched."""
    make_many(host, 300)
    assert host.once("--jobs", "3").counts == {"scanned": 300, "committed": 300}
    before = snapshot(host.root)
    assert host.once("--jobs", "2").counts == {"scanned": 300, "skipped": 300}
    assert snapshot(host.root) == before
    assert_exactly_once(host, 300)


def test_vanished_workspaces_are_forgotten_by_their_owners(host: Host) -> None:
    """The index keeps what is there, whoever looked at it."""
    make_many(host, 60)
    host.once("--jobs", "3")
    for number in range(0, 60, 4):
        (host.root / f"org/repo{number % 50}/{number}").rename(host.base / f"gone-{number}")
    assert host.once("--jobs", "3").counts == {"scanned": 45, "skipped": 45}
    assert host.query("SELECT count(*) FROM workspaces")[0][0] == 45


def test_a_root_that_is_not_there_fails_once(host: Host) -> None:
    """What every job meets is one failure."""
    make_many(host, 10)
    result = run([*host.arguments(), "--root", str(host.base / "gone"), "--once", "--jobs", "3"], host.base)
    assert result.returncode == 1
    assert result.stderr.count("No such file or directory") == 1
    assert "10 committed, 0 skipped, 0 unfinished, 1 failed" in result.stdout


def test_a_dry_run_in_jobs_names_all_and_changes_nothing(host: Host) -> None:
    """What would be committed comes from every share."""
    make_many(host, 40)
    before = snapshot(host.root)
    result = host.once("--dry-run", "--jobs", "3")
    assert len(result.summary["would_commit"]) == result.counts["committed"] == 40
    assert snapshot(host.root) == before
    assert not host.history.exists()


def test_a_killed_job_is_named_and_its_share_is_done(host: Host) -> None:
    """kill -9 of one job: one warning, nothing lost, nothing twice, exit status 0."""
    make_many(host)
    with no_job_ends(host):
        process = start([*host.arguments(), "--once", "--jobs", "3"], host.base)
        wait_for(lambda: marked(host))
        os.kill(children(process.pid)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (0, 1)
    assert "job 1 of 3 was killed by signal 9; another job repeats its share" in err
    assert f"{MANY} workspaces: " in out
    assert_exactly_once(host)


def test_jobs_end_with_the_process_that_started_them(host: Host) -> None:
    """kill -9 of the first process: the jobs end soon, and the next pass completes what they left."""
    make_many(host)
    with no_job_ends(host):
        process = start([*host.arguments(), "--once", "--jobs", "2"], host.base)
        wait_for(lambda: marked(host))
        jobs = children(process.pid)
        process.kill()
        process.communicate(timeout=60)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in jobs))
    assert jobs
    host.once("--jobs", "2")
    assert_exactly_once(host)


def test_a_share_whose_jobs_die_is_a_failure(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice killed: named as failed, with what to do; the other shares are done."""
    make_many(host, 40)

    def dies(one: SharePass, **options: bool) -> Summary:
        if one._share.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(one, **options)

    whole: Callable[..., Summary] = SharePass.run
    monkeypatch.setattr(SharePass, "run", dies)
    history = History(str(host.history))
    summary = BackfillJobs(host.config(), history, lambda _: None, lambda _: None, 3).run()
    (failure,) = summary.failures
    assert failure.error == "job 2 of 3 was killed by signal 9, too; run again with --jobs 1 for the rest"
    assert 0 < summary.committed < 40
    monkeypatch.undo()
    host.once()
    assert_exactly_once(host, 40)


def test_without_a_process_to_spare_one_does_it_all(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """fork(2) may be denied: every share is done all the same, and nothing is told as a failure."""
    make_many(host, 40)

    def no_process() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_process)
    history = History(str(host.history))
    scanned: list[int] = []
    summary = BackfillJobs(host.config(), history, lambda _: None, scanned.append, 3).run()
    assert (summary.committed, summary.failures, history.notices, scanned[-1]) == (40, [], [], 40)
    assert_exactly_once(host, 40)


@pytest.mark.parametrize("words", [["--jobs", "2"], ["--once", "--jobs", "0"], ["status", "--once", "--jobs", "2"]])
def test_jobs_go_with_once(host: Host, words: list[str]) -> None:
    """Anything else is a usage error."""
    assert run([*host.arguments(), *words], host.base).returncode == 2
