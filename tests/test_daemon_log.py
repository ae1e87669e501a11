"""What the daemon's log says: for people, for machines, in bulk, once a state, and to nobody who reads it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Service
from support import Host, Workspace, command, environment, make, wait_for

from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.config import Root
from agentic_watch.daemon.outcome_log import OutcomeLog
from agentic_watch.workspace.candidate import Candidate


def test_json_lines_carry_what_a_machine_asks_for(host: Host) -> None:
    """A commit and a failure have their fields beside their text."""
    with_journal = make(host.root, "org/repo/good", runs=3)
    (make(host.root, "org/repo/bad").meta / "status.json").write_text("{")
    service = Service(host)
    service.start("--log-format", "json")
    with service_running(service):
        service.wait_committed(with_journal)
        service.wait_log("is not JSON")
    documents = [json.loads(line) for line in service.log().splitlines()]
    good = next(d for d in documents if d.get("workspace") == "org/repo/good")
    bad = next(d for d in documents if d.get("workspace") == "org/repo/bad")
    assert good["root"] == str(host.root)
    assert (good["level"], good["status"], good["run"]) == ("info", "completed", 3)
    assert good["committed_at"] == with_journal.line()["committed_at"]
    assert bad["level"] == "warning"
    assert bad["error"].startswith(".meta/status.json: is not JSON")
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", d["time"]) for d in documents)


class service_running:  # noqa: N801  a context like any other
    """Ends a service that was started with options."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> None:
        self._service.wait(lambda: bool(self._service.lines("ready: ")))

    def __exit__(self, *_: Any) -> None:
        self._service.stop()


def test_lines_name_the_root_when_there_is_more_than_one(host: Host) -> None:
    """Two roots may hold workspaces of one name."""
    other = make(host.base / "other", "org/repo/task")
    service = Service(host)
    service.roots[0]["name"] = "first"
    service.roots.append({"path": str(other.root), "name": "second"})
    with service:
        service.wait(lambda: len(service.names()) == 1)
        service.wait_log("INFO second: org/repo/task: committed")


def test_a_burst_has_a_line_each_for_the_first_and_a_summary_for_the_rest(host: Host) -> None:
    """Daily work has a line a commit; thousands at once do not fill the journal."""
    made = [make(host.root, f"org/repo/task-{number:03}") for number in range(300)]
    began = time.monotonic()
    with Service(host) as service:
        service.wait_committed(*made)
        service.wait_log("more committed (")
        service.wait(lambda: said(service) == 300)
        assert len(service.lines(": committed (")) <= 100 + 2 * (time.monotonic() - began)


def said(service: Service) -> int:
    """How many commits the log tells of."""
    more = [
        int(line.split("INFO ")[1].split(" more")[0].replace(",", "")) for line in service.lines("more committed (")
    ]
    return len(service.lines(": committed (")) + sum(more)


def outcome(verdict: Verdict = Verdict.SKIPPED, *warnings: str) -> Outcome:
    return Outcome(Candidate(Root("/srv"), "org/task"), verdict, "broken", warnings=warnings)


def test_an_oddity_is_said_once_and_once_more_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """However often a workspace is looked at meanwhile; what happened only once has no end."""
    caplog.set_level("INFO")
    log = OutcomeLog()
    for now, warnings in enumerate((["both"], ["both", "torn"], ["both"], ["both"], [], [], ["both"])):
        log.warned(outcome(Verdict.SKIPPED, *warnings), float(now))
    assert [record.getMessage() for record in caplog.records] == [
        "org/task: both",
        "org/task: torn",
        "org/task: resolved: both",
        "org/task: both",
    ]


def test_who_changes_all_day_fills_no_journal(caplog: pytest.LogCaptureFixture) -> None:
    """About one workspace there are a few lines at once and one in two minutes then; the rest is counted."""
    caplog.set_level("INFO")
    log = OutcomeLog()
    for second in range(0, 3600, 2):
        log.warned(outcome(Verdict.SKIPPED, f"torn {second}"), float(second))
    assert len(caplog.records) < 50
    assert "earlier lines suppressed)" in caplog.records[-1].getMessage()


def test_hundreds_that_fail_at_once_fill_no_journal(caplog: pytest.LogCaptureFixture) -> None:
    """An agent may make as many broken workspaces as it likes: the first have a line each, the others are counted."""
    caplog.set_level("INFO")
    log = OutcomeLog()
    for number in range(1_000):
        broken = Outcome(Candidate(Root("/srv"), f"org/task-{number}"), Verdict.FAILED, "broken")
        log.failed(broken, 1.0, 30, number / 1000)
    log.turned(100.0)
    assert len(caplog.records) < 110
    assert caplog.records[-1].getMessage().endswith("workspace warnings suppressed; see agentic-watch status")


def test_one_is_told_as_one(host: Host) -> None:
    """A root without a workspace has one watch, its own."""
    with Service(host) as service:
        assert f"ready: {host.root}: inotify, 1 watch; 0 committed" in service.log()
        service.signal(signal.SIGHUP)
        service.wait_log("configuration reloaded: 1 root")


def test_both_status_files_are_said_once_however_often_the_root_is_scanned(host: Host) -> None:
    """A state, not an event."""
    workspace = make(host.root)
    workspace.write_status("root")
    service = Service(host)
    service.reconcile_seconds = 1.0
    with service:
        service.wait_committed(workspace)
        seen = service.state().last_scan_at
        for _ in range(3):
            service.wait(lambda seen=seen: service.state().last_scan_at > seen)
            seen = service.state().last_scan_at
        assert len([line for line in service.lines("WARNING") if workspace.name in line]) <= 1


def test_nobody_reads_stderr_and_work_goes_on(host: Host) -> None:
    """A full pipe stops neither commits nor the end; what was dropped is counted, and said when somebody reads."""
    made = [make(host.root, f"org/repo/task-{number:03}") for number in range(60)]
    service = Service(host)
    service.configure()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fill(writer)
    os.set_blocking(writer, True)
    arguments = [*map(str, command(["--config", str(service.config_file), "-vv"]))]
    process = subprocess.Popen(arguments, env=environment(host.base), stderr=writer, cwd="/")
    try:
        os.close(writer)
        wait_for(lambda: all(workspace.marker.exists() for workspace in made))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def fill(writer: int) -> None:
    """Fill a pipe to its last byte."""
    for size in (65_536, 4096, 1):
        try:
            while True:
                os.write(writer, b"x" * size)
        except BlockingIOError:
            pass


def test_dropped_lines_are_counted_and_said(host: Host, tmp_path: Path) -> None:
    """When somebody reads again, one line tells how many were lost, and what follows is whole."""
    script = (
        "import logging, sys\n"
        "from agentic_watch.cli.logs import NeverBlocking\n"
        "handler = NeverBlocking()\n"
        "log = logging.getLogger('test')\n"
        "log.addHandler(handler)\n"
        "for number in range(4000): log.warning('%d %s', number, 'x' * 200)\n"
        "print(handler.dropped, flush=True)\n"
        "sys.stdin.readline()\n"
        "while handler._waiting or handler._untold: handler.flush()\n"
        "log.warning('the end')\n"
    )
    process = subprocess.Popen(
        [*map(str, command([])[:1]), "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(host.base),
    )
    assert process.stdout is not None
    dropped = int(process.stdout.readline())
    assert dropped > 0
    _, errors = process.communicate("go\n", timeout=30)
    lines = errors.splitlines()
    assert lines[-2:] == [f"{dropped} log lines were dropped: nobody read stderr", "the end"]
    assert [line.split()[0] for line in lines[:-2]] == [str(number) for number in range(4000 - dropped)]
    assert process.returncode == 0


def test_a_workspace_that_is_mended_is_said_to_be(host: Host) -> None:
    """A failure that ends without a commit has a line, too."""
    workspace = make(host.root, status="running")
    with Service(host) as service:
        (workspace.meta / "status.json").write_text("{")
        service.wait_log("is not JSON")
        Workspace(host.root, workspace.name).write_status(status="running")
        service.wait_log("org/repo/task: no longer failing")
