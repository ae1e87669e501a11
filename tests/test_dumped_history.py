"""A history that went through `sqlite3 OLD .dump | sqlite3 NEW`: taken for ours by its tables, or left untouched."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from older_history import OLDER
from support import FIXTURES, Host, make, run, snapshot

from agentic_watch.history.history_file import APPLICATION_ID


def without_version(history: Path) -> None:
    """Take from the header what a dump does not say."""
    with closing(sqlite3.connect(history)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA user_version = 0")
        connection.execute("PRAGMA application_id = 0")


@pytest.fixture
def loaded(host: Host) -> Host:
    """A host whose history was loaded from a dump."""
    make(host.root, "o/r/one", task="findable", report={"findings": [{"tool": "ruff", "message": "m"}]})
    host.once()
    without_version(host.history)
    return host


def test_it_is_a_history_at_once(loaded: Host) -> None:
    """It answers before anybody wrote to it, and is the same history to who writes: nothing is committed again."""
    before = [tuple(row) for row in loaded.query("SELECT * FROM dispatch_history")]
    (about,) = loaded.query("SELECT history_id FROM about")
    found = run([*loaded.arguments(), "history", "findable", "--csv"], loaded.base)
    assert (found.returncode, found.stdout.count("o/r/one")) == (0, 1)
    once = loaded.once()
    assert (once.code, once.counts) == (0, {"scanned": 1, "skipped": 1})
    assert "recognised by its tables" in once.stderr
    assert loaded.once().stderr == ""
    assert [tuple(row) for row in loaded.query("SELECT * FROM dispatch_history")] == before
    assert [tuple(row) for row in loaded.query("SELECT history_id FROM about")] == [tuple(about)]
    assert run([*loaded.arguments(), "check"], loaded.base).returncode == 0


@pytest.mark.parametrize("arguments", [["--once"], ["history"], ["check"], ["prune", "--older-than", "60w"]])
def test_one_with_other_columns_is_left_untouched(loaded: Host, arguments: list[str]) -> None:
    """78, and the way out, which works: an import into another history."""
    with closing(sqlite3.connect(loaded.history)) as connection, connection:
        connection.execute("ALTER TABLE workspaces ADD COLUMN colour TEXT")
    before = snapshot(loaded.base)
    result = run([*loaded.arguments(), *arguments], loaded.base)
    assert result.returncode == 78
    assert f"import {loaded.history}`" in result.stderr
    assert snapshot(loaded.base) == before
    other = loaded.base / "other.db"
    assert run(["--history", str(other), "import", str(loaded.history)], loaded.base).returncode == 0
    assert len(loaded.query("SELECT 1 FROM dispatch_history", history=other)) == 1


def test_one_that_says_that_it_is_ours_is_left_untouched_too(loaded: Host) -> None:
    """An earlier program wrote its application_id into such a file, before it failed."""
    with closing(sqlite3.connect(loaded.history)) as connection, connection:
        connection.execute("ALTER TABLE workspaces ADD COLUMN colour TEXT")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    before = loaded.history.read_bytes()
    assert loaded.once().code == 78
    assert loaded.history.read_bytes() == before


@pytest.mark.parametrize("version", OLDER)
def test_one_of_an_older_schema_is_left_untouched(host: Host, version: str) -> None:
    """Nothing tells which schema it was."""
    host.history.parent.mkdir()
    with closing(sqlite3.connect(host.history)) as connection:
        connection.executescript((FIXTURES / f"history-schema-{version}.sql").read_text())
    without_version(host.history)
    before = snapshot(host.base)
    assert host.once().code == 78
    assert snapshot(host.base) == before
