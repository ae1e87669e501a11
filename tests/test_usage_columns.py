"""What a report says of session, commit, tokens and cost: in columns of the history and in its search."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from older_history import OLDER, as_schema
from support import Host, make, query, run

from agentic_watch.history.columns import USAGE_COLUMNS, model_of, usage_values
from agentic_watch.history.store import History

USAGE = {
    "input_tokens": 1200,
    "cache_read_tokens": 90_000,
    "cache_write_tokens": 0,
    "output_tokens": 345,
    "reasoning_tokens": 20,
    "cost_usd": 0.4123456,
    "turns": 7,
    "requests": 9,
    "models": ["claude-opus-4-5[1m]", "claude-haiku"],
    "session_id": "5c6f0b7e-2f0e-4b6e-9a55-0d6f2f3c1a11",
    "agent_version": "2.1.197",
}
COMMITS = {"start": "a" * 40, "end": "bc0d6c1b8b5d9bb2c4ae3b4d3d7a38ee1f1ad7f0"}
CHANGES = {"files_changed": 2, "insertions": 3, "deletions": 1, "files": ["pkg/rounding.go", "docs/Maß.md"]}
REPORT = {"usage": USAGE, "commits": COMMITS, "changes": CHANGES}
COLUMNS = (USAGE["session_id"], COMMITS["end"], 1200, 90_000, 0, 345, 7, 412_346)
UNKNOWN = (None,) * len(USAGE_COLUMNS)
_SQL = f"SELECT {', '.join(USAGE_COLUMNS)} FROM dispatch_history ORDER BY workspace"


def columns(host: Host) -> list[tuple[Any, ...]]:
    """Those of each row."""
    return [tuple(row) for row in host.query(_SQL)]


def test_a_row_has_what_its_report_says(host: Host) -> None:
    """And NULL where it says nothing: no usage is not a usage of 0."""
    make(host.root, "acme/billing/told", agent="claude", report=REPORT)
    make(host.root, "acme/billing/untold", agent="claude:opus", report={"passed": True})
    host.once()
    assert columns(host) == [COLUMNS, UNKNOWN]
    models = [row["model"] for row in host.query("SELECT model FROM dispatch_history ORDER BY workspace")]
    assert models == ["claude-opus-4-5", "opus"]


@pytest.mark.parametrize(
    "said",
    [None, True, False, -1, -0.5, 2**63, 10**400, 1.5, float("nan"), float("inf"), 1e300, "12", "", [1], {"a": 1}],
)
def test_what_can_be_no_count_is_unknown(said: object) -> None:
    """Wrong types, huge and negative numbers, parts of a token, NaN."""
    names = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "turns")
    assert usage_values({"usage": dict.fromkeys(names, said)}) == UNKNOWN


@pytest.mark.parametrize(
    ("said", "microusd"),
    [
        *((said, None) for said in (None, True, -0.01, float("nan"), float("inf"), 1e13, 10**400, "0.4", [])),
        *((0, 0), (0.0, 0), (1, 1_000_000), (0.1 + 0.2, 300_000), (9.1234567, 9_123_457)),
    ],
)
def test_a_cost_is_in_millionths_of_a_dollar(said: object, microusd: int | None) -> None:
    """Whole ones; what can be no cost is unknown."""
    assert usage_values({"usage": {"cost_usd": said}})[-1] == microusd


@pytest.mark.parametrize(
    "report",
    [
        {"usage": [], "commits": "abc"},
        {"usage": {"session_id": 7, "models": "opus"}, "commits": {"end": ["abc"]}},
        {"usage": {"session_id": "", "models": [None, 3, ""]}, "commits": {"end": "x" * 201}},
    ],
)
def test_what_is_no_name_is_unknown(report: dict[str, Any]) -> None:
    """Of a session, a commit, a model."""
    assert usage_values(report) == UNKNOWN
    assert model_of("claude", report) == ""


def test_a_whole_float_is_a_count() -> None:
    """As other languages write their numbers."""
    assert usage_values({"usage": {"turns": 7.0}})[-2] == 7


@pytest.mark.parametrize("agent", ["claude:sonnet", "claude:sonnet:fast"])
def test_the_model_of_the_agents_name_goes_first(agent: str) -> None:
    """The dispatcher said it."""
    assert model_of(agent, REPORT) == agent.partition(":")[2]


def test_a_rebuilt_history_has_the_same_columns(host: Host) -> None:
    """Out of the journals."""
    make(host.root, "acme/billing/told", agent="claude", report=REPORT)
    host.once()
    before = [tuple(row) for row in host.query("SELECT * FROM dispatch_history")]
    for path in host.history.parent.glob(f"{host.history.name}*"):
        path.unlink()
    host.once()
    assert [tuple(row) for row in host.query("SELECT * FROM dispatch_history")] == before


@pytest.mark.parametrize("version", OLDER)
def test_an_upgrade_fills_the_columns(host: Host, version: str) -> None:
    """Of rows whose stored report says something, and finds all that is searched now."""
    make(host.root, "acme/billing/told", agent="claude", report=REPORT, issue=42, pr_url=PR)
    make(host.root, "acme/billing/untold")
    host.once()
    with contextlib.closing(sqlite3.connect(host.history)) as shell:
        shell.execute("UPDATE dispatch_history SET model = '' WHERE agent = 'claude'")
        shell.execute("UPDATE dispatch_history SET report = '{\"usage\": {' WHERE workspace = 'acme/billing/untold'")
        shell.commit()
    as_schema(host.history, version)
    host.once()
    assert columns(host) == [COLUMNS, UNKNOWN]
    assert host.query("SELECT model FROM dispatch_history ORDER BY workspace")[0]["model"] == "claude-opus-4-5"
    for word in SEARCHED:
        assert found(host, word) == ["acme/billing/told"], word
    assert run([*host.arguments(), "check"], host.base).returncode == 0


PR = "https://github.com/acme/billing/pull/1234"
SEARCHED = (
    *("#42", PR, "pull/1234", USAGE["session_id"], COMMITS["end"], COMMITS["end"][:7], "pkg/rounding.go"),
    *("docs/Maß.md", "rounding"),
)


def found(host: Host, *words: str) -> list[str]:
    """The workspaces that a search for these words lists."""
    result = run([*host.arguments(), "history", *words, "--json"], host.base)
    return [json.loads(line)["workspace"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize("word", SEARCHED)
def test_the_search_finds_issue_request_session_commit_and_files(host: Host, word: str) -> None:
    """As people write them."""
    make(host.root, "acme/billing/told", agent="claude", report=REPORT, issue=42, pr_url=PR)
    other = {"changes": {"files": ["pkg/other.go"]}}
    make(host.root, "acme/billing/other", issue=43, pr_url=f"{PR[:-1]}5", report=other)
    host.once()
    assert found(host, word) == ["acme/billing/told"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE dispatch_history SET report = NULL",
        "UPDATE dispatch_history SET report = 'no JSON' WHERE id = 1",
        "UPDATE dispatch_history SET issue = 7, pr_url = '', session_id = 'another', head_commit = NULL",
        "DELETE FROM dispatch_history WHERE id = 1",
    ],
)
def test_the_search_stays_whole_when_somebody_changes_these_by_sql(host: Host, statement: str) -> None:
    """The index agrees with the rows afterwards."""
    for name in ("one", "two"):
        make(host.root, f"acme/billing/{name}", report=REPORT, issue=42, pr_url=PR)
    host.once()
    with contextlib.closing(sqlite3.connect(host.history)) as shell:
        shell.execute(statement)
        shell.commit()
        shell.execute("INSERT INTO dispatch_search (dispatch_search, rank) VALUES ('integrity-check', 1)")


@pytest.mark.parametrize(
    "files", ["a.go", {"a": "b"}, [1, None, ["x"], {"y": 1}], 7, ["\x00\x01", '\n\\"', "a" * 5000]]
)
def test_odd_files_stop_nothing(host: Host, files: object) -> None:
    """An agent wrote them."""
    make(host.root, "acme/billing/odd", report={"changes": {"files": files}})
    assert host.once().code == 0
    with contextlib.closing(sqlite3.connect(host.history)) as shell:
        shell.execute("INSERT INTO dispatch_search (dispatch_search, rank) VALUES ('integrity-check', 1)")
        shell.execute("DELETE FROM dispatch_history")
        shell.execute("INSERT INTO dispatch_search (dispatch_search, rank) VALUES ('integrity-check', 1)")


def test_files_of_a_line_without_a_report_are_kept(host: Host, tmp_path: Path) -> None:
    """In the row, the search and what is exported."""
    workspace = make(host.root, "acme/billing/told", report={"changes": CHANGES})
    host.once()
    line = json.loads(workspace.journal.read_text("utf-8"))
    del line["report"]
    workspace.journal.write_text(json.dumps(line) + "\n", "utf-8")
    for path in host.history.parent.glob(f"{host.history.name}*"):
        path.unlink()
    host.once()
    assert found(host, "pkg/rounding.go") == ["acme/billing/told"]
    export = run([*host.arguments(), "export"], host.base).stdout
    assert json.loads(export.splitlines()[0])["changes"] == CHANGES


@pytest.mark.parametrize("foreign_keys", [0, 1])
def test_kept_files_go_with_their_row(host: Host, foreign_keys: int) -> None:
    """Whoever deletes it, with or without SQLite's own care of references."""
    for name in ("one", "two"):
        make(host.root, f"acme/billing/{name}")
    host.once()
    with contextlib.closing(sqlite3.connect(host.history)) as shell:
        shell.execute(f"PRAGMA foreign_keys = {foreign_keys}")
        for number in (1, 2):
            shell.execute("INSERT INTO kept_files VALUES (?, '.meta/agent.log', 10, 0, x'00')", (number,))
        shell.execute("DELETE FROM dispatch_history WHERE id = 1")
        shell.commit()
    assert [tuple(row) for row in query(host.history, "SELECT dispatch_id FROM kept_files")] == [(2,)]


@pytest.mark.parametrize("version", OLDER)
def test_an_older_history_is_imported_with_the_columns(host: Host, version: str) -> None:
    """As a file from elsewhere, which stays as it is."""
    make(host.root, "acme/billing/told", agent="claude", report=REPORT)
    host.once()
    before = [tuple(row) for row in host.query(ROWS)]
    as_schema(host.history, version)
    older = host.history.rename(host.base / "older.db")
    result = run([*host.arguments(), "import", str(older)], host.base)
    assert result.returncode == 0, result.stderr
    assert [tuple(row) for row in host.query(ROWS)] == before
    assert found(host, "pkg/rounding.go") == ["acme/billing/told"]


ROWS = "SELECT * FROM dispatch_history"


def test_an_archive_brings_back_what_it_took(host: Host) -> None:
    """The interchange carries the report, from which the columns are made."""
    make(host.root, "acme/billing/told", agent="claude", report=REPORT, updated_at="2026-01-01T00:00:00Z")
    host.once()
    before = [tuple(row)[1:] for row in host.query(ROWS)]
    archive = str(host.base / "archive.jsonl")
    pruned = run([*host.arguments(), "prune", "--older-than", "30d", "--archive", archive, "--yes"], host.base)
    assert (pruned.returncode, host.query(ROWS)) == (0, []), pruned.stderr
    assert run([*host.arguments(), "import", archive], host.base).returncode == 0
    assert [tuple(row)[1:] for row in host.query(ROWS)] == before


SEARCH_LOST, FINDINGS_LOST = 2**63 - 1, 2**63 - 2
"""What programs of schema 3 wrote into `upkeep.search_from`."""


@pytest.mark.parametrize("mark", [SEARCH_LOST, FINDINGS_LOST, 5], ids=["search", "findings", "some"])
def test_an_upgrade_of_what_was_being_mended(host: Host, mark: int) -> None:
    """A damaged search does not hold it up, and is made anew afterwards, with the findings where these were lost."""
    finding = {"tool": "gosec", "code": "G304"}
    for number in range(6):
        make(host.root, f"acme/billing/{number}", report={**REPORT, "findings": [finding]})
    host.once()
    as_schema(host.history, "3-late")
    with contextlib.closing(sqlite3.connect(host.history)) as shell:
        shell.execute("UPDATE upkeep SET search_from = ?", (mark,))
        shell.execute("DELETE FROM dispatch_search_data")
        shell.execute("DELETE FROM dispatch_search_config")
        shell.commit()
    with contextlib.closing(History(str(host.history))) as history:
        history.open()
        history.catch_up(math.inf)
    for word in ("G304", "pkg/rounding.go"):
        assert len(found(host, word, "-n", "0")) == 6
    if mark != FINDINGS_LOST:  # whose pages stay in the file, unused
        assert run([*host.arguments(), "check"], host.base).returncode == 0
