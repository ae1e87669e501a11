"""`check`: what is well on a host, what needs an operator, and what `--repair` adds."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Service
from support import NOBODY, POWERLESS, UPDATED, Host, Workspace, make, run, snapshot, wait_for
from unprivileged import public_directory

from agentic_watch import watch
from agentic_watch.answers.check import host_checks
from agentic_watch.answers.check.access_checks import ownership
from agentic_watch.answers.check.check_and_repair import repair
from agentic_watch.answers.check.check_result import Check, CheckResult, subject
from agentic_watch.answers.check.host_checks import clock
from agentic_watch.answers.check.quick_check import waiting
from agentic_watch.answers.check.record_comparison import (
    Line,
    OnDisk,
    RecordedRow,
    Rows,
    disagreements,
    missing_lines,
    older_lines,
)
from agentic_watch.answers.check.records_check import records
from agentic_watch.service.service_user import Account
from agentic_watch.workspace.undo import REST_SECONDS


def check(host: Host, *options: str, code: int = 0, lacking: tuple[int, ...] = ()) -> dict[str, Any]:
    """The document of `check --json`."""
    result = run([*host.arguments(), "check", "--json", *options], host.base, lacking=lacking)
    assert result.returncode == code, result.stdout + result.stderr
    assert result.stderr == ""
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["schema"] == 2
    assert document["ok"] == (code == 0)
    return document


def problems(document: dict[str, Any]) -> list[tuple[str, str | None]]:
    """(check, workspace) of what is not well."""
    return [(found["check"], found["workspace"]) for found in document["rows"] if found["ok"] is False]


def sql(host: Host, statement: str) -> None:
    with closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(statement)


@pytest.fixture
def committed(host: Host) -> Iterator[list[Workspace]]:
    """Three committed workspaces."""
    made = [make(host.root, f"org/repo/{name}") for name in ("a", "b", "c")]
    host.once()
    yield made


def test_all_is_well_after_a_pass(host: Host, committed: list[Workspace]) -> None:
    """0, every check by name; whether a daemon should run is not known where none ever did. Nothing is changed."""
    before = snapshot(host.base)
    document = check(host)
    assert {**snapshot(host.base), "state": None} == {**before, "state": None}  # SQLite's files came and went there
    assert check(host, "--repair") == document
    assert {**snapshot(host.base), "state": None} == {**before, "state": None}
    assert document["checks"].pop("daemon") is None
    assert set(document["checks"]) >= {"configuration", "ownership", "roots", "space", "clock", "history", "records"}
    assert set(document["checks"].values()) == {True}


def test_a_deleted_row_is_found_and_comes_back(host: Host, committed: list[Workspace]) -> None:
    """`check` compares, though no file of the workspace has changed; the row comes back from the line."""
    before = dict(host.rows()["org/repo/b"])
    sql(host, "DELETE FROM dispatch_history WHERE workspace = 'org/repo/b'")
    (found,) = [one for one in check(host, code=1)["rows"] if one["ok"] is False]
    assert (found["check"], found["root"], found["workspace"]) == ("records", str(host.root), "org/repo/b")
    assert "no history row" in found["error"]
    assert found["next"] == "agentic-watch check --repair"
    lines = committed[1].journal.read_bytes()
    assert [one["repaired"] for one in check(host, "--repair")["rows"] if one["workspace"]] == [True]
    assert {**dict(host.rows()["org/repo/b"]), "id": 0} == {**before, "id": 0}
    assert committed[1].journal.read_bytes() == lines
    check(host)


def test_a_deleted_journal_is_found_and_comes_back(host: Host) -> None:
    """Every row becomes a line again, byte for byte as it was, report and findings included."""
    report = {
        "findings": [{"tool": "ruff", "line": 3, "message": "m"}],
        "changes": {"files_changed": 2},
        "passed": True,
    }
    about = {"task": "Täsk", "agent": "codex:gpt-5", "started_at": "2026-04-14T10:00:00Z"}
    workspace = make(host.root, report=report, **about)
    host.once()
    workspace.write_status(updated_at="2026-04-15T11:17:08Z", status="merged", **about)
    host.once()
    before = workspace.journal.read_bytes()
    assert before.count(b"\n") == 2
    workspace.journal.unlink()
    assert problems(check(host, code=1)) == [("records", workspace.name)] * 2
    check(host, "--repair")
    assert workspace.journal.read_bytes() == before
    check(host)
    assert host.once().counts == {"scanned": 1, "skipped": 1}


def test_a_lost_line_among_others_comes_back(host: Host) -> None:
    """Lines that are there stay as they are; the lost one goes to the end."""
    workspace = make(host.root)
    host.once()
    workspace.write_status(updated_at="2026-04-15T11:17:08Z", runs=1)
    host.once()
    first, second = workspace.journal.read_bytes().splitlines(keepends=True)
    workspace.journal.write_bytes(second)
    check(host, "--repair")
    assert workspace.journal.read_bytes() == second + first


def test_a_journal_of_others_is_a_problem_that_repair_mends(host: Host, committed: list[Workspace]) -> None:
    """A line that another program wrote into a committed workspace becomes a row."""
    line = {**committed[0].line(), "updated_at": "2026-04-13T00:00:00Z"}
    with committed[0].journal.open("a") as file:
        file.write(json.dumps(line) + "\n")
    check(host, code=1)
    check(host, "--repair")
    assert len(host.query("SELECT * FROM dispatch_history WHERE workspace = ?", committed[0].name)) == 2


def test_what_is_repaired_is_told_beside_what_stays_wrong_there(host: Host) -> None:
    """Of two findings of one workspace each is told as it stands after the repair, and the next run says the same."""
    workspace = make(host.root, status="failed")
    host.once()
    workspace.write_status(status="completed", runs=2, updated_at="2026-04-15T11:17:08Z")
    host.once()
    workspace.write_status(status="running", runs=3, updated_at="2026-04-16T11:17:08Z")
    workspace.journal.unlink()
    sql(host, "DELETE FROM dispatch_history WHERE runs = 2")
    rows = [one for one in check(host, "--repair", code=1)["rows"] if one["check"] == "records" and not one["ok"]]
    assert [one["repaired"] for one in rows if "no journal line" in one["error"]] == [True]
    (left,) = (one["error"] for one in rows if not one["repaired"])
    assert "a marker" in left
    again = [one for one in check(host, code=1)["rows"] if one["check"] == "records" and not one["ok"]]
    assert [one["error"] for one in again] == [left]


def test_repair_deletes_no_record(host: Host, committed: list[Workspace]) -> None:
    """Rows, lines and markers that were there are there afterwards, whatever was mended beside them."""
    sql(host, "DELETE FROM dispatch_history WHERE workspace = 'org/repo/b'")
    committed[2].journal.unlink()
    lines = [workspace.journal.read_bytes() for workspace in committed[:2]]
    check(host, "--repair")
    assert [workspace.journal.read_bytes() for workspace in committed[:2]] == lines
    assert host.rows().keys() == {workspace.name for workspace in committed}
    assert all(workspace.marker.exists() for workspace in committed)


def test_a_search_index_that_lies_is_found_and_made_anew(host: Host, committed: list[Workspace]) -> None:
    """What is derived is made anew from the rows; a query finds its words again."""
    sql(host, "INSERT INTO dispatch_search (dispatch_search) VALUES ('delete-all')")
    document = check(host, code=1)
    assert document["checks"]["search"] is False
    assert document["checks"]["history"] is True
    assert check(host, "--repair")["checks"]["search"] is True
    check(host)


def test_a_missing_history_is_named(host: Host) -> None:
    """Nothing was committed yet, or somebody removed it: the next step makes it."""
    make(host.root)
    document = check(host, code=1)
    assert document["checks"]["history"] is False
    host.once()
    check(host)


def test_a_missing_root_is_named(host: Host, committed: list[Workspace]) -> None:
    """By path, cause and next step."""
    host.root.rename(host.base / "unmounted")
    (found,) = [one for one in check(host, code=1)["rows"] if one["ok"] is False]
    assert (found["check"], found["root"]) == ("roots", str(host.root))
    assert "No such file or directory" in found["error"]


@pytest.mark.skipif(os.geteuid() != 0, reason="is about root")
def test_root_without_the_right_to_become_another_checks_as_itself(host: Host) -> None:
    """As in a container that was given no capabilities."""
    make(host.root)
    host.once()
    set_groups = 6
    document = check(host, code=0, lacking=(*POWERLESS, set_groups))
    assert all(one["ok"] for one in document["rows"] if one["check"] in ("ownership", "roots"))


def test_what_cannot_be_written_is_named(host: Host, committed: list[Workspace]) -> None:
    """A history and a root that the user may only read: each with the command that mends it."""
    (committed[0].meta).chmod(0o555)
    host.history.chmod(0o444)
    document = check(host, code=1, lacking=POWERLESS)
    found = {one["check"]: one for one in document["rows"] if one["ok"] is False}
    assert str(host.history) in found["ownership"]["error"]
    assert "chown" in found["ownership"]["next"]
    assert str(committed[0].meta) in found["roots"]["error"]
    assert "chmod" in found["roots"]["next"]


def test_what_cannot_be_known_is_unknown(host: Host, committed: list[Workspace]) -> None:
    """No daemon ever ran here: null in JSON, "unknown" in words, and not a reason for 1."""
    result = run([*host.arguments(), "check"], host.base)
    assert result.returncode == 0
    assert [line[:16] for line in result.stdout.splitlines() if line.startswith("unknown")] == ["unknown  daemon:"]


def test_a_history_that_may_not_be_looked_at_is_unknown(host: Host, committed: list[Workspace]) -> None:
    """Not missing: a user without permission for its directory cannot know."""
    host.history.parent.chmod(0)
    document = check(host, code=1, lacking=POWERLESS)  # 1, for nobody can write it either
    assert document["checks"]["history"] is None
    assert document["checks"]["records"] is None


def test_quietly_it_says_only_what_is_not_well(host: Host, committed: list[Workspace]) -> None:
    """With -q the lines that are ok are left out."""
    assert re.search(r"^ok ", run([*host.arguments(), "check"], host.base).stdout, re.MULTILINE)
    assert not re.search(r"^ok ", run([*host.arguments(), "check", "-q"], host.base).stdout, re.MULTILINE)


# --- the probe


def test_the_probes_help_names_the_checks_that_it_prints(host: Host, committed: list[Workspace]) -> None:
    """`check --quick --help` promises the lines that `check --quick` has where a root is away."""
    away = ["--root", str(host.base / "away")]
    lines = run([*host.arguments(), *away, "check", "--quick"], host.base).stdout.splitlines()
    printed = {line.split()[1].removesuffix(":") for line in lines}
    told = (
        " ".join(run(["check", "--help"], host.base).stdout.split()).partition("(under 0.3 s): ")[2].partition(".")[0]
    )
    assert set(told.split(", ")) == printed


def test_the_probe_wants_a_daemon(host: Host, committed: list[Workspace]) -> None:
    """Alive: 0. Stopped by SIGSTOP, or ended: 1."""
    with Service(host) as service:
        service.wait(lambda: run([*host.arguments(), "check", "--quick"], host.base).returncode == 0)
        service.signal(signal.SIGSTOP)
        service.wait(lambda: "stopped or hung" in run([*host.arguments(), "check", "--quick"], host.base).stdout)
        service.signal(signal.SIGCONT)
        service.wait(lambda: run([*host.arguments(), "check", "--quick"], host.base).returncode == 0)
        assert service.stop() == 0
        result = run([*host.arguments(), "check", "--quick"], host.base)
        assert result.returncode == 1
        assert "no daemon runs" in result.stdout


def test_where_no_daemon_ever_ran_both_checks_say_why_they_differ(host: Host, committed: list[Workspace]) -> None:
    """The probe expects a daemon: 1. The whole check cannot know whether one is wanted: 0. Each names the other."""
    probe, whole = (run([*host.arguments(), "check", *options], host.base) for options in (["--quick"], []))
    (failed,) = [line for line in probe.stdout.splitlines() if "no daemon has run for this history yet" in line]
    (unknown,) = [line for line in whole.stdout.splitlines() if "no daemon has run for this history yet" in line]
    assert failed.startswith("problem ") and "monitor `agentic-watch check`" in failed
    assert unknown.startswith("unknown ") and "check --quick expects a daemon" in unknown
    assert probe.returncode == 1


def test_a_lost_root_fails_the_probe(host: Host, committed: list[Workspace]) -> None:
    """The daemon is well, and waits for a root: 1."""
    with Service(host) as service:
        host.root.rename(host.base / "unmounted")
        service.wait(lambda: run([*host.arguments(), "check", "--quick"], host.base).returncode == 1)


def test_what_the_daemon_cannot_look_into_is_told(host: Host, committed: list[Workspace]) -> None:
    """A directory without a mode: within a reconcile `status`, the metrics and the probe tell of it, with the command
    that opens it; once it is open they are silent again."""
    closed = host.root / "closed"
    make(host.root, "closed/repo/task")
    service = Service(host, prefix=_powerless())
    service.reconcile_seconds = 1
    closed.chmod(0)
    with service:
        arguments = ["--config", str(service.config_file)]
        result = run([*arguments, "check", "--quick"], host.base)
        assert result.returncode == 1
        (line,) = (line for line in result.stdout.splitlines() if line.startswith("problem"))
        assert f"daemon: {closed}: 1 below the roots that the daemon cannot read" in line
        assert f"setfacl -R -m u:{_own_name()}:rwX -m d:u:{_own_name()}:rwX {host.root}" in line
        assert "agentic_watch_unreadable_directories 1.0" in run([*arguments, "metrics"], host.base).stdout
        document = json.loads(run([*arguments, "status", "--json"], host.base).stdout)
        assert (document["daemon"]["unreadable"], document["daemon"]["unreadable_names"]) == (1, [str(closed)])
        closed.chmod(0o755)
        service.wait(lambda: run([*arguments, "check", "--quick"], host.base).returncode == 0)
        assert service.state().unreadable_names == ()


def _powerless() -> list[str]:
    """What starts a process without root's way past permissions; nobody else has it."""
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []


def _own_name() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(("stopped", "code", "state"), [(False, 0, "OK"), (True, 2, "CRITICAL")])
def test_a_monitoring_plugin_says_the_worst_first(
    host: Host, committed: list[Workspace], *, stopped: bool, code: int, state: str
) -> None:
    """--nagios: the states of its kin, no bar that would begin performance data, and the worst line first."""
    with Service(host) as service:
        if stopped:
            service.stop()
        result = run([*host.arguments(), "check", "--quick", "--nagios"], host.base)
        assert (result.returncode, result.stdout.split(": ")[0]) == (code, state)
        assert "|" not in result.stdout
        states = [line.split(": ")[0] for line in result.stdout.splitlines()]
        assert states == sorted(states)


def test_a_plugin_that_cannot_ask_is_unknown(host: Host) -> None:
    """A configuration that cannot be read: 3, and no other exit status that a monitoring host would not know."""
    result = run(["--config", str(host.base / "none.toml"), "check", "--nagios"], host.base)
    assert (result.returncode, result.stdout.count("\n"), result.stderr) == (3, 1, "")
    assert result.stdout.startswith("UNKNOWN: configuration: ")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_a_reader_is_not_told_that_sound_workspaces_are_broken() -> None:
    """A workspace of mode 0700 that the service's user reads well: for another one it is unknown, and no problem."""
    with public_directory() as base:
        host = Host.make(base)
        workspace = make(host.root)
        host.once()
        workspace.path.chmod(0o700)
        about = replace(subject(host.config()), now=time.time())
        assert all(finding.ok for finding in records(about))
        pid = os.fork()
        if not pid:  # the check's own process is the reader
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os._exit(10 + sum(finding.ok is False for finding in records(about)))
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 10


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_history_among_other_things_is_not_given_with_them(host: Host, committed: list[Workspace]) -> None:
    """`check` as root names a way that works, and never the repair that would do nothing."""
    (host.history.parent / "other").touch()
    nobody = Account.of("nobody")
    about = replace(subject(host.config()), account=nobody)
    steps = {finding.text.split(": ")[0]: finding.next_step for finding in ownership(about) if finding.ok is False}
    assert "install -d -o nobody" in steps[str(host.history.parent)]
    assert "--repair" not in steps[str(host.history.parent)]
    assert "--repair" in steps[str(host.history)]
    (host.history.parent / "other").unlink()
    steps = {finding.text.split(": ")[0]: finding.next_step for finding in ownership(about) if finding.ok is False}
    assert "--repair" in steps[str(host.history.parent)]


def test_repair_is_no_part_of_the_probe(host: Host) -> None:
    """A usage error."""
    assert run([*host.arguments(), "check", "--quick", "--repair"], host.base).returncode == 2


# --- what waits, and for how long (times passed in)


def later(host: Host, check: Check, seconds: float) -> list[CheckResult]:
    """What a check would find so many seconds from now."""
    now = replace(subject(host.config()), now=time.time() + seconds)
    return [finding for finding in check(now) if finding.ok is False]


def test_what_fails_for_longer_than_an_hour_needs_somebody(host: Host) -> None:
    """A broken status is its dispatcher's for an hour, then the operator's, and in the probe as in the whole check."""
    broken = make(host.root)
    (broken.meta / "status.json").write_text("{")
    host.once()
    for check in (waiting, records):
        assert later(host, check, 3500) == []
        (found,) = later(host, check, 3700)
        assert (found.workspace, found.root) == (broken.name, str(host.root))
        assert ".meta/status.json" in found.text
    assert "agentic-watch dispatch schema status" in found.next_step


@pytest.mark.parametrize("name", [b"new\nline", b"latin\xe9"])
def test_a_name_that_is_none_needs_somebody_after_an_hour(host: Host, name: bytes) -> None:
    """It can never be committed, and nothing else would say so for ever."""
    meta = os.path.join(os.fsencode(host.root), b"org/repo", name, b".meta")
    os.makedirs(meta)
    Path(os.fsdecode(meta), "status.json").write_text(json.dumps({"status": "completed", "updated_at": UPDATED}))
    assert host.once().code == 3
    assert later(host, records, 3500) == []
    (found,) = later(host, records, 3700)
    assert "the name" in found.text
    assert "rename it" in found.next_step
    in_an_hour = replace(subject(host.config()), now=time.time() + 3700)
    assert repair(in_an_hour, [records], [found]) == [found]


def test_a_command_that_keeps_daemons_away_is_none(host: Host, committed: list[Workspace]) -> None:
    """`rename-root` takes a daemon's place for a moment; where none ever ran there is none to miss."""
    run([*host.arguments(), "rename-root", str(host.root), "agents"], host.base)
    run([*host.arguments(), "rename-root", "agents", str(host.root)], host.base)
    assert check(host)["checks"]["daemon"] is None


def test_what_is_finished_waits_no_longer_than_it_should(host: Host) -> None:
    """Five settle times and a reconcile: after that a finished one that is not committed needs somebody."""
    workspace = make(host.root, status="running")
    host.once()
    workspace.write_status()
    for check in (waiting, records):
        assert later(host, check, 200) == []
        (found,) = later(host, check, 400)
        assert "not committed" in found.text
    host.once()
    assert later(host, waiting, 10**6) == later(host, records, 10**6) == []


def test_a_clock_that_was_set_back_is_told(host: Host, committed: list[Workspace]) -> None:
    """The history was written at a time that the clock has yet to come to."""
    assert later(host, clock, 0) == []
    (found,) = later(host, clock, -3600)
    assert "was last written" in found.text


@pytest.mark.parametrize(("blocks", "is_told"), [(1_000, True), (0, False)])
def test_a_full_disk_is_told_from_one_that_does_not_say(
    host: Host, monkeypatch: pytest.MonkeyPatch, blocks: int, is_told: bool
) -> None:
    """ramfs, and some file systems of other processes, have no size."""
    host.history.parent.mkdir()
    said = os.statvfs_result((4096, 4096, blocks, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(host_checks.os, "statvfs", lambda _: said)
    assert ["0 MiB are free" in one.text for one in later(host, host_checks.space, 0)] == [True] * is_told


# --- what agrees (times passed in)

A, B = ("2026-04-14T00:00:00.000000000Z", 0), ("2026-04-15T00:00:00.000000000Z", 1)
THIS, OTHER = 1, 2
"""Two dispatches."""


def line(dispatch: int = THIS) -> Line:
    return Line(0, dispatch, "2026-04-16T00:00:00Z")


def row(dispatch: int = THIS, **fields: bool) -> RecordedRow:
    return RecordedRow(0, dispatch, **fields)


@pytest.mark.parametrize(
    ("disk", "rows", "said"),
    [
        (OnDisk(), {}, []),
        (OnDisk(A, 1000, A, lines={A: line()}), {A: [row()]}, []),
        (OnDisk(B, 1, A, lines={A: line()}), {A: [row()]}, []),
        (OnDisk(None, 1000, A, lines={A: line()}), {A: [row()]}, []),
        (OnDisk(B, 1000, A, lines={A: line()}), {A: [row()]}, ["finished and not committed"]),
        (OnDisk(A, 1000, A, lines={A: line()}), {}, ["no history row"]),
        (OnDisk(A, 1000, A, lines={A: line()}, moved={A}), {}, []),
        (OnDisk(A, 1000, A, moved={A}), {}, []),
        (OnDisk(A, 1000, None, lines={A: line()}), {A: [row()]}, ["marker is missing"]),
        (OnDisk(A, 1, None, lines={A: line()}), {A: [row()]}, ["marker is missing"]),
        (OnDisk(A, 1, None, lines={A: line()}, is_held=True), {A: [row()]}, []),
        (OnDisk(B, 1000, A, lines={A: line(), B: line()}), {A: [row()], B: [row()]}, ["marker names another"]),
        (OnDisk(None, 1000, B, lines={A: line()}), {A: [row()]}, ["neither a row nor a journal line"]),
    ],
)
def test_each_disagreement_is_told(disk: OnDisk, rows: Rows, said: list[str]) -> None:
    """One line for each thing that one record has and another lacks, none where all agree."""
    found = list(disagreements(disk, rows, "", 300))
    assert len(found) == len(said)
    assert all(text in line for text, line in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("missing", "is_told"),
    [
        (row(), True),
        (row(OTHER), False),
        (row(is_ours=False), False),
        (row(moved_away=True), False),
    ],
)
def test_a_missing_line_is_told_of_what_stands_there(missing: RecordedRow, is_told: bool) -> None:
    """Not of another dispatch that had this name before, of another host's, or of one that was moved."""
    disk = OnDisk(B, 1000, B, lines={B: line()}, standing={THIS})
    assert list(missing_lines(disk, {A: [missing], B: [row()]})) == [A] * is_told


def test_a_line_under_another_name_is_not_missing() -> None:
    """It was moved here with that line: another workspace, which had this name, took its own line with it."""
    disk = OnDisk(B, 1000, B, lines={B: line()}, standing={THIS}, others={(A, THIS)})
    assert list(missing_lines(disk, {A: [row()], B: [row()]})) == []


def test_records_of_one_identity_that_say_otherwise_are_told(host: Host, committed: list[Workspace]) -> None:
    """A status that was rewritten without a time of its own, a row that was changed: named, and not repaired."""
    rewritten, changed, _ = committed
    rewritten.write_status(task="something else")
    sql(host, f"UPDATE dispatch_history SET status = 'failed' WHERE workspace = '{changed.name}'")
    differ = {
        "its status and its history row differ": [rewritten.name, changed.name],
        "its journal line and its": [changed.name],
    }
    for options in ((), ("--repair",)):
        found = [one for one in check(host, *options, code=1)["rows"] if one["check"] == "records"]
        for text, names in differ.items():
            assert sorted(one["workspace"] for one in found if text in one["error"]) == names
        assert (len(found), {one["repaired"] for one in found}) == (3, {False})
    assert len(rewritten.lines()) == len(changed.lines()) == 1


def test_what_was_pruned_lacks_nothing() -> None:
    """Lines and markers from before `pruned_before` need no row."""
    disk = OnDisk(A, 1000, A, lines={A: line()})
    assert list(disagreements(disk, {}, B[0], 300)) == []
    assert list(older_lines(disk, {}, B[0])) == [A]
    assert list(older_lines(disk, {A: [row()]}, B[0])) == []


def test_a_moved_workspace_agrees_with_its_records(host: Host, committed: list[Workspace]) -> None:
    """Its line and its row keep the former name, and nothing is wrong with that."""
    (host.root / "org").rename(host.root / "renamed")
    host.once()
    assert problems(check(host)) == []


@pytest.fixture
def redispatched(host: Host) -> tuple[Workspace, Workspace]:
    """A workspace that was moved, and another dispatch that runs at its old name by now; no pass came between."""
    old = make(host.root, "org/repo/old", started_at="2026-04-14T08:00:00Z", task="first")
    host.once()
    moved = Workspace(host.root, "org/repo/moved")
    old.path.rename(moved.path)
    new = make(host.root, "org/repo/old", started_at="2026-04-16T08:00:00Z", status="running", task="second")
    return new, moved


@pytest.mark.parametrize("passes", [0, 1, 2])
def test_what_runs_at_the_old_name_of_a_moved_workspace_is_let_be(
    host: Host, redispatched: tuple[Workspace, Workspace], passes: int
) -> None:
    """The row has its line where the workspace is now: nothing is wrong, and nothing is written into another's."""
    for _ in range(passes):
        host.once()
    before = snapshot(host.root)
    for options in ((), ("--repair",)):
        assert [one for one in problems(check(host, *options)) if one[0] == "records"] == []
    assert snapshot(host.root) == before


def test_a_row_of_a_dispatch_that_was_deleted_is_let_be(host: Host) -> None:
    """A directory that was deleted and dispatched into anew has the lines of the new dispatch alone."""
    old = make(host.root, started_at="2026-04-14T08:00:00Z")
    host.once()
    shutil.rmtree(old.path)
    make(host.root, started_at="2026-04-16T08:00:00Z", updated_at="2026-04-16T09:00:00Z")
    host.once()
    before = snapshot(host.root)
    check(host)
    check(host, "--repair")
    assert snapshot(host.root) == before


def test_a_copy_agrees_with_the_row_of_the_original(host: Host) -> None:
    """Its lines and marker name another workspace that has the row; the original's stay sound, too."""
    original = make(host.root, "org/repo/one", started_at="2026-04-14T08:00:00Z")
    host.once()
    shutil.copytree(original.path, host.root / "org/repo/two")
    before = snapshot(host.root)
    assert problems(check(host)) == []
    check(host, "--repair")
    assert snapshot(host.root) == before


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_workspace_that_went_to_another_root_agrees(host: Host, is_replaced: bool) -> None:
    """Under the same name, below another root of the same history: its row is the first root's."""
    workspace = make(host.root, started_at="2026-04-14T08:00:00Z")
    host.once()
    other = host.base / "other"
    (other / "org/repo").mkdir(parents=True)
    workspace.path.rename(other / workspace.name)
    if is_replaced:  # by one that is told apart by its line alone
        make(host.root, started_at="2026-04-14T08:00:00Z", status="running")
    result = run([*host.arguments(), "--root", str(other), "check", "--json"], host.base)
    assert [one for one in problems(json.loads(result.stdout)) if one[0] == "records"] == []


def test_rows_of_other_hosts_are_not_judged(host: Host, committed: list[Workspace]) -> None:
    """An import may bring rows with this root's path and a name that stands here: they need no line here."""
    exported = run([*host.arguments(), "export"], host.base).stdout.splitlines()
    theirs = {**json.loads(exported[0]), "host": "another", "updated_at": "2026-04-01T00:00:00Z", "task": ""}
    (host.base / "theirs.jsonl").write_text(json.dumps(theirs) + "\n")
    assert run([*host.arguments(), "import", str(host.base / "theirs.jsonl")], host.base).returncode == 0
    before = snapshot(host.root)
    check(host)
    committed[0].journal.unlink()  # what is lost of this host's comes back without theirs
    assert problems(check(host, code=1)) == [("records", committed[0].name)]
    check(host, "--repair")
    assert [found["updated_at"] for found in committed[0].lines()] == [UPDATED]
    assert snapshot(host.root).keys() == before.keys()


def test_lines_that_are_no_records_are_told(host: Host, committed: list[Workspace]) -> None:
    """A history made anew would have no row of them; a torn last one goes aside, others are left as they are."""
    torn, planted, _ = committed
    with torn.journal.open("a") as file:
        file.write('{"workspace":"org/repo/a","upd')
    with planted.journal.open("a") as file:
        file.write(json.dumps({**planted.line(), "status": "", "runs": 9}) + "\n")
    found = [one for one in check(host, code=1)["rows"] if one["check"] == "records"]
    assert sorted(one["workspace"] for one in found) == [torn.name, planted.name]
    assert all("1 invalid line" in one["error"] for one in found)
    lines = planted.journal.read_bytes()
    wait_for(lambda: time.time() - torn.journal.stat().st_ctime > REST_SECONDS)  # it may be in the making until then
    repaired = [one for one in check(host, "--repair", code=1)["rows"] if one["check"] == "records"]
    assert {one["workspace"]: one["repaired"] for one in repaired} == {torn.name: True, planted.name: False}
    assert len(torn.lines()) == 1
    assert planted.journal.read_bytes() == lines
    host.forget_history()
    assert host.once().summary["recovered_rows"] == 3
    assert len(host.rows()) == 3


def test_lines_as_old_as_what_was_pruned_are_told(host: Host, committed: list[Workspace]) -> None:
    """An archive beside the history says that they were pruned; of others nobody knows."""
    old = [make(host.root, f"org/repo/old-{number}", updated_at="2020-01-01T00:00:00Z") for number in range(3)]
    host.once()
    assert run([*host.arguments(), "prune", "--older-than", "60w"], host.base).returncode == 0
    check(host)
    never = {**old[0].line(), "runs": 7}
    with old[0].journal.open("a") as file:
        file.write(json.dumps(never) + "\n")
    told = host.once().stderr
    assert "1 journal line is older than what was pruned" in told
    (found,) = [one for one in check(host)["rows"] if one["check"] == "records"]
    assert (found["ok"], "1 journal line (the first in" in found["error"]) == (None, True)
    assert "agentic-watch import --as" in found["next"]
    result = run([*host.arguments(), "import", "--as", str(host.root), str(old[0].journal)], host.base)
    assert result.returncode == 0
    check(host)


def limit_findings(found: dict[str, Any]) -> list[str]:
    return [one["error"] for one in found["rows"] if one["check"] == "limits"]


def test_a_daemon_that_may_open_too_few_files_is_named(host: Host) -> None:
    """It works in smaller batches; its unit's LimitNOFILE= is the next step."""
    with Service(host, prefix=["prlimit", "--nofile=100"]) as service:
        service.wait_committed(make(host.root))
        (text,) = limit_findings(check(host, code=1))
        assert f"(pid {service.pid}) is limited to 100 and needs 1024" in text


def test_a_user_without_an_inotify_instance_left_is_told(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A daemon that is started now would poll: the limit is named with what it should be."""
    monkeypatch.setattr(watch, "_SYSCTLS", str(tmp_path))
    (tmp_path / "max_user_watches").write_text("1000\n")
    found = {}
    for limit in (10**6, 0):
        (tmp_path / "max_user_instances").write_text(f"{limit}\n")
        _, found[limit] = host_checks.limits(subject(host.config()))
    assert found[10**6].ok
    assert (found[0].ok, "none is left for the daemon" in found[0].text) == (False, True)


def test_a_running_daemon_has_its_inotify_instance(host: Host) -> None:
    """However many others there are."""
    with Service(host) as service:
        service.wait(lambda: service.watching() == ["inotify"])
        found = list(host_checks.limits(subject(host.config())))
    assert [one.ok for one in found] == [True, True, True]
    assert "the daemon uses 1" in found[1].text


@pytest.mark.parametrize("again", [["prune", "--older-than", "999mo"], ["backup"]])
def test_what_a_killed_backup_or_prune_left_is_named(host: Host, committed: list[Workspace], again: list[str]) -> None:
    """With its size, unless somebody is at work on it; the next run removes it, with SQLite's journal of it."""
    left = host.history.with_name("agentic-watch.0123456789ab.part")
    journal = host.history.with_name(f"{left.name}-journal")
    left.write_bytes(b"x" * 12_345)
    journal.write_bytes(b"x")
    found = [one for one in check(host, code=1)["rows"] if one["ok"] is False]
    assert {one["check"] for one in found} == {"history"}
    assert [one["error"].partition(":")[0] for one in found] == [str(left), str(journal)]
    assert found[0]["error"].startswith(f"{left}: 12,345 bytes")
    with left.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        check(host)
    copy = [str(host.history.with_name("copy-2026-12-01.db"))] if again == ["backup"] else []
    assert run([*host.arguments(), *again, *copy], host.base).returncode == 0
    assert not left.exists()
    assert not journal.exists()
    check(host)


def test_a_marker_that_is_lost_is_told_and_repaired_at_once(host: Host, committed: list[Workspace]) -> None:
    """However new the status is: its line and its row say that the commit was made."""
    lost, *_ = committed
    marker = lost.marker.read_text()
    lost.write_status()
    lost.marker.unlink()
    (found,) = [one for one in check(host, code=1)["rows"] if one["ok"] is False]
    assert (found["workspace"], found["error"].endswith("its marker is missing")) == (lost.name, True)
    check(host, "--repair")
    assert lost.marker.read_text() == marker


def test_a_status_that_is_neither_finished_nor_known_is_named(host: Host) -> None:
    """It promises a commit that never comes: `check` and `status` name it, and what to add where it is an end."""
    make(host.root, "org/repo/a", status="success")
    host.once()
    (found,) = [one for one in check(host)["rows"] if one["workspace"] == "org/repo/a"]
    assert found["ok"] is None
    assert "'success' is neither finished nor known" in found["error"]
    assert found["next"] == 'if it is an end, add "success" to finished in [commit]'
    (after_an_hour,) = [one for one in later(host, records, 3700) if one.workspace]
    assert (after_an_hour.ok, after_an_hour.text) == (False, found["error"])
    status = run([*host.arguments(), "status"], host.base).stdout
    assert 'unknown statuses, never committed: "success"; add final ones to finished in [commit]' in status


def test_a_status_that_is_configured_as_finished_is_not_named(host: Host, tmp_path: Path) -> None:
    """Added to `finished`, it is committed, and all is well."""
    make(host.root, "org/repo/a", status="success")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[roots]]\npath = "{host.root}"\n[history]\npath = "{host.history}"\n'
        '[commit]\nfinished = ["completed", "success"]\n',
        "utf-8",
    )
    for command in (["--once"], ["check"], ["status"]):
        result = run(["--config", str(config), *command], host.base)
        assert (result.returncode, "unknown statuses" in result.stdout, "nor known" in result.stdout) == (
            0,
            False,
            False,
        )
    assert host.rows()["org/repo/a"]["status"] == "success"
