"""Can the history be written? Asked every few seconds, so that an error shows, and ends, while nothing is committed."""

from __future__ import annotations

from agentic_watch.daemon.health import Health
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History

_EVERY_SECONDS = 5.0
_LOCKED = "database is locked"
"""Somebody else writes, which is no error unless a commit meets it (SQLite's SQLITE_BUSY)."""


class HistoryProbe:
    """Used from the loop's thread. Times are passed in."""

    def __init__(self, history: History, health: Health) -> None:
        self._history = history
        self._health = health
        self._next = 0.0

    def ask(self, now: float) -> bool:
        """Take the write lock, and when an error stands write a page too; whether the history works again."""
        if now < self._next:
            return False
        self._next = now + _EVERY_SECONDS
        before = self._health.history_error
        try:
            self._history.open()  # which puts a new one in the place of a corrupt one
            with self._history.transaction(durable=False) as connection:
                if before:  # after a full disk only a write tells
                    (version,) = connection.execute("PRAGMA user_version").fetchone()
                    connection.execute(f"PRAGMA user_version = {version}")
        except HistoryError as error:
            if before or _LOCKED not in str(error):
                self._health.history(str(error))
            return False
        return self._health.history("")
