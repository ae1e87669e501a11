"""Makes a consistent, compact copy of the history while the daemon runs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from agentic_watch import counted
from agentic_watch.exchange import ExchangeError
from agentic_watch.history import HistoryNotOurs, history_file, opening, pruned
from agentic_watch.host.new_file import new_path

_STEPS_BETWEEN_WORDS = 100_000
"""Instructions of SQLite's virtual machine, which take a few milliseconds."""
_FIRST_WITH_ID = 3
"""The first schema with a history id; copies from before an upgrade lack it."""
_OF_TARGET = ("SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE")
"""Errors that only the written file can cause."""

# Pruned commits are in an archive: a copy that still has them is an older copy.
_LACKING = f"""
SELECT count(*) FROM there.dispatch_history AS old
WHERE NOT EXISTS (
    SELECT 1 FROM main.dispatch_history AS new WHERE new.root = old.root AND new.workspace = old.workspace
      AND new.updated_utc = old.updated_utc AND new.runs = old.runs
) AND NOT {pruned.older("old", "(SELECT ifnull(pruned_before, '') FROM main.about)")}"""


@dataclass(frozen=True, slots=True)
class Copied:
    """Absolute path, size and number of commits of the copy."""

    path: str
    bytes: int
    commits: int


def back_up(history: str, path: str, on_progress: Callable[[int, int], None]) -> Copied:
    """Copy the history to `path`, replacing an older copy. `on_progress` is called with (bytes so far, approximate
    total).

    A snapshot: commits made meanwhile are not included. Raises HistoryError, HistoryRefused, ExchangeError.
    """
    path = os.path.realpath(path)  # a symbolic link stays: what it names is the copy to replace
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise ExchangeError(f"{directory}: is not a directory; create it, or name another file")
    try:
        with opening.reading(history) as connection:
            _refuse_target(connection, history, path)
            with new_path(path) as temporary:
                (commits,) = connection.execute("SELECT count(*) FROM dispatch_history").fetchone()
                connection.set_progress_handler(lambda: _tell(on_progress, temporary, history), _STEPS_BETWEEN_WORDS)
                _vacuum_into(connection, temporary, path)
    except OSError as error:
        raise ExchangeError(f"{path}: cannot be written: {error.strerror}") from error
    return Copied(path, os.path.getsize(path), commits)


def _vacuum_into(connection: sqlite3.Connection, temporary: str, path: str) -> None:
    try:
        connection.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(temporary),))  # the name may not be UTF-8
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith(_OF_TARGET):
            raise ExchangeError(f"{path}: cannot be written: {error}") from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _refuse_target(connection: sqlite3.Connection, history: str, path: str) -> None:
    """Raise ExchangeError unless `path` does not exist or is an older copy of this history. Changes nothing."""
    if os.path.exists(path) and os.path.samefile(path, history):
        raise ExchangeError(f"{path}: is the history itself; name another file")
    try:
        is_there = history_file.refuse_foreign(path)
    except HistoryNotOurs as error:
        raise ExchangeError(f"{path}: exists and is not an older copy of this history; name another file") from error
    if not is_there:
        return
    if history_file.at_rest(path) is None:
        raise ExchangeError(f"{path}: is in use ({path}-wal lies beside it); name another file")
    try:
        connection.execute("ATTACH CAST(? AS TEXT) AS there", (os.fsencode(history_file.untouched_uri(path)),))
        try:
            _refuse_other(connection, history, path)
        finally:
            connection.execute("DETACH there")
    except sqlite3.Error as error:
        text = f"{path}: cannot be compared with {history} ({error}); name another file, or move it away"
        raise ExchangeError(text) from error


def _refuse_other(connection: sqlite3.Connection, history: str, path: str) -> None:
    """Raise ExchangeError when the existing file is no older copy, or when that is unknown."""
    (version,) = connection.execute("PRAGMA there.user_version").fetchone()
    if not _FIRST_WITH_ID <= version <= history_file.VERSION:
        text = f"{path}: has schema version {version}, so it is unknown whose copy it is; name another file"
        raise ExchangeError(f"{text}, or move it away")
    ids = {name: connection.execute(f"SELECT history_id FROM {name}.about").fetchone() for name in ("main", "there")}
    if ids["main"] != ids["there"]:
        (count,) = connection.execute("SELECT count(*) FROM there.dispatch_history").fetchone()
        raise ExchangeError(
            f"{path}: is another history ({counted(count, 'commit')}), no older copy of {history}; name another file"
        )
    (lacking,) = connection.execute(_LACKING).fetchone()
    if lacking:
        raise ExchangeError(
            f"{path}: holds {counted(lacking, 'commit')} that {history} lacks; import them with `agentic-watch import "
            f"{path}`, or name another file"
        )


def _tell(on_progress: Callable[[int, int], None], temporary: str, history: str) -> None:
    try:
        on_progress(os.path.getsize(temporary), os.path.getsize(history))
    except FileNotFoundError:
        return
