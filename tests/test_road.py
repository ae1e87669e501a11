"""The path of one commit, as CONTRIBUTING describes it, is the one that it takes."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from daemon_support import Service
from support import Host, make, wait_for

PROJECT = Path(__file__).parents[1]
SECTION = re.compile(r"^### The path of one commit$(.*?)^## ", re.MULTILINE | re.DOTALL)
STOP = re.compile(r"`(\w+/\w+\.py): ([\w.]+)`")
FILES = re.compile(r"`(\w+)/\{([\w,]+)\}`")
AT_MOST = 20
IN_BETWEEN = frozenset(
    {
        *(f"cli/{name}.py" for name in ("logs", "run_daemon")),
        *(f"daemon/{name}.py" for name in ("daemon_presence", "daemon_state", "health", "metrics", "nightly_prune")),
        *(f"daemon/{name}.py" for name in ("signals", "single_instance", "systemd_notify")),
        *(f"inventory/{name}.py" for name in ("last_seen", "open_runs", "root_scans")),
        *(f"watch/{name}.py" for name in ("liveness_probe", "rechecks", "root_thread", "tree", "watched_root")),
        *(f"watch/{name}.py" for name in ("watcher", "watches")),
        *(f"history/{name}.py" for name in ("open_runs_table", "row_count", "workspaces_table")),
        *("host/file_systems.py", "host/processes.py"),
    }
)
"""What the loop and a root's thread may look after in between, every second or two."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the program that was called."""

    when: int
    file: str
    function: str


def files_in(text: str) -> set[str]:
    return {f"{room}/{name}.py" for room, names in FILES.findall(text) for name in names.split(",")}


def section() -> str:
    found = SECTION.search((PROJECT / "CONTRIBUTING.md").read_text("utf-8"))
    assert found is not None
    return found[1]


@pytest.fixture
def called(host: Host, tmp_path: Path) -> list[Call]:
    """What the daemon calls from the moment in which a dispatch ends."""
    calls = tmp_path / "calls"
    prefix = [sys.executable, str(Path(__file__).with_name("traced_program.py")), str(calls)]
    service = Service(host, prefix=prefix, patience_seconds=60.0)
    workspace = make(host.root, status="running")
    with service:
        make(host.root, "later")  # once it is done, so is what was found at the start
        service.wait(lambda: "later: committed" in service.log())
        began = time.monotonic_ns()
        workspace.write_status(status="completed")
        wait_for(workspace.marker.exists, 60.0)
        assert service.stop() == 0
    lines = [line.split("\t") for line in calls.read_text("utf-8").splitlines()]
    return [Call(int(when), file, function) for when, file, function in lines if int(when) >= began]


def test_a_finish_takes_the_road_that_is_written_down(called: list[Call]) -> None:
    """Each file and function that is named is called, and for the first time in this order."""
    road = STOP.findall(section())
    assert len(re.findall(r"^\d+\. ", section(), re.MULTILINE)) == 10
    first: dict[tuple[str, str], int] = {}
    for call in called:
        first.setdefault((call.file, call.function), call.when)
    assert set(road) <= set(first)
    assert sorted(road, key=first.__getitem__) == road


def test_a_finish_is_decided_in_twenty_files(called: list[Call]) -> None:
    """All of them are called until the log tells of it, and besides them only the tools that are named."""
    deciding, _, beneath = section().partition("Beneath them")
    on_it, tools = files_in(deciding), files_in(beneath)
    assert len(on_it) <= AT_MOST
    end = next(call.when for call in called if call.function == "OutcomeLog.committed")
    files = {call.file for call in called if call.when <= end} - IN_BETWEEN
    assert on_it <= files
    assert files - on_it <= tools


def test_what_the_first_finish_needs_is_imported_before_ready(host: Host) -> None:
    """It costs no more than the next one."""
    service = Service(host, environ={"PYTHONPROFILEIMPORTTIME": "1"})  # a line of stderr for each import
    workspace = make(host.root, status="running", report={"passed": False, "findings": [{"tool": "ruff"}]})
    with service:
        workspace.write_status(status="completed")
        service.wait_committed(workspace)
        before, after = service.log().split("ready: ", 1)
        assert "agentic_watch.commit.committer" in before
        assert "import time:" not in after
