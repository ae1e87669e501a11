"""Is the history well, and still the same? Asked every few seconds, so that an error shows, and ends, while nothing is
committed; and said once, however often it is met."""

from __future__ import annotations

import logging

from agentic_watch.daemon.health import Health
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History
from agentic_watch.inventory.last_seen import LastSeen

log = logging.getLogger("agentic_watch.daemon")

_EVERY_SECONDS = 5.0
_LOCKED = "database is locked"
"""Somebody else writes, which is no error unless a commit meets it (SQLite's SQLITE_BUSY)."""


class HistoryProbe:
    """Used from the loop's thread. Times are passed in."""

    def __init__(self, history: History, last_seen: LastSeen, health: Health) -> None:
        self._history = history
        self._last_seen = last_seen
        self._health = health
        self._next = 0.0
        self._said: set[str] = set()
        self._another = False

    def turned(self, now: float) -> bool:
        """Look after the history; whether it is back, or another, so that all must be looked at anew."""
        back = now >= self._next and self._ask(now)
        if self._take_notices():
            self._another = True
            back |= self._ask(now)
        if self._health.history_error:
            return False
        another, self._another = self._another, False
        self._said.clear()
        return back or another

    def _take_notices(self) -> bool:
        """Say what is new of what the history noticed; a file that is replaced by a bad one is noticed at each try."""
        notices = list(dict.fromkeys(self._history.notices))
        self._history.notices.clear()
        for notice in notices:
            if notice not in self._said:
                log.error("%s", notice)
                self._said.add(notice)
        if notices:
            self._last_seen.distrust()
        return bool(notices)

    def _ask(self, now: float) -> bool:
        """Take the write lock, and when an error stands write a page too; whether the history works again."""
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
