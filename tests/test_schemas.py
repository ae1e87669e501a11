"""The schemas that ship with the package say what the program itself reads and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from dispatch_support import dispatch, only_report, only_status
from support import FIXTURES, Host

from agentic_watch.dispatch.status_writer import Kind, path_of, text_of
from agentic_watch.workspace import status
from agentic_watch.workspace.workspace_errors import Malformed


def validator(kind: Kind) -> jsonschema.Draft202012Validator:
    schema = json.loads(text_of(kind))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_what_the_original_wrote_is_valid() -> None:
    """Every status and report of the original's encoder passes."""
    found = [*FIXTURES.rglob("status.json"), *FIXTURES.rglob("report.json")]
    assert len(found) > 100
    for path in found:
        kind: Kind = "status" if path.name == "status.json" else "report"
        validator(kind).validate(json.loads(path.read_bytes()))


def test_what_dispatch_writes_is_valid(host: Host) -> None:
    """Status and report of a command that failed, with findings of its own."""
    script = "printf '<testsuite><testcase name=\"t\"><failure/></testcase></testsuite>' > j.xml; exit 1"
    dispatch(host, "--report", "j.xml", "--", "sh", "-c", script)
    validator("status").validate(only_status(host))
    validator("report").validate(only_report(host))
    assert len(only_report(host)["findings"]) == 1


GOOD = {"status": "completed", "updated_at": "2026-04-14T11:17:08.123456789+02:00"}


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"agent": None, "runs": None, "started_at": None, "unknown": [1]}, True),
        ({"updated_at": "0001-01-01T00:00:00Z"}, True),
        ({"status": ""}, False),
        ({"status": 1}, False),
        ({"updated_at": None}, False),
        ({"updated_at": "2026-04-14 11:17:08Z"}, False),
        ({"updated_at": "2026-04-14T11:17:08"}, False),
        ({"updated_at": "2026-04-14T11:17:60Z"}, False),
        ({"updated_at": "2026-04-14T11:17:08.1234567890Z"}, False),
        ({"updated_at": 1}, False),
        ({"runs": "1"}, False),
        ({"runs": 1.5}, False),
        ({"runs": True}, False),
        ({"runs": 2**63}, False),
        ({"issue": {}}, False),
        ({"agent": ["claude"]}, False),
        ({"question": 1}, False),
    ],
)
def test_schema_and_reader_agree_on_a_status(change: dict[str, Any], valid: bool) -> None:
    """What the schema calls wrong the daemon refuses, and the other way round."""
    document = GOOD | change
    assert validator("status").is_valid(document) is valid
    try:
        status.parse(json.dumps(document).encode(), "status.json")
    except Malformed:
        assert not valid
    else:
        assert valid


@pytest.mark.parametrize("kind", ["status", "report"])
def test_a_dispatchers_author_gets_the_schema_from_the_command(host: Host, kind: Kind) -> None:
    """`dispatch schema` prints the file that is shipped."""
    assert dispatch(host, "schema", kind).stdout == Path(path_of(kind)).read_text("utf-8")
