"""The reading end of the history: which dispatches, newest first, as a query that an index answers."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agentic_watch.history import schema
from agentic_watch.history.history_errors import HistoryError

# What FTS5's unicode61 tokenizer keeps of a word; one without it would match nothing. https://sqlite.org/fts5.html
_TOKEN = re.compile(r"[^\W_]")
_CANNOT_OPEN = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")
_EQUAL = ("repo", "org", "status", "workspace")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dispatches; "" and 0 do not filter.

    `search` holds words that all occur in task, question or findings, the last one perhaps only begun.
    `agent` is a base or base:model. `since` (inclusive) and `until` (exclusive) are as `updated_utc` is
    written. `every` asks for every commit of a dispatch, else its newest. `limit` counts rows.
    """

    search: str = ""
    repo: str = ""
    org: str = ""
    agent: str = ""
    status: str = ""
    workspace: str = ""
    since: str = ""
    until: str = ""
    every: bool = False
    limit: int = 0


@contextlib.contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    """A read-only connection for one question; changes nothing, waits for nobody, needs only read permission.

    Raises HistoryError when the history is not there or cannot be read, or when a writer came while a
    history without one was read: what was read may be wrong then. HistoryTooNew passes.
    """
    try:
        before = schema.at_rest(path)
        connection = schema.open_read_only(path)
    except FileNotFoundError as error:
        raise HistoryError(f"no history at {path} yet; run agentic-watch --once to make it") from error
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise _failed(path, error) from error
    with contextlib.closing(connection):
        try:
            yield connection
        except sqlite3.Error as error:
            if before is None or not _has_changed(path, before):
                raise _failed(path, error) from error
    if before is not None and _has_changed(path, before):
        raise HistoryError(f"{path}: was written to while it was read; ask again")


def _failed(path: str, error: sqlite3.Error) -> HistoryError:
    if getattr(error, "sqlite_errorname", "").startswith(_CANNOT_OPEN):
        return HistoryError(
            f"{path}: {error}; this user needs to read it and the -wal and -shm files beside it "
            "(when no daemon runs and one of the two is missing: run agentic-watch --once as their owner)"
        )
    return HistoryError(f"{path}: {error}")


def _has_changed(path: str, before: schema.AtRest) -> bool:
    try:
        return schema.at_rest(path) != before
    except OSError:
        return True


def dispatches(
    connection: sqlite3.Connection, wanted: Wanted, columns: Sequence[str] = ("*",)
) -> Iterator[dict[str, Any]]:
    """Columns of the wanted rows of `dispatch_history`, newest `updated_utc` first. Raises sqlite3.Error."""
    sql, values = statement(wanted, columns)
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description]
    for row in cursor:
        yield dict(zip(names, row, strict=True))


def statement(wanted: Wanted, columns: Sequence[str] = ("*",)) -> tuple[str, list[Any]]:
    """The query and its values. Pure."""
    terms = [(f"{name} = ?", [getattr(wanted, name)]) for name in _EQUAL if getattr(wanted, name)]
    if wanted.agent:
        terms.append(("(agent = ? OR substr(agent, 1, ?) = ?)", _agent(wanted.agent)))
    if wanted.since:
        terms.append(("updated_utc >= ?", [wanted.since]))
    if wanted.until:
        terms.append(("updated_utc < ?", [wanted.until]))
    if wanted.search:
        matching = "SELECT rowid FROM dispatch_search WHERE dispatch_search MATCH ?"
        terms.append((f"id IN ({matching})", [match_expression(wanted.search)]))
    where = f" WHERE {' AND '.join(term for term, _ in terms)}" if terms else ""
    table = "dispatch_history" if wanted.every else "dispatches"
    sql = f"SELECT {', '.join(columns)} FROM {table}{where} ORDER BY updated_utc DESC, id DESC LIMIT ?"
    return sql, [value for _, values in terms for value in values] + [wanted.limit or -1]


def _agent(agent: str) -> list[Any]:
    base = f"{agent}:"
    return [agent, len(base), base]


def words(text: str) -> list[str]:
    """The words of a search that can be found: those with a letter or a digit."""
    return [word for word in text.split() if _TOKEN.search(word)]


def match_expression(text: str) -> str:
    """What a user typed as an FTS5 expression in which nothing is syntax: all words, the last one as a prefix.

    There must be at least one that `words` gives.
    """
    quoted = " ".join('"' + word.replace('"', '""') + '"' for word in words(text))
    return f"{quoted} *"
