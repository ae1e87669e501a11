"""A target of kind `postgres`: pushes commits in idempotent transactions.

A push has three statements with one array per column: `unnest` inserts 500 rows by one statement, without preparing it.
`ON CONFLICT DO NOTHING` needs no SELECT permission, so an insert-only role can push, and duplicates are no error. `%b`
sends arrays in binary, because text takes ten times as long as the insert itself.
"""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from agentic_watch.fleet import outbox, postgres_connection, postgres_schema
from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.outbox import Largest
from agentic_watch.fleet.postgres_connection import Connection
from agentic_watch.fleet.postgres_schema import DISPATCHES, FINDINGS, KEPT_FILES, quoted
from agentic_watch.fleet.target_interface import Refusal, Sender, TimedOut, Unavailable, Unusable, longest, send_halving
from agentic_watch.host.retry import retry

_MICROSECONDS = 26
_ZERO = "0001-01-01T00:00:00.000000000Z"


def _insert(table: str, columns: dict[str, str]) -> str:
    names = ", ".join(map(quoted, columns))
    arrays = ", ".join(f"%b::{kind.split()[0].lower()}[]" for kind in columns.values())
    return f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"


INSERT_DISPATCHES = _insert("dispatches", DISPATCHES)
INSERT_FINDINGS = _insert("findings", FINDINGS)
INSERT_KEPT_FILES = _insert("kept_files", KEPT_FILES)

_HOST = "(host_id, host, version, boot_id, pending, dead_letters) VALUES (%s, %s, %s, %s, %s, %s)"
_BOOT = "(host_id, boot_id, host) VALUES (%s, %s, %s)"
UPSERT_HOST = (
    f"INSERT INTO hosts {_HOST} ON CONFLICT (host_id) DO UPDATE SET host = excluded.host, "
    "version = excluded.version, boot_id = excluded.boot_id, pending = excluded.pending, "
    "dead_letters = excluded.dead_letters, last_push = now()"
)
UPSERT_BOOT = (
    f"INSERT INTO host_boots {_BOOT} ON CONFLICT (host_id, boot_id) DO UPDATE SET host = excluded.host, "
    "last_push = now()"
)
INSERT_HOST = f"INSERT INTO hosts {_HOST} ON CONFLICT DO NOTHING"
INSERT_BOOT = f"INSERT INTO host_boots {_BOOT} ON CONFLICT DO NOTHING"
"""For an insert-only role: records the host, but not the time of its last push."""


def inserts(commits: Sequence[Commit], host_id: str) -> list[tuple[str, list[list[Any]]]]:
    """The statements and values that insert commits, with findings and kept files if any.

    Sorted by commit_id, so that concurrent pushers take locks in the same order.
    """
    host = uuid.UUID(host_id)
    ordered = [(uuid.UUID(one.commit_id), one) for one in sorted(commits, key=lambda one: one.commit_id)]
    dispatches = (_dispatch(host, commit_id, one) for commit_id, one in ordered)
    findings = ((host, commit_id, n, *found) for commit_id, one in ordered for n, found in enumerate(one.findings, 1))
    kept = ((host, commit_id, *file) for commit_id, one in ordered for file in one.kept)
    rows = ((INSERT_DISPATCHES, dispatches), (INSERT_FINDINGS, findings), (INSERT_KEPT_FILES, kept))
    return [(sql, columns) for sql, some in rows if (columns := [list(one) for one in zip(*some, strict=True)])]


def _dispatch(host: uuid.UUID, commit_id: uuid.UUID, commit: Commit) -> list[Any]:
    columns = commit.columns
    utc = columns["updated_utc"]
    row = {
        **columns,
        "host_id": host,
        "commit_id": commit_id,
        "id": commit.id,
        "updated_text": columns["updated_at"],
        # Truncated: engines round the seventh digit differently.
        "updated_at": None if utc == _ZERO else f"{utc[:_MICROSECONDS]}Z",
    }
    return [row[name] for name in DISPATCHES]


MIB = 1024 * 1024
_PAUSES = (0.05, 0.2, 0.8, 2.0)
"""Pauses before a transaction is retried, each multiplied by 0.5 to 1.5."""


class PostgresTarget:
    """One connection, opened on first use and reopened after a loss."""

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
        """Run a trivial query."""
        with postgres_connection.transaction(self._connected()) as connection:
            connection.execute(postgres_schema.FOUND_RIGHT)

    def report(self, pending: int, dead_letters: int) -> str | None:
        """Update this host's row."""
        sender = self._sender
        host = (sender.host_id, sender.host, sender.version, sender.boot_id, pending, dead_letters)
        boot = (sender.host_id, sender.boot_id, sender.host)
        try:
            self._with_patience(lambda: self._execute((UPSERT_HOST, host), (UPSERT_BOOT, boot)))
        except Unusable:
            self._with_patience(lambda: self._execute((INSERT_HOST, host), (INSERT_BOOT, boot)))
            return (
                "its role may not update `hosts` and `host_boots`, so the time of the last push is not recorded; "
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
        size = sum(outbox.weight(commit.columns) + outbox.kept_bytes(commit.kept) for commit in commits)
        seconds = longest(postgres_connection.TRANSACTION_SECONDS, len(commits), size)
        self._execute(*inserts(commits, self._sender.host_id), seconds=seconds)

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
        """Run a transaction, and retry it after a conflict, a deadlock or a lost connection.

        Whether a lost COMMIT succeeded does not matter, because duplicates are no error. Not retried: an unreachable
        server, until the next push, and a time-out.
        """

        def again(error: Exception) -> bool:
            if isinstance(error, Unavailable):
                self.close()
            return isinstance(error, Unavailable) and not isinstance(error, TimedOut)

        self._connected()
        pauses = (pause * random.uniform(0.5, 1.5) for pause in _PAUSES)  # noqa: S311  jitter, not a secret
        retry(act, again, pauses, self._pause)
