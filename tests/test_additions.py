"""A history that version 0.2.0 made of today's schema: it gets today's indexes, triggers and derived tables."""

import contextlib
import math
import sqlite3
from pathlib import Path

import generated
import pytest
from older_history import as_first_of_schema_3

from agentic_watch.answers import dialect, source
from agentic_watch.answers.filters import Wanted
from agentic_watch.answers.findings import recurring
from agentic_watch.answers.stats import stats
from agentic_watch.answers.stats_cells import Question
from agentic_watch.history.store import History

COMMITS = generated.past(200)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Such a history, full of commits."""
    path = tmp_path / "history.db"
    generated.fill(path, COMMITS)
    as_first_of_schema_3(path)
    return path


def made(path: Path) -> set[tuple[str, str]]:
    """Every table, index and trigger that there is, the last with what they do."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {
            (name, sql if sql.startswith("CREATE TRIGGER") else "")
            for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        }


def answers(path: Path) -> tuple[object, ...]:
    """Some that use what is derived where it is there."""
    with source.history(str(path)) as asked:
        found = stats(asked, Question(Wanted(), "repo"))
        return found.total, [one.document("rule") for one in recurring(asked, Wanted(), "rule")]


def test_it_gets_them_when_it_is_opened_to_be_written(old: Path, tmp_path: Path) -> None:
    """Once, with a line that says so, in place and without a copy; its dispatches stay, and answers use them then."""
    fresh = tmp_path / "fresh" / "history.db"
    generated.fill(fresh, COMMITS)
    truth = answers(fresh)
    assert made(old) != made(fresh)
    assert answers(old) == truth, "whoever only reads finds none of them"
    with contextlib.closing(History(str(old))) as history:
        history.open()
        (notice,) = history.notices
        assert "got its new indexes" in notice
        assert made(old) == made(fresh)
        history.mend(math.inf)
    with source.history(str(old)) as asked:
        assert asked.dialect is dialect.SQLITE_JUDGED
    assert answers(old) == truth
    with contextlib.closing(History(str(old))) as again:
        again.open()
        assert again.notices == []
    assert not list(old.parent.glob("*.backup-*"))


def test_what_an_operator_made_stays(old: Path) -> None:
    """An index of his own is none of ours."""
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.execute("CREATE INDEX mine ON dispatch_history (branch)")
    with contextlib.closing(History(str(old))) as history:
        history.open()
    assert "mine" in {name for name, _ in made(old)}
