"""What a push says to PostgreSQL and its kin: three statements, whose values are arrays, one a column.

`unnest` makes 500 rows of one statement that pgbouncer and the server need not prepare. `ON CONFLICT DO NOTHING`
without a target needs no SELECT: whoever may only insert can push, and what is there already is no error. `%b`: arrays
go in binary, since to write and to parse them as text takes ten times what the insertion itself takes.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.postgres_schema import DISPATCHES, FINDINGS, KEPT_FILES, quoted

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
"""For a role that may only insert: its host is known, but not when it pushed last."""


def dispatch_arrays(commits: Sequence[Commit], host_id: str) -> list[list[Any]]:
    """The values of INSERT_DISPATCHES. Two pushers that meet take their locks in one order: that of commit_id."""
    host = uuid.UUID(host_id)
    rows = [_dispatch(commit, host) for commit in sorted(commits, key=lambda one: one.commit_id)]
    return [[row[name] for row in rows] for name in DISPATCHES]


def finding_arrays(commits: Sequence[Commit], host_id: str) -> list[list[Any]]:
    """The values of INSERT_FINDINGS; empty columns when there are none."""
    host = uuid.UUID(host_id)
    rows = [
        (host, commit_id, n, *finding)
        for commit in sorted(commits, key=lambda one: one.commit_id)
        for commit_id in [uuid.UUID(commit.commit_id)]
        for n, finding in enumerate(commit.findings, 1)
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def kept_arrays(commits: Sequence[Commit], host_id: str) -> list[list[Any]]:
    """The values of INSERT_KEPT_FILES; empty when there are none."""
    host = uuid.UUID(host_id)
    rows = [
        (host, uuid.UUID(commit.commit_id), *file)
        for commit in sorted(commits, key=lambda one: one.commit_id)
        for file in commit.kept
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _dispatch(commit: Commit, host: uuid.UUID) -> dict[str, Any]:
    columns = commit.columns
    utc = columns["updated_utc"]
    return {
        **columns,
        "host_id": host,
        "commit_id": uuid.UUID(commit.commit_id),
        "id": commit.id,
        "updated_text": columns["updated_at"],
        # Cut, not rounded: engines round the seventh digit each in its own way.
        "updated_at": None if utc == _ZERO else f"{utc[:_MICROSECONDS]}Z",
    }
