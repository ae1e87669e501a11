"""The status file: what it says, what is refused, and which of two counts."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import FIXTURES, UPDATED, Workspace, make

from agentic_watch.config import Limits, Root
from agentic_watch.workspace import status
from agentic_watch.workspace.status import StatusRead
from agentic_watch.workspace.workspace_errors import Malformed, Missing


@contextlib.contextmanager
def directories(workspace: Workspace) -> Iterator[tuple[int, int | None]]:
    """Descriptors of a workspace and of its `.meta`, when there is one."""
    opened = [os.open(path, os.O_RDONLY) for path in (workspace.path, workspace.meta) if path.exists()]
    try:
        yield opened[0], opened[1] if len(opened) > 1 else None
    finally:
        for descriptor in opened:
            os.close(descriptor)


def read(workspace: Workspace, layout: Any = "auto", limits: Limits | None = None) -> StatusRead:
    """What counts as the workspace's status."""
    with directories(workspace) as (directory, meta):
        return status.read(directory, meta, Root(str(workspace.root), layout=layout), limits or Limits())


def document(**fields: Any) -> bytes:
    """A status file's bytes."""
    return json.dumps({"status": "completed", "updated_at": UPDATED, **fields}).encode()


def test_every_fixture_is_read() -> None:
    """Everything that Go wrote parses, with its own texts and numbers."""
    files = sorted(FIXTURES.rglob("status.json"))
    assert len(files) > 90
    for file in files:
        raw = json.loads(file.read_bytes())
        parsed = status.parse(file.read_bytes(), "status.json")
        assert (parsed.status, parsed.updated_at.text) == (raw["status"], raw["updated_at"])
        for key in ("agent", "repo", "org", "task", "branch", "process_id", "question", "pr_url"):
            assert getattr(parsed, key) == raw.get(key, "")
        assert (parsed.issue, parsed.pid, parsed.runs) == tuple(raw.get(key, 0) for key in ("issue", "pid", "runs"))


def test_absent_and_null_fields_are_empty_as_in_go() -> None:
    """What is absent or null is "", 0 or the zero time; unknown fields are passed over."""
    for extra in ({}, dict.fromkeys(["agent", "task", "issue", "runs", "started_at"]), {"later": {"x": [1]}}):
        parsed = status.parse(document(**extra), "status.json")
        assert (parsed.agent, parsed.task, parsed.issue, parsed.runs) == ("", "", 0, 0)
        assert parsed.started_at.is_zero


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"status": ""}, "has no status"),
        ({"status": None}, "has no status"),
        ({"status": 1}, "status is not a string"),
        ({"updated_at": None}, "has no updated_at"),
        ({"updated_at": ""}, "updated_at is not an RFC 3339 time"),
        ({"updated_at": 1776165428}, "updated_at is not a string"),
        ({"started_at": "soon"}, "started_at is not an RFC 3339 time"),
        ({"task": ["x"]}, "task is not a string"),
        ({"runs": 1.5}, "runs is not an integer"),
        ({"runs": True}, "runs is not an integer"),
        ({"issue": 2**63}, "issue is out of range"),
        ({"pid": -(2**63) - 1}, "pid is out of range"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], cause: str) -> None:
    """A field of the wrong type, range or form is refused by its name."""
    with pytest.raises(Malformed) as caught:
        status.parse(document(**fields), "status.json")
    assert str(caught.value) == f"status.json: {cause}"
    assert not caught.value.transient


EARLIER, LATER = "2026-04-14T11:17:08.123456788Z", "2026-04-14T13:17:08.123456789+02:00"


@pytest.mark.parametrize(
    ("in_meta", "beside", "layout", "winner"),
    [
        (LATER, EARLIER, "auto", "meta"),
        (EARLIER, LATER, "auto", "root"),
        (LATER, "2026-04-14T11:17:08.123456789Z", "auto", "meta"),
        ("2026-04-14T11:17:08.123456789Z", LATER, "auto", "meta"),
        (EARLIER, LATER, "meta", "meta"),
        (LATER, EARLIER, "root", "root"),
        (EARLIER, None, "auto", "meta"),
        (None, EARLIER, "auto", "root"),
    ],
)
def test_the_newer_of_two_statuses_counts(
    tmp_path: Path, in_meta: str | None, beside: str | None, layout: str, winner: str
) -> None:
    """By instant, not by text; a tie goes to `.meta/`; a fixed layout sees only its own."""
    workspace = Workspace(tmp_path, "w")
    for where, updated_at in (("meta", in_meta), ("root", beside)):
        if updated_at is not None:
            workspace.write_status(where, updated_at=updated_at, task=where)
    assert read(workspace, layout).status.task == winner


@pytest.mark.parametrize(("layout", "written"), [("meta", "root"), ("root", "meta")])
def test_a_status_of_the_other_layout_is_not_there(tmp_path: Path, layout: str, written: str) -> None:
    """A root of one layout has no status where the other layout keeps it."""
    with pytest.raises(Missing):
        read(make(tmp_path, "w", written), layout)


def test_a_broken_status_beside_a_sound_one_is_a_warning(tmp_path: Path) -> None:
    """One sound status is enough; the broken one is named, and nothing may be remembered as unchanged."""
    workspace = make(tmp_path, "w")
    (workspace.path / "status.json").write_text("{")
    found = read(workspace)
    assert found.status.status == "completed"
    assert found.signature == b""
    (warning,) = found.warnings
    assert warning.startswith("status.json: is not JSON")


def test_a_status_over_the_limit_is_refused(tmp_path: Path) -> None:
    """A status of exactly the limit is read, one byte more is not."""
    workspace = make(tmp_path, "w")
    size = (workspace.meta / "status.json").stat().st_size
    assert read(workspace, limits=Limits(status_bytes=size)).status.status == "completed"
    with pytest.raises(Malformed, match="over the limit"):
        read(workspace, limits=Limits(status_bytes=size - 1))
