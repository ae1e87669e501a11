"""Every statement of the fleet is one that PostgreSQL, CockroachDB, YugabyteDB and Citus all take, and mean alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pglast
import pytest
from pglast import ast, enums

from agentic_watch.answers.past import dispatch_list, fleet_source, known_values
from agentic_watch.answers.past.filters import Filter
from agentic_watch.fleet import postgres_connection, postgres_schema, postgres_target, target_comparison

FUNCTIONS = {
    *("unnest", "now", "count", "coalesce", "max", "min", "sum", "avg", "substr", "lower", "lpad", "btrim", "rtrim"),
    *("regexp_replace", "extract", "replace", "nullif", "length", "round", "abs", "string_agg"),
    "create_distributed_table",
}
"""What all four have; create_distributed_table is asked of Citus only."""
TYPES = {"uuid", "text", "int8", "bigint", "bytea", "timestamptz", "regclass"}
REFUSED = {
    ast.CopyStmt: "COPY: not through every pooler, and CockroachDB has its own",
    ast.ListenStmt: "LISTEN: CockroachDB and pgbouncer have none",
    ast.PrepareStmt: "PREPARE: not across pgbouncer",
    ast.DoStmt: "DO: CockroachDB and Citus differ",
    ast.CreateTrigStmt: "triggers: Citus refuses them on distributed tables",
    ast.CreateFunctionStmt: "functions: another language on each",
    ast.LockStmt: "LOCK: YugabyteDB and CockroachDB have none",
    ast.RowExpr: "row values: not in every planner",
}


def objections(sql: str) -> Iterator[str]:
    """What one of the four refuses, or means differently, in a statement."""
    (statement,) = pglast.parse_sql(sql)
    for node in walk(statement.stmt):
        if (cause := REFUSED.get(type(node))) is not None:
            yield cause
        yield from _of_node(node)


def _of_node(node: Any) -> Iterator[str]:
    if isinstance(node, ast.FuncCall):
        name = node.funcname[-1].sval
        if name not in FUNCTIONS:
            yield f"{name}(): not known to be in all four (advisory locks are not)"
    elif isinstance(node, ast.TypeName) and node.names[-1].sval not in TYPES:
        yield f"{node.names[-1].sval}: a type that is not the same everywhere"
    elif isinstance(node, ast.Constraint) and node.contype in (
        enums.ConstrType.CONSTR_GENERATED,
        enums.ConstrType.CONSTR_IDENTITY,
        enums.ConstrType.CONSTR_FOREIGN,
    ):
        yield "generated and identity columns and foreign keys: Citus or YugabyteDB have them otherwise or not"
    elif isinstance(node, ast.IndexStmt):
        for column in node.indexParams:
            if column.ordering == enums.SortByDir.SORTBY_DEFAULT:
                yield f"index column {column.name}: neither ASC nor DESC, so YugabyteDB hashes it"
    elif isinstance(node, ast.A_Expr) and node.name[-1].sval in ("/", "->", "->>", "@>", "~"):
        yield f"operator {node.name[-1].sval}: integer division and JSON differ"
    elif isinstance(node, ast.InsertStmt):
        yield from _of_insert(node)
    elif isinstance(node, ast.VariableSetStmt) and not node.is_local:
        yield "SET: stays with a connection of pgbouncer that is somebody else's next; SET LOCAL"


def _of_insert(node: ast.InsertStmt) -> Iterator[str]:
    if getattr(node, "returningList", None) or getattr(node, "returningClause", None):
        yield "RETURNING: needs SELECT"
    clause = node.onConflictClause
    if clause is None:
        yield "no ON CONFLICT: cannot be done twice"
    elif clause.infer is not None and node.relation.relname not in ("hosts", "host_boots"):
        yield "ON CONFLICT with a target: needs SELECT"


def walk(node: Any) -> Iterator[Any]:
    """Every node of a parsed statement."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from walk(item)
    elif isinstance(node, ast.Node):
        yield node
        for name in node:
            yield from walk(getattr(node, name))


def numbered(sql: str) -> str:
    """The statement with its places for values as the server gets them."""
    count = iter(range(1, 1000))
    return re.sub(r"%[sb]|\?", lambda _: f"${next(count)}", sql)


class Spoken:
    """A source of the fleet's dialect that answers nothing, and keeps what it was asked."""

    dialect = fleet_source.FLEET

    def __init__(self) -> None:
        self.asked: list[str] = []

    def rows(self, sql: str, values: object = ()) -> Iterator[tuple[Any, ...]]:
        self.asked.append(sql)
        return iter([("",)] if "DISTINCT" in sql else [(0, "")])

    def named(self, sql: str, values: object = ()) -> Iterator[dict[str, Any]]:
        self.asked.append(sql)
        return iter(())

    def search_value(self, text: str) -> Any:
        return [text]


def questions() -> list[str]:
    """What a listing asks of a fleet, every filter given."""
    source = Spoken()
    every = Filter("words", ("r",), ("o",), ("a", "b"), ("s",), ("w",), ("h",), "1", "2", committed_since="3")
    of_change = Filter(pr=("1", "http://p"), issue=("2",), branch=("b",), commit=("c0", "x"), session=("s",))
    for wanted in (every, of_change, Filter(every=True), Filter()):
        list(dispatch_list.dispatches(source, wanted, limit=5))
    list(known_values.near(source, every))
    dispatch_list.total(source)
    return source.asked


STATEMENTS = [
    *questions(),
    *(fleet_source.HOSTS, fleet_source.CLONES, fleet_source.BEGINS),
    *(target_comparison.IDS, target_comparison.IDS_OF_DAYS),
    *postgres_schema.tables(),
    *postgres_schema.INDEXES,
    *(postgres_schema.add_column("dispatches", name, kind) for name, kind in postgres_schema.DISPATCHES.items()),
    postgres_schema.RECORD_VERSION,
    postgres_schema.FOUND_VERSION,
    postgres_schema.HAS_CITUS,
    postgres_schema.DISTRIBUTED,
    postgres_schema.DISTRIBUTE,
    *(getattr(postgres_target, name) for name in dir(postgres_target) if re.match("INSERT_|UPSERT_", name)),
    postgres_connection.statement_timeout(postgres_connection.TRANSACTION_SECONDS),
]


@pytest.mark.parametrize("sql", STATEMENTS, ids=lambda sql: " ".join(sql.split())[:40])
def test_a_statement_is_portable(sql: str) -> None:
    """No statement holds anything that one of the four has not, or lies about."""
    assert list(objections(numbered(sql))) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_advisory_lock(1)",
        "LISTEN news",
        "COPY dispatches FROM STDIN",
        "INSERT INTO dispatches (host) VALUES ($1) ON CONFLICT (host_id) DO NOTHING",
        "INSERT INTO dispatches (host) VALUES ($1) ON CONFLICT DO NOTHING RETURNING host",
        "INSERT INTO dispatches (host) VALUES ($1)",
        "CREATE TABLE t (a BIGINT GENERATED ALWAYS AS (1) STORED)",
        "CREATE TABLE t (a BIGINT GENERATED ALWAYS AS IDENTITY)",
        "CREATE TABLE t (a JSONB)",
        "CREATE TABLE t (a BIGSERIAL)",
        "CREATE INDEX i ON dispatches (repo, updated_utc DESC)",
        "SELECT sum(passed) / count(*) FROM dispatches",
        "SET statement_timeout = 5",
        "PREPARE p AS SELECT 1",
    ],
)
def test_what_is_not_portable_is_found(sql: str) -> None:
    """The check itself finds each thing that the four do not share."""
    assert list(objections(sql))
