"""Sources of rows for answers (this host's history, or another SQL engine) and the SQL that differs between engines;
that of PostgreSQL is in `fleet_source`.

All other SQL of answers is shared. In every query a commit is `d` and a finding is `f`. Values are passed for `?`,
which occurs nowhere else. Features missing in one of the engines are not used: JSON functions, integer division, `ORDER
BY` of an ordinal, row values.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from agentic_watch.history import opening


class Dialect(NamedTuple):
    """SQL fragments of one engine, in the order of a query: what it selects from, how rows belong together, and the
    conditions of filters, where `{}` stands for a condition or an expression."""

    commits: str
    """The table of commits."""
    identity: str
    """The columns of `d` that identify a commit."""
    key: str
    """The order of commits of equal time."""
    of_commit: str
    """The finding `f` was found in `d`, given its `identity`."""
    found: str
    """In a LEFT JOIN: there is an `f`."""
    kept_identity: str
    """The columns of `kept_files AS k` that match `identity`."""
    same_run: str
    """`e` is a commit of the same run as `d`."""
    newest: str
    """`d` is the newest commit of its run."""
    searching: str
    """The words for the one `?` occur in `d`."""
    joined: str
    """The non-NULL numbers {} of a group, with commas."""
    of_workspace: str = "{}"
    """{} holds for the name of `d` at its commit, in a form that can use an index."""
    moved: str = ""
    """`d` was moved, and {} holds for its name now; "" where that is unknown."""
    of_request: str = "{}"
    """{} holds for the pull request of `d`."""
    sorts_groups: bool = False
    """Rows are sorted to be grouped, which takes longer than counting a month's rows here; CROSS JOIN keeps the
    order."""


SAME_RUN = "d.root = e.root AND d.workspace = e.workspace AND d.runs = e.runs"
_SAME_RUN = f"{SAME_RUN} AND d.started_utc IS e.started_utc"

SQLITE = Dialect(
    commits="dispatch_history",
    identity="d.id",
    key="d.id",
    of_commit="f.dispatch_id = d.id",
    found="f.dispatch_id IS NOT NULL",
    kept_identity="k.dispatch_id",
    same_run=_SAME_RUN,
    newest=f"NOT EXISTS (SELECT 1 FROM dispatch_history AS e WHERE {_SAME_RUN} AND e.updated_utc > d.updated_utc)",
    # The search index, and the dispatches that wait for it (findings_and_search.index_waiting).
    searching=(
        "d.id IN (WITH asked (words) AS (VALUES (?)) "
        "SELECT s.rowid FROM asked CROSS JOIN dispatch_search AS s ON s.dispatch_search MATCH asked.words UNION ALL "
        "SELECT s.rowid FROM asked CROSS JOIN waiting_search AS s ON s.waiting_search MATCH asked.words)"
    ),
    joined="group_concat({})",
    of_workspace="(d.root IN (SELECT root FROM roots) AND {})",
    # The index of moved workspaces is small.
    moved="d.id IN (SELECT id FROM dispatch_history WHERE moved_to IS NOT NULL AND {})",
    # So is the index of pull requests, which is scanned.
    of_request="d.id IN (SELECT d.id FROM dispatch_history AS d WHERE d.pr_url <> '' AND {})",
    sorts_groups=True,
)


class Source(Protocol):
    """A source that runs SQL of its `dialect`. `?` is the placeholder for every engine."""

    @property
    def dialect(self) -> Dialect:
        """The SQL fragments of this engine."""
        ...

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows, as they come."""
        ...

    def named(self, sql: str, values: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """The rows with their columns' names."""
        ...

    def search_value(self, text: str) -> str:
        """Convert a user's search to the value for the dialect's `searching`."""
        ...


@dataclass(frozen=True, slots=True)
class SqliteSource:
    """This host's history. Raises sqlite3.Error, which `history` converts to HistoryError."""

    connection: sqlite3.Connection
    dialect: Dialect = SQLITE

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows, as they come."""
        return iter(self.connection.execute(sql, values))

    def named(self, sql: str, values: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """The rows with their columns' names."""
        cursor = self.connection.execute(sql, values)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def search_value(self, text: str) -> str:
        """The search as an FTS5 expression."""
        from agentic_watch.history import findings_and_search  # late: only searches need it

        findings_and_search.index_waiting(self.connection)
        return match_expression(text)


@contextlib.contextmanager
def history(path: str) -> Iterator[Source]:
    """Open this host's history for one answer. Raises HistoryError and HistoryRefused like `opening.reading`."""
    with opening.reading(path) as connection:
        yield SqliteSource(connection)


# Characters that FTS5's unicode61 tokenizer keeps; a word without any matches nothing. https://sqlite.org/fts5.html
_TOKEN = re.compile(r"[^\W_]")


def search_words(text: str) -> list[str]:
    """The words of a search that have a letter or a digit."""
    return [word for word in text.split() if _TOKEN.search(word)]


def match_expression(text: str) -> str:
    """A user's search as an FTS5 expression without special syntax: all words, the last one as a prefix.

    `search_words` must return at least one word.
    """
    quoted = " ".join('"' + word.replace('"', '""') + '"' for word in search_words(text))
    return f"{quoted} *"
