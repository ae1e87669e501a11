"""The record: its journal line key by key as Go writes it, read back the same, and its row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import FIXTURES, JOURNAL_KEYS, UPDATED, Workspace, workspaces

from agentic_watch.history import rows
from agentic_watch.history.columns import HISTORY_COLUMNS
from agentic_watch.workspace import record, status
from agentic_watch.workspace.instant import parse
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.workspace_errors import Malformed

COMMITTED = "2026-04-14T11:17:09Z"
NOTHING_ELSE = set(JOURNAL_KEYS)


def made(report: dict[str, Any] | None = None, **fields: Any) -> Record:
    """A record of a status with these fields."""
    data = json.dumps({"status": "completed", "updated_at": UPDATED, **fields}).encode()
    return record.from_status("org/repo/task", status.parse(data, "status.json"), report or {}, COMMITTED)


def row(made_record: Record) -> dict[str, Any]:
    """The record's history row by column."""
    return dict(zip(HISTORY_COLUMNS, rows.from_record(made_record, "/root", "host").values, strict=True))


THEIRS = [w for w in workspaces(FIXTURES / "committed") if w.journal.exists()]


@pytest.mark.parametrize("workspace", THEIRS, ids=lambda workspace: workspace.name)
def test_a_line_of_the_original_is_read_and_written_again(workspace: Workspace) -> None:
    """Go's line, read and written by us, holds the same keys in the same order with the same values."""
    theirs = workspace.journal.read_bytes()
    ours = record.from_line(theirs).line()
    assert json.loads(ours, object_pairs_hook=list) == json.loads(theirs, object_pairs_hook=list)
    # Go escapes <, > and & in JSON text and we do not; nothing else may differ.
    for raw, escaped in ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")):
        ours = ours.replace(raw, escaped)
    assert ours == theirs


def test_a_line_has_all_its_keys_sorted_without_spaces() -> None:
    """Absent values are "" or 0, the keys are there all the same; UTF-8 as it is, one newline at the end."""
    line = made(task='Ü <b>\n"x"').line()
    assert list(json.loads(line)) == JOURNAL_KEYS
    assert line.endswith(b'"}\n')
    assert line.count(b"\n") == 1
    assert line == (json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":")) + "\n").encode()
    empty = {key: value for key, value in json.loads(line).items() if value in ("", 0)}
    assert empty == dict.fromkeys(("agent", "branch", "org", "pr_url", "process_id", "question", "repo"), "") | {
        "issue": 0,
        "runs": 0,
    }


def test_times_are_kept_as_text() -> None:
    """updated_at keeps its offset and digits; an absent started_at is Go's zero time."""
    document = json.loads(made(updated_at="2026-04-14T11:17:08.100+02:00").line())
    assert document["updated_at"] == "2026-04-14T11:17:08.100+02:00"
    assert document["started_at"] == "0001-01-01T00:00:00Z"
    assert document["committed_at"] == COMMITTED


@pytest.mark.parametrize(
    ("report", "keys"),
    [
        ({}, set()),
        ({"passed": True}, {"report"}),
        ({"findings": [], "changes": {}}, {"report"}),
        ({"findings": [{"file": "x"}]}, {"report", "findings"}),
        ({"findings": [{"file": "x"}, 1]}, {"report"}),
        ({"findings": {"file": "x"}}, {"report"}),
        ({"changes": {"insertions": 1}}, {"report", "changes"}),
        ({"changes": [1]}, {"report"}),
    ],
)
def test_findings_and_changes_only_when_of_their_type(report: dict[str, Any], keys: set[str]) -> None:
    """report, findings and changes are keys of the line only when not empty and of the right type."""
    document = json.loads(made(report).line())
    assert document.keys() - NOTHING_ELSE == keys
    assert document.keys() >= NOTHING_ELSE
    assert document.get("report", {}) == report


def test_what_is_written_is_read_back() -> None:
    """A line of ours gives the same record again, whatever is in its texts."""
    report = {
        "findings": [{"message": "a\u2028b\x00\x1f", "line": 3}],
        "changes": {"deletions": 1},
        "deep": [[1.5e300]],
    }
    ours = made(report, task='"\\\n\u2028\U0001f600', agent="codex:gpt-5.4", issue=-(2**63), runs=2**63 - 1)
    assert record.from_line(ours.line()) == ours


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"null", b"[]", b"{}", b'{"updated_at":"2026-04-14T11:17:08Z"}', b'{"committed_at":"x"}', b"\xff"],
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    """A line without a whole record says what it lacks."""
    with pytest.raises(Malformed, match=r"journal\.jsonl: "):
        record.from_line(line)


@pytest.mark.parametrize(
    ("started_at", "utc", "duration"),
    [
        (None, None, None),
        ("0001-01-01T00:00:00Z", None, None),
        ("2026-04-14T09:17:07Z", "2026-04-14T09:17:07.000000000Z", 1123),
        ("2026-04-14T11:17:08.123456789+02:00", "2026-04-14T09:17:08.123456789Z", 0),
        ("2026-04-14T09:17:08.123456790Z", "2026-04-14T09:17:08.123456790Z", None),
        ("2026-04-14T10:17:08Z", "2026-04-14T10:17:08.000000000Z", None),
    ],
)
def test_start_and_duration(started_at: str | None, utc: str | None, duration: int | None) -> None:
    """An unset start is NULL, and so is a duration that is unknown or negative, by a nanosecond too."""
    columns = row(made(started_at=started_at) if started_at else made())
    assert (columns["started_utc"], columns["duration_ms"]) == (utc, duration)
    assert columns["started_at"] == (started_at or "0001-01-01T00:00:00Z")


def test_a_zero_updated_at_is_stored_as_it_is() -> None:
    """Go's zero time as updated_at is an identity like any other."""
    ours = made(updated_at="0001-01-01T00:00:00Z", runs=1)
    assert ours.identity == (parse("0001-01-01T00:00:00Z").ns, 1)
    assert row(ours)["updated_utc"] == "0001-01-01T00:00:00.000000000Z"


@pytest.mark.parametrize(("agent", "model"), [("codex", ""), ("codex:gpt-5.4", "gpt-5.4"), ("a:b:c", "b:c"), ("", "")])
def test_the_model_follows_the_first_colon(agent: str, model: str) -> None:
    """The model is what stands after the agent's first colon."""
    assert row(made(agent=agent))["model"] == model


def test_the_reports_values_become_columns_only_when_they_fit() -> None:
    """Flags and counts of the right type are stored, anything else is NULL and stays in the report's JSON."""
    good = {"passed": True, "build_passed": False, "changes": {"files_changed": 2, "insertions": 3.0, "deletions": 0}}
    columns = row(made(good))
    assert [columns[key] for key in ("passed", "build_passed", "test_passed", "lint_passed")] == [1, 0, None, None]
    assert [columns[key] for key in ("files_changed", "insertions", "deletions")] == [2, 3, 0]
    bad = {
        "passed": "yes",
        "build_passed": 1,
        "changes": {"files_changed": "2", "insertions": 2**63, "deletions": True},
    }
    columns = row(made(bad))
    assert {columns[key] for key in ("passed", "build_passed", "files_changed", "insertions", "deletions")} == {None}
    assert json.loads(columns["report"]) == bad
    assert row(made())["report"] is None
