"""Where the rows of an answer come from: this host's history, or whatever else answers SQL.

What SQL engines say differently. Everything else that answers ask is said once, in words that all of them know.

In every question a commit is `d` and a finding is `f`. Values stand behind `?`, which no other text holds. Not used,
since one of the engines has not: JSON functions, integer division, `ORDER BY` of an ordinal, row values.
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
    """The words of one engine.

    `commits`, `findings` and `kept` (files, `k`) are tables; `kept_identity` are the columns by which a `k` names the
    commit that `identity` names. `newest` says that `d` is the newest commit of its run, `same_run` that `e`
    is of the same run, `of_commit` that `f` was found in `d`, `found` that there is an `f`; `identity` are the
    columns that `of_commit` asks for, `key` settles the order of commits of one time, `searching` says that the
    words behind its one `?` occur in `d`. `moved` says of `d` that its workspace was moved, and that {} is so of
    its name now, "" where that is not known; `of_workspace` says {} of its name when it was committed, in words that
    find an index. `of_request` says {} of a `d` that has a pull request. `joined` makes one text of a group's numbers
    that are not NULL, with commas between. `sorts_groups`: it sorts rows to group them, which takes longer than to
    count those of a month here, and CROSS JOIN keeps its order.
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
    # Beside the search what it has yet to take in (findings_and_search.index_waiting).
    searching=(
        "d.id IN (WITH asked (words) AS (VALUES (?)) "
        "SELECT s.rowid FROM asked CROSS JOIN dispatch_search AS s ON s.dispatch_search MATCH asked.words UNION ALL "
        "SELECT s.rowid FROM asked CROSS JOIN waiting_search AS s ON s.waiting_search MATCH asked.words)"
    ),
    joined="group_concat({})",
    sorts_groups=True,
    of_workspace="(d.root IN (SELECT root FROM roots) AND {})",
    # The index of those that were moved is a short one.
    moved="d.id IN (SELECT id FROM dispatch_history WHERE moved_to IS NOT NULL AND {})",
    # So is that of their requests, in which all are looked at.
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
    """Something that answers SQL in the words of its `dialect`. `?` stands for a value, whatever the engine writes."""

    @property
    def dialect(self) -> Dialect:
        """The words of this engine."""
        ...

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows, as they come."""
        ...

    def named(self, sql: str, values: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """The rows with their columns' names."""
        ...

    def search_value(self, text: str) -> str:
        """What a user typed as the value of the dialect's `searching`."""
        ...


@dataclass(frozen=True, slots=True)
class SqliteSource:
    """This host's history. Raises sqlite3.Error, which `history` turns into HistoryError."""

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
        """The words as an FTS5 expression."""
        from agentic_watch.history import findings_and_search  # who searches nothing needs none of it

        findings_and_search.index_waiting(self.connection)
        return match_expression(text)


@contextlib.contextmanager
def history(path: str) -> Iterator[Source]:
    """This host's history for one answer. Raises HistoryError and HistoryRefused as `opening.reading` does."""
    with opening.reading(path) as connection:
        yield SqliteSource(connection)


# What FTS5's unicode61 tokenizer keeps of a word; one without it would match nothing. https://sqlite.org/fts5.html
_TOKEN = re.compile(r"[^\W_]")


def search_words(text: str) -> list[str]:
    """The words of a search that can be found: those with a letter or a digit."""
    return [word for word in text.split() if _TOKEN.search(word)]


def match_expression(text: str) -> str:
    """What a user typed as an FTS5 expression in which nothing is syntax: all words, the last one as a prefix.

    There must be at least one that `search_words` gives.
    """
    quoted = " ".join('"' + word.replace('"', '""') + '"' for word in search_words(text))
    return f"{quoted} *"
