"""A target of kind `postgres`: connect, push in transactions that can be done twice, close."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agentic_watch.fleet import outbox, postgres_connection, postgres_schema
from agentic_watch.fleet.deadlines import longest
from agentic_watch.fleet.delivery import Refusal, Sender, send_halving
from agentic_watch.fleet.fleet_errors import TimedOut, Unavailable, Unusable
from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.outbox import Largest
from agentic_watch.fleet.postgres_statements import (
    INSERT_BOOT,
    INSERT_DISPATCHES,
    INSERT_FINDINGS,
    INSERT_HOST,
    INSERT_KEPT_FILES,
    UPSERT_BOOT,
    UPSERT_HOST,
    dispatch_arrays,
    finding_arrays,
    kept_arrays,
)

if TYPE_CHECKING:
    from agentic_watch.fleet.postgres_connection import Connection

MIB = 1024 * 1024
_PAUSES = (0.05, 0.2, 0.8, 2.0)
"""Seconds before a transaction is tried again, each times 0.5 to 1.5."""


class PostgresTarget:
    """One connection, opened when first needed and again when it was lost."""

    largest = Largest(500, 8 * MIB)

    def __init__(self, dsn: str, sender: Sender, pause: Callable[[float], object] = time.sleep) -> None:
        self._dsn = dsn
        self._sender = sender
        self._pause = pause
        self._connection: Connection | None = None
        self._known = False

    def deliver(self, commits: Sequence[Commit]) -> list[Refusal]:
        """Insert commits with their findings; see Delivery."""
        return send_halving(commits, lambda part: self._with_patience(lambda: self._insert(part)))

    def answers(self) -> None:
        """Ask for a number."""
        with postgres_connection.transaction(self._connected()) as connection:
            connection.execute(postgres_schema.FOUND_RIGHT)

    def report(self, pending: int, dead_letters: int) -> str | None:
        """Renew this host's row."""
        sender = self._sender
        host = (sender.host_id, sender.host, sender.version, sender.boot_id, pending, dead_letters)
        boot = (sender.host_id, sender.boot_id, sender.host)
        try:
            self._with_patience(lambda: self._execute((UPSERT_HOST, host), (UPSERT_BOOT, boot)))
        except Unusable:
            self._with_patience(lambda: self._execute((INSERT_HOST, host), (INSERT_BOOT, boot)))
            return (
                "its role may not update `hosts` and `host_boots`, so nobody sees when this host pushed last; "
                "grant it (docs/fleet.md)"
            )
        return None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None

    def _insert(self, commits: Sequence[Commit]) -> None:
        host_id = self._sender.host_id
        statements = [(INSERT_DISPATCHES, dispatch_arrays(commits, host_id))]
        if findings := finding_arrays(commits, host_id):
            statements.append((INSERT_FINDINGS, findings))
        if kept := kept_arrays(commits, host_id):
            statements.append((INSERT_KEPT_FILES, kept))
        size = sum(outbox.weight(commit.columns) + outbox.kept_bytes(commit.kept) for commit in commits)
        self._execute(*statements, seconds=longest(postgres_connection.TRANSACTION_SECONDS, len(commits), size))

    def _execute(self, *statements: tuple[str, Sequence[object]], seconds: float | None = None) -> None:
        connection = self._connected()
        if not self._known:
            postgres_schema.refuse_newer(connection)
            self._known = True
        with postgres_connection.transaction(connection, seconds):
            for sql, values in statements:
                connection.execute(sql, values)

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._known = False
            self._connection = postgres_connection.connect(self._dsn)
        return self._connection

    def _with_patience(self, act: Callable[[], None]) -> None:
        """Do it, and the whole of it again after a conflict, a deadlock, or a connection that was lost on the way.

        Whether a lost COMMIT arrived is not asked: what is there already is no error the second time. A server that is
        not there at all is left in peace until the next pass, and what it did not do in time is not given to it again.
        """
        self._connected()
        for pause in _PAUSES:
            try:
                return act()
            except TimedOut:
                self.close()
                raise
            except Unavailable:
                self.close()
                self._pause(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter, not a secret
        try:
            return act()
        except Unavailable:
            self.close()
            raise
