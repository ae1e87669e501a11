"""`push --init`: the tables of a target, made or brought up to date by whoever may."""

from __future__ import annotations

import contextlib
import os
import time

from agentic_watch.config import Target
from agentic_watch.fleet import credentials, postgres_connection, postgres_schema

_MONTHS_BACK = 1


def make(target: Target, months: int | None, now: time.struct_time) -> list[str]:
    """Make or migrate them; gives the columns that were added.

    `months` is how many partitions, from the month before `now` on. Raises Unavailable and Unusable.
    """
    dsn = credentials.connection_string(target, os.environ)
    partitions = None
    if months is not None:
        month = now.tm_year * 12 + now.tm_mon - 1 - _MONTHS_BACK
        partitions = ((month // 12, month % 12 + 1), months + _MONTHS_BACK)
    with contextlib.closing(postgres_connection.connect(dsn)) as connection:
        return postgres_schema.make(connection, partitions)
