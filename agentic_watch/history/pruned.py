"""What is as old as what was pruned? It is taken for done, and becomes neither a row nor a line again."""

from __future__ import annotations

import sqlite3

UNSET = "0001-01-01T00:00:00.000000000Z"
"""`updated_utc` of Go's zero time: such a commit is as old as its `committed_at` says."""


def before(connection: sqlite3.Connection) -> str:
    """Up to when the history was pruned, as `updated_utc` is written; "" when it never was."""
    return str(connection.execute("SELECT ifnull(max(pruned_before), '') FROM about").fetchone()[0])


def age(table: str) -> str:
    """The SQL expression of a row's age in the form of `pruned_before`; `table` names the rows."""
    committed = f"strftime('%Y-%m-%dT%H:%M:%S.000000000Z', {table}.committed_at)"
    return f"iif({table}.updated_utc = '{UNSET}', ifnull({committed}, {table}.committed_at), {table}.updated_utc)"


def older(table: str, before: str) -> str:
    """The SQL condition that a row is older than `before`, an expression in the form of `pruned_before`."""
    return f"({table}.updated_utc < {before} AND {age(table)} < {before})"  # the first part is for the index


def oldest(connection: sqlite3.Connection) -> str | None:
    """The first `updated_utc` of all dispatches that have one."""
    sql = "SELECT min(updated_utc) FROM dispatch_history WHERE updated_utc > ?"
    found: str | None = connection.execute(sql, (UNSET,)).fetchone()[0]
    return found


def is_pruned(updated_utc: str, committed_at: str, pruned_before: str) -> bool:
    """Whether a row of this age would have been pruned. `committed_at` may be "": not known, so not long ago.

    `pruned_before` is as in the history, "" when nothing was.
    """
    if updated_utc != UNSET:
        return updated_utc < pruned_before
    return bool(committed_at) and committed_at < pruned_before
