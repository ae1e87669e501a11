"""A copy of the history, whole and compact, made while the daemon goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from agentic_watch.exchange.exchange_errors import ExchangeError
from agentic_watch.exchange.new_file import new_path
from agentic_watch.history import ownership, queries
from agentic_watch.history.history_errors import HistoryNotOurs

_STEPS_BETWEEN_WORDS = 100_000
"""Of SQLite's machine: some milliseconds."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Where the copy is, absolute, how many bytes it has, and how many commits."""

    path: str
    bytes: int
    commits: int


def back_up(history: str, path: str, on_progress: Callable[[int, int], None]) -> Copied:
    """Copy the history to `path`, in place of an older copy there. `on_progress` hears (bytes so far, of about).

    One snapshot: what is committed meanwhile is not in it. Raises HistoryError, HistoryRefused, ExchangeError.
    """
    path = os.path.abspath(path)
    _refuse_target(history, path)
    try:
        with queries.reading(history) as connection, new_path(path) as temporary:
            (commits,) = connection.execute("SELECT count(*) FROM dispatch_history").fetchone()
            connection.set_progress_handler(lambda: _tell(on_progress, temporary, history), _STEPS_BETWEEN_WORDS)
            connection.execute("VACUUM INTO ?", (temporary,))
            connection.set_progress_handler(None, 0)
    except OSError as error:
        raise ExchangeError(f"{error.filename or path}: cannot be written: {error.strerror}") from error
    return Copied(path, os.path.getsize(path), commits)


def _refuse_target(history: str, path: str) -> None:
    if os.path.realpath(path) == os.path.realpath(history):
        raise ExchangeError(f"{path}: is the history itself; name another file")
    try:
        ownership.refuse_foreign(path)
    except HistoryNotOurs as error:
        raise ExchangeError(f"{path}: is there, and no older copy of a history; name another file") from error
    except OSError as error:
        raise ExchangeError(f"{path}: {error.strerror}") from error


def _tell(on_progress: Callable[[int, int], None], temporary: str, history: str) -> None:
    try:
        on_progress(os.path.getsize(temporary), os.path.getsize(history))
    except FileNotFoundError:
        return
