"""The tables of a fleet in PostgreSQL, CockroachDB, YugabyteDB and Citus, created by `push --init`.

The only DDL. Column types are TEXT, BIGINT, UUID, TIMESTAMPTZ and BYTEA, which behave equally in all four. The report
is TEXT, because an agent wrote it and JSONB might reject it. Every index column has ASC or DESC, because YugabyteDB
hashes the first one otherwise.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping

from agentic_watch.config import Target
from agentic_watch.fleet import credentials, postgres_connection
from agentic_watch.fleet.postgres_connection import Connection, bounded
from agentic_watch.fleet.target_interface import Unusable
from agentic_watch.history.columns import FINDING_COLUMNS

VERSION = 1
"""The newest schema version (`fleet_schema`) that this program knows."""

_TEXT, _NUMBER = "TEXT NOT NULL", "BIGINT NOT NULL"
_COMMIT = {"host_id": "UUID NOT NULL", "commit_id": "UUID NOT NULL"}
_COUNTS = (
    *("duration_ms", "passed", "build_passed", "test_passed", "lint_passed"),
    *("files_changed", "insertions", "deletions"),
    *("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "turns", "cost_microusd"),
)

DISPATCHES = {
    **_COMMIT,
    "id": _NUMBER,  # id in that host's history: orders rows of equal updated_utc
    **dict.fromkeys(("host", "root", "workspace", "repo", "org", "task", "agent", "model", "branch", "status"), _TEXT),
    **dict.fromkeys(("question", "process_id", "pr_url", "started_at", "committed_at"), _TEXT),
    "updated_text": _TEXT,  # `updated_at` of status.json, unchanged
    "updated_utc": _TEXT,  # nine digits: text order is time order
    "updated_at": "TIMESTAMPTZ",  # for clients that need a time; NULL for Go's zero time
    **dict.fromkeys(("issue", "runs", "findings_count"), _NUMBER),
    **dict.fromkeys(("started_utc", "report", "session_id", "head_commit"), "TEXT"),
    **dict.fromkeys(_COUNTS, "BIGINT"),
}
"""Columns of each commit that a push sends, with types. The server sets `received_at` and `role`."""

FINDINGS = {
    **_COMMIT,
    "n": _NUMBER,
    **{name: "BIGINT" if name in ("line", "column") else "TEXT" for name in FINDING_COLUMNS},
}
KEPT_FILES = {
    **_COMMIT,
    "name": _TEXT,
    **dict.fromkeys(("bytes", "kept_from"), _NUMBER),
    "content": "BYTEA NOT NULL",  # zlib, as in a host's history
}

_STAMPS = ("received_at TIMESTAMPTZ NOT NULL DEFAULT now()", "role TEXT NOT NULL DEFAULT current_user")
_HOSTS = (
    "host_id UUID NOT NULL",
    "host TEXT NOT NULL",
    "version TEXT NOT NULL",
    "boot_id TEXT NOT NULL",
    "pending BIGINT NOT NULL",
    "dead_letters BIGINT NOT NULL",
    "first_push TIMESTAMPTZ NOT NULL DEFAULT now()",
    "last_push TIMESTAMPTZ NOT NULL DEFAULT now()",
)
# One row per boot: overlapping boots mean two machines with the same host_id.
_BOOTS = (
    "host_id UUID NOT NULL",
    "boot_id TEXT NOT NULL",
    "host TEXT NOT NULL",
    "first_push TIMESTAMPTZ NOT NULL DEFAULT now()",
    "last_push TIMESTAMPTZ NOT NULL DEFAULT now()",
)

INDEXES = (
    "CREATE INDEX IF NOT EXISTS dispatches_updated ON dispatches (updated_utc DESC)",
    "CREATE INDEX IF NOT EXISTS dispatches_repo ON dispatches (repo ASC, updated_utc DESC, org ASC)",
    "CREATE INDEX IF NOT EXISTS dispatches_status ON dispatches (status ASC, updated_utc DESC)",
    "CREATE INDEX IF NOT EXISTS dispatches_workspace ON dispatches (workspace ASC, updated_utc DESC)",
    "CREATE INDEX IF NOT EXISTS dispatches_host ON dispatches (host_id ASC, updated_utc DESC)",
)

_SCHEMA = ("version BIGINT NOT NULL", "made_at TIMESTAMPTZ NOT NULL DEFAULT now()")
_DISTRIBUTED = ("dispatches", "findings", "kept_files", "hosts", "host_boots")
_KEYS = ("host_id", "commit_id", "n", "name", "boot_id")


def _by_name(columns: Iterable[str]) -> dict[str, str]:
    return {name: kind for name, _, kind in (column.partition(" ") for column in columns)}


_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "dispatches": {**DISPATCHES, **_by_name(_STAMPS)},
    "findings": FINDINGS,
    "kept_files": KEPT_FILES,
    "hosts": _by_name(_HOSTS),
    "host_boots": _by_name(_BOOTS),
}


def quoted(column: str) -> str:
    """A column's name in SQL."""
    return f'"{column}"' if column == "column" else column


def tables(*, by_month: bool = False) -> list[str]:
    """The statements that create the tables; existing tables are unchanged."""
    dispatches = [f"{quoted(name)} {kind}" for name, kind in DISPATCHES.items()]
    # The partition key must be part of every unique key. It is implied by commit_id, which is derived from it.
    key = "host_id, commit_id, updated_utc" if by_month else "host_id, commit_id"
    findings = [f"{quoted(name)} {kind}" for name, kind in FINDINGS.items()]
    return [
        _table("fleet_schema", _SCHEMA, "version"),
        _table("dispatches", (*dispatches, *_STAMPS), key) + (" PARTITION BY RANGE (updated_utc)" if by_month else ""),
        _table("findings", findings, "host_id, commit_id, n"),
        _table("kept_files", [f"{name} {kind}" for name, kind in KEPT_FILES.items()], "host_id, commit_id, name"),
        _table("hosts", _HOSTS, "host_id"),
        _table("host_boots", _BOOTS, "host_id, boot_id"),
    ]


def _table(name: str, columns: tuple[str, ...] | list[str], key: str) -> str:
    body = ",\n    ".join([*columns, f"PRIMARY KEY ({key})"])
    return f"CREATE TABLE IF NOT EXISTS {name} (\n    {body}\n)"


def partitions(first: tuple[int, int], months: int) -> list[str]:
    """The statements that create one partition per month from (year, month), and a default partition."""
    made = ["CREATE TABLE IF NOT EXISTS dispatches_other PARTITION OF dispatches DEFAULT"]
    year, month = first
    for _ in range(months):
        after = (year + month // 12, month % 12 + 1)
        bounds = f"FROM ('{year:04}-{month:02}') TO ('{after[0]:04}-{after[1]:02}')"
        made.append(
            f"CREATE TABLE IF NOT EXISTS dispatches_{year:04}_{month:02} PARTITION OF dispatches FOR VALUES {bounds}"
        )
        year, month = after
    return made


RECORD_VERSION = "INSERT INTO fleet_schema (version) VALUES (%s) ON CONFLICT DO NOTHING"
FOUND_VERSION = "SELECT coalesce(max(version), 0) FROM fleet_schema"
FOUND_RIGHT = "SELECT has_table_privilege('fleet_schema', 'SELECT')"
FOUND_COLUMNS = "SELECT * FROM {} LIMIT 0"
HAS_CITUS = "SELECT count(*) FROM pg_catalog.pg_extension WHERE extname = 'citus'"
DISTRIBUTED = "SELECT count(*) FROM pg_catalog.pg_dist_partition WHERE logicalrelid = %s::regclass"
DISTRIBUTE = "SELECT create_distributed_table(%s, 'host_id')"

_INDEX_SECONDS = 3600.0
"""Time limit for creating an index on existing rows."""


class SchemaTooNew(Unusable):
    """A newer program created these tables; they are not changed."""


def refuse_newer(connection: Connection) -> None:
    """Raise SchemaTooNew for tables of a newer program, if the role may read their version. Raises like `bounded`."""
    with bounded(connection):
        if connection.execute(FOUND_RIGHT).fetchone() == (True,):
            _refuse_newer(connection)


def make(connection: Connection, months: tuple[tuple[int, int], int] | None = None) -> list[str]:
    """Create or update the tables; returns the columns that were added. Every statement is idempotent.

    `months`: (first month, number) of partitions of `dispatches`, only when it is created. Not one transaction:
    CockroachDB cannot use DDL and its result in one. Raises SchemaTooNew, and like `bounded`.
    """
    with bounded(connection):
        connection.execute(_table("fleet_schema", _SCHEMA, "version"))
        _refuse_newer(connection)
    for statement in _statements(months):
        with bounded(connection):
            connection.execute(statement)
    added = [name for table, columns in _COLUMNS.items() for name in _add_columns(connection, table, columns)]
    for statement in INDEXES:
        with bounded(connection, _INDEX_SECONDS):
            connection.execute(statement)
    with bounded(connection):
        _distribute(connection)
        connection.execute(RECORD_VERSION, (VERSION,))
    return added


def _statements(months: tuple[tuple[int, int], int] | None) -> Iterator[str]:
    yield from tables(by_month=months is not None)
    if months is not None:
        yield from partitions(*months)


def _add_columns(connection: Connection, table: str, columns: Mapping[str, str]) -> Iterator[str]:
    """Add missing columns of a table that an older program created, or that were dropped."""
    with bounded(connection):
        there = {column.name for column in connection.execute(FOUND_COLUMNS.format(table)).description or ()}
        for name, kind in columns.items():
            if name in there:
                continue
            if name in _KEYS:
                raise Unusable(
                    f"{table} lacks {name}, a part of its key; recreate the table, and push everything again"
                )
            connection.execute(add_column(table, name, kind))
            yield f"{table}.{name}"


def add_column(table: str, name: str, kind: str) -> str:
    """The statement that adds a column; existing rows get NULL."""
    if kind.endswith("NOT NULL"):
        kind += " DEFAULT ''" if kind.startswith("TEXT") else " DEFAULT 0"
    return f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}"


def _refuse_newer(connection: Connection) -> None:
    row = connection.execute(FOUND_VERSION).fetchone()
    if row is not None and int(str(row[0])) > VERSION:
        raise SchemaTooNew(f"the tables have version {row[0]}, this program knows {VERSION}; use the newer program")


def _distribute(connection: Connection) -> None:
    """Distribute the tables over a Citus cluster by host; does nothing elsewhere."""
    row = connection.execute(HAS_CITUS).fetchone()
    if row is None or not row[0]:
        return
    for table in _DISTRIBUTED:
        found = connection.execute(DISTRIBUTED, (table,)).fetchone()
        if found is not None and not found[0]:
            connection.execute(DISTRIBUTE, (table,))


_MONTHS_BACK = 1


def make_for(target: Target, months: int | None, now: time.struct_time) -> list[str]:
    """Create or update the tables of a target (`push --init`); returns the columns that were added.

    `months` is the number of monthly partitions from that of `now` on; the month before gets one, too. Raises
    Unavailable and Unusable.
    """
    dsn = credentials.connection_string(target)
    partitions = None
    if months is not None:
        month = now.tm_year * 12 + now.tm_mon - 1 - _MONTHS_BACK
        partitions = ((month // 12, month % 12 + 1), months + _MONTHS_BACK)
    with contextlib.closing(postgres_connection.connect(dsn)) as connection:
        return make(connection, partitions)
