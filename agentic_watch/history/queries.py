"""The reading end of the history: a connection for one question, and what a user types as words to search for."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator

from agentic_watch.history import HistoryError, history_file, opening

# What FTS5's unicode61 tokenizer keeps of a word; one without it would match nothing. https://sqlite.org/fts5.html
_TOKEN = re.compile(r"[^\W_]")
_CANNOT_OPEN = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")


@contextlib.contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    """A read-only connection for one question; changes nothing, waits for nobody, needs only read permission.

    Raises HistoryError when the history is not there or cannot be read, or when a writer came while a
    history without one was read: what was read may be wrong then. HistoryRefused passes.
    """
    try:
        before = history_file.at_rest(path)
        connection = opening.open_read_only(path)
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


def _has_changed(path: str, before: history_file.AtRest) -> bool:
    try:
        return history_file.at_rest(path) != before
    except OSError:
        return True


def index_waiting(connection: sqlite3.Connection) -> None:
    """Beside the search, for this connection: `temp.waiting_search`, of the newest dispatches that it has yet to take
    in. It is in memory, and empty as a rule."""
    from agentic_watch.history import table_definitions as tables  # who searches nothing needs none of them

    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(tables.WAITING_SEARCH)
    connection.execute(tables.ADD_WAITING)


def words(text: str) -> list[str]:
    """The words of a search that can be found: those with a letter or a digit."""
    return [word for word in text.split() if _TOKEN.search(word)]


def match_expression(text: str) -> str:
    """What a user typed as an FTS5 expression in which nothing is syntax: all words, the last one as a prefix.

    There must be at least one that `words` gives.
    """
    quoted = " ".join('"' + word.replace('"', '""') + '"' for word in words(text))
    return f"{quoted} *"
