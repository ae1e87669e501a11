"""The tables of a fleet in PostgreSQL, CockroachDB, YugabyteDB and Citus, and how `push --init` makes them.

The only DDL; everything is TEXT, BIGINT, UUID, TIMESTAMPTZ or, for what is no text, BYTEA, which all four have and keep
as they are. An agent wrote the report: as TEXT it can be anything, as JSONB it could be refused. Every index column
says ASC or DESC, since YugabyteDB hashes the first one otherwise.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping

from agentic_watch.config import Target
from agentic_watch.fleet import credentials, postgres_connection
from agentic_watch.fleet.any_target import Unusable
from agentic_watch.fleet.postgres_connection import Connection, bounded
from agentic_watch.history.columns import FINDING_COLUMNS

VERSION = 1
"""The newest number in `fleet_schema` that this program knows."""

_TEXT, _NUMBER = "TEXT NOT NULL", "BIGINT NOT NULL"
_COMMIT = {"host_id": "UUID NOT NULL", "commit_id": "UUID NOT NULL"}
_COUNTS = (
    *("duration_ms", "passed", "build_passed", "test_passed", "lint_passed"),
    *("files_changed", "insertions", "deletions"),
    *("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "turns", "cost_microusd"),
)

DISPATCHES = {
    **_COMMIT,
    "id": _NUMBER,  # of that host's history: the order of what has one updated_utc
    **dict.fromkeys(("host", "root", "workspace", "repo", "org", "task", "agent", "model", "branch", "status"), _TEXT),
    **dict.fromkeys(("question", "process_id", "pr_url", "started_at", "committed_at"), _TEXT),
    "updated_text": _TEXT,  # `updated_at` of status.json, unchanged
    "updated_utc": _TEXT,  # nine digits: the order of text is the order of time
    "updated_at": "TIMESTAMPTZ",  # for clients that want a time; NULL for Go's zero time
    **dict.fromkeys(("issue", "runs", "findings_count"), _NUMBER),
    **dict.fromkeys(("started_utc", "report", "session_id", "head_commit"), "TEXT"),
    **dict.fromkeys(_COUNTS, "BIGINT"),
}
"""What a push sends of each commit: column → type. `received_at` and `role` are the server's own."""

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
# One row a boot: two boots whose times overlap are two machines with one host_id.
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
    """The statements that make the tables; each does nothing where its table is there."""
    dispatches = [f"{quoted(name)} {kind}" for name, kind in DISPATCHES.items()]
    # A partition's key is a part of every unique key. It says no more than commit_id, which is made from it.
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
    """The statements that make one partition a month from (year, month) on, and one for all other times."""
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
"""How long an index over what is there already may take to be made."""


class SchemaTooNew(Unusable):
    """A newer program made these tables: refused, never touched."""


def refuse_newer(connection: Connection) -> None:
    """Raises SchemaTooNew for tables of a newer program, where the role may see which they are; else what `bounded`
    raises."""
    with bounded(connection):
        if connection.execute(FOUND_RIGHT).fetchone() == (True,):
            _refuse_newer(connection)


def make(connection: Connection, months: tuple[tuple[int, int], int] | None = None) -> list[str]:
    """Make the tables or bring them up to date; gives the columns that were added. Each statement can be done twice.

    `months`: (the first month, how many) to cut `dispatches` into; only when it is made. Not one transaction:
    CockroachDB does not put DDL into one with what follows from it. Raises SchemaTooNew, and what `bounded` raises.
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
    """Add the columns that a table lacks: an older program made it, or somebody dropped them."""
    with bounded(connection):
        there = {column.name for column in connection.execute(FOUND_COLUMNS.format(table)).description or ()}
        for name, kind in columns.items():
            if name in there:
                continue
            if name in _KEYS:
                raise Unusable(f"{table} lacks {name}, a part of its key; make the table anew, and push all again")
            connection.execute(add_column(table, name, kind))
            yield f"{table}.{name}"


def add_column(table: str, name: str, kind: str) -> str:
    """The statement that adds a column; what is there already has nothing in it."""
    if kind.endswith("NOT NULL"):
        kind += " DEFAULT ''" if kind.startswith("TEXT") else " DEFAULT 0"
    return f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}"


def _refuse_newer(connection: Connection) -> None:
    row = connection.execute(FOUND_VERSION).fetchone()
    if row is not None and int(str(row[0])) > VERSION:
        raise SchemaTooNew(f"the tables have version {row[0]}, this program knows {VERSION}; use the newer program")


def _distribute(connection: Connection) -> None:
    """Spread the tables over a Citus cluster by host; nothing to do elsewhere."""
    row = connection.execute(HAS_CITUS).fetchone()
    if row is None or not row[0]:
        return
    for table in _DISTRIBUTED:
        found = connection.execute(DISTRIBUTED, (table,)).fetchone()
        if found is not None and not found[0]:
            connection.execute(DISTRIBUTE, (table,))


_MONTHS_BACK = 1


def make_for(target: Target, months: int | None, now: time.struct_time) -> list[str]:
    """Make the tables of a target, or bring them up to date (`push --init`); gives the columns that were added.

    `months` is how many partitions, from the month before `now` on. Raises Unavailable and Unusable.
    """
    dsn = credentials.connection_string(target)
    partitions = None
    if months is not None:
        month = now.tm_year * 12 + now.tm_mon - 1 - _MONTHS_BACK
        partitions = ((month // 12, month % 12 + 1), months + _MONTHS_BACK)
    with contextlib.closing(postgres_connection.connect(dsn)) as connection:
        return make(connection, partitions)
