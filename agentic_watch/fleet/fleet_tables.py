"""`push --init`: the tables of a target, made or brought up to date by whoever may."""

from __future__ import annotations

import contextlib
import os
import time

from agentic_watch.config import Target
from agentic_watch.fleet import credentials, postgres_connection, postgres_schema
from agentic_watch.fleet.fleet_errors import Unusable
from agentic_watch.fleet.postgres_schema import SchemaTooNew

_MONTHS_BACK = 1


def make(target: Target, months: int | None, now: time.struct_time) -> None:
    """Make or migrate them; `months` is how many partitions, from the month before `now` on.

    Raises Unavailable and Unusable.
    """
    dsn = credentials.connection_string(target, os.environ)
    partitions = None
    if months is not None:
        month = now.tm_year * 12 + now.tm_mon - 1 - _MONTHS_BACK
        partitions = ((month // 12, month % 12 + 1), months + _MONTHS_BACK)
    with contextlib.closing(postgres_connection.connect(dsn)) as connection, postgres_connection.translated():
        try:
            postgres_schema.make(connection, partitions)
        except SchemaTooNew as error:
            raise Unusable(str(error)) from error
