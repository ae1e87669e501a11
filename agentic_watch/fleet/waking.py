"""When is there something to send? Asked every second or so, and answered without a look at any row."""

from __future__ import annotations

import os
import sqlite3

from agentic_watch.history import schema


class HistoryWatch:
    """Whether the history was written to since the last look: `PRAGMA data_version`, and the file itself.

    https://sqlite.org/pragma.html#pragma_data_version: the value changes when another connection commits.
    """

    def __init__(self, history: str) -> None:
        self._history = history
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._seen: object = None

    def changed(self) -> bool:
        """True at the first call, after a write, and whenever it cannot be told."""
        seen = self._look()
        changed = seen is None or seen != self._seen
        self._seen = seen
        return changed

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _look(self) -> object:
        try:
            info = os.stat(self._history)
            wal = os.path.lexists(f"{os.path.realpath(self._history)}-wal")
            file = (info.st_dev, info.st_ino)
            if not wal or file != self._file:
                self.close()
            if not wal:  # nobody writes; the file says when somebody did
                return ("at rest", *file, info.st_mtime_ns, info.st_size)
            if self._connection is None:
                self._connection, self._file = schema.open_read_only(self._history), file
            return ("data_version", *file, self._connection.execute("PRAGMA data_version").fetchone()[0])
        except (OSError, sqlite3.Error):
            self.close()
            return None
