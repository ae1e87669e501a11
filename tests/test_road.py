"""The road of one finish, as CONTRIBUTING tells it, is the one that it takes."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from daemon_support import Service
from support import Host, make, wait_for

PROJECT = Path(__file__).parents[1]
SECTION = re.compile(r"^### The road of one finish$(.*?)^`", re.MULTILINE | re.DOTALL)
STOP = re.compile(r"`(\w+/\w+\.py): ([\w.]+)`")


def test_a_finish_takes_the_road_that_is_written_down(host: Host, tmp_path: Path) -> None:
    """Each file and function that is named is called, and for the first time in this order."""
    section = SECTION.search((PROJECT / "CONTRIBUTING.md").read_text("utf-8"))
    assert section is not None
    road = STOP.findall(section[1])
    assert len(re.findall(r"^\d+\. ", section[1], re.MULTILINE)) == 10
    calls = tmp_path / "calls"
    prefix = [sys.executable, str(Path(__file__).with_name("traced_program.py")), str(calls)]
    service = Service(host, prefix=prefix, patience_seconds=60.0)
    workspace = make(host.root, status="running")
    with service:
        began = time.monotonic_ns()
        workspace.write_status(status="completed")
        wait_for(workspace.marker.exists, 60.0)
        assert service.stop() == 0
    called = [line.split("\t") for line in calls.read_text("utf-8").splitlines()]
    first = {}
    for when, file, function in called:
        if int(when) >= began:
            first.setdefault((file, function), int(when))
    assert set(road) <= set(first)
    assert sorted(road, key=first.__getitem__) == road


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
