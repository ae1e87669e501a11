"""The clock: does it say a time after all that is recorded?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.history import queries
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.workspace import instant

_NAME = "clock"
_SLACK_SECONDS = 300.0
_NEWEST = "SELECT committed_at FROM dispatch_history ORDER BY id DESC LIMIT 1"


def clock(subject: Subject) -> Iterator[Finding]:
    """A clock that was set back makes new commits look older than old ones."""
    told = list(_times(subject.config.history))
    newest = max(told, default=0.0)
    now = instant.now_text(subject.now)
    if newest > subject.now + _SLACK_SECONDS:
        text = f"the clock says {now}, and the history was last written {instant.now_text(newest)}"
        yield Finding(_NAME, False, text, "set it (timedatectl set-ntp true)")
    else:
        yield Finding(_NAME, True, f"{now}, later than every recorded time")


def _times(history: str) -> Iterator[float]:
    try:
        yield os.stat(history).st_mtime
        with queries.reading(history) as connection:
            for (text,) in connection.execute(_NEWEST):
                yield instant.parse(text).ns / 1e9
    except (OSError, HistoryError, ValueError):
        return
