"""Sources of rows for answers (this host's history, or another SQL engine) and the SQL that differs between engines.

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
    """SQL fragments of one engine.

    Tables: `commits`, `findings`, `kept` (files, `k`). Columns: `identity` identifies a commit, `kept_identity` are the
    matching columns of `k`, `key` orders commits of equal time. Conditions: `newest` (`d` is the newest commit of its
    run), `same_run` (`e` is of the same run), `of_commit` (`f` was found in `d`, using the columns of `identity`),
    `found` (an `f` exists), `searching` (the words for its one `?` occur in `d`), `moved` (the workspace of `d` was
    moved and {} holds for its current name; "" where that is unknown), `of_workspace` ({} holds for its name at the
    commit, in a form that can use an index), `of_request` ({} holds for a `d` with a pull request). `joined`
    concatenates a group's non-NULL numbers with commas. `sorts_groups`: the engine sorts rows to group them, which
    takes longer than counting a month's rows here, and its CROSS JOIN keeps the order.
    """

    commits: str
    findings: str
    newest: str
    same_run: str
    of_commit: str
    found: str
    identity: str
    key: str
    searching: str
    joined: str
    kept: str = "kept_files"
    kept_identity: str = "k.dispatch_id"
    moved: str = ""
    of_workspace: str = "{}"
    sorts_groups: bool = False
    of_request: str = "{}"


_SAME_RUN = "newer.root = d.root AND newer.workspace = d.workspace AND newer.runs = d.runs"
_NEWER = f"{_SAME_RUN} AND newer.updated_utc > d.updated_utc"

SQLITE = Dialect(
    commits="dispatch_history",
    findings="findings",
    newest=(
        f"NOT EXISTS (SELECT 1 FROM dispatch_history AS newer WHERE {_NEWER} AND newer.started_utc IS d.started_utc)"
    ),
    same_run="d.root = e.root AND d.workspace = e.workspace AND d.runs = e.runs AND d.started_utc IS e.started_utc",
    of_commit="f.dispatch_id = d.id",
    found="f.dispatch_id IS NOT NULL",
    identity="d.id",
    key="d.id",
    # The search index, and the dispatches that wait for it (findings_and_search.index_waiting).
    searching=(
        "d.id IN (WITH asked (words) AS (VALUES (?)) "
        "SELECT s.rowid FROM asked CROSS JOIN dispatch_search AS s ON s.dispatch_search MATCH asked.words UNION ALL "
        "SELECT s.rowid FROM asked CROSS JOIN waiting_search AS s ON s.waiting_search MATCH asked.words)"
    ),
    joined="group_concat({})",
    sorts_groups=True,
    of_workspace="(d.root IN (SELECT root FROM roots) AND {})",
    # The index of moved workspaces is small.
    moved="d.id IN (SELECT id FROM dispatch_history WHERE moved_to IS NOT NULL AND {})",
    # So is the index of pull requests, which is scanned.
    of_request="d.id IN (SELECT d.id FROM dispatch_history AS d WHERE d.pr_url <> '' AND {})",
)

POSTGRES = Dialect(
    commits="dispatches",
    findings="findings",
    newest=(
        "NOT EXISTS (SELECT 1 FROM dispatches AS newer "
        f"WHERE newer.host_id = d.host_id AND {_NEWER} AND newer.started_utc IS NOT DISTINCT FROM d.started_utc)"
    ),
    same_run=(
        "d.host_id = e.host_id AND d.root = e.root AND d.workspace = e.workspace AND d.runs = e.runs "
        "AND d.started_utc IS NOT DISTINCT FROM e.started_utc"
    ),
    of_commit="f.host_id = d.host_id AND f.commit_id = d.commit_id",
    found="f.commit_id IS NOT NULL",
    identity="d.host_id, d.commit_id",
    key="d.commit_id",
    searching="lower(d.workspace || ' ' || d.agent || ' ' || d.branch || ' ' || d.task || ' ' || d.question) LIKE ?",
    joined="string_agg(CAST({} AS text), ',')",
    kept_identity="k.host_id, k.commit_id",
)
"""PostgreSQL, CockroachDB, YugabyteDB and Citus."""


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
