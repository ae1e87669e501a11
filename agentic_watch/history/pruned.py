"""Decides by age whether a dispatch would have been pruned: it counts as recorded, and gets no row or line again."""

from __future__ import annotations

import sqlite3

UNSET = "0001-01-01T00:00:00.000000000Z"
"""`updated_utc` of Go's zero time: the age of such a commit is that of its `committed_at`."""


def before(connection: sqlite3.Connection) -> str:
    """The time up to which the history was pruned, in the format of `updated_utc`; "" when it never was."""
    return str(connection.execute("SELECT ifnull(max(pruned_before), '') FROM about").fetchone()[0])


def age(table: str) -> str:
    """SQL expression for a row's age, in the format of `pruned_before`; `table` is the name of the table."""
    committed = f"strftime('%Y-%m-%dT%H:%M:%S.000000000Z', {table}.committed_at)"
    return f"iif({table}.updated_utc = '{UNSET}', ifnull({committed}, {table}.committed_at), {table}.updated_utc)"


def older(table: str, before: str) -> str:
    """SQL condition for rows older than `before`, an expression in the format of `pruned_before`."""
    return f"({table}.updated_utc < {before} AND {age(table)} < {before})"  # the first condition can use the index


def oldest(connection: sqlite3.Connection) -> str | None:
    """The oldest `updated_utc` of all dispatches that have one."""
    sql = "SELECT min(updated_utc) FROM dispatch_history WHERE updated_utc > ?"
    found: str | None = connection.execute(sql, (UNSET,)).fetchone()[0]
    return found


def is_pruned(updated_utc: str, committed_at: str, pruned_before: str) -> bool:
    """Whether a row of this age would have been pruned. An unknown `committed_at` ("") counts as recent.

    `pruned_before` is as in the history, "" when nothing was pruned.
    """
    if updated_utc != UNSET:
        return updated_utc < pruned_before
    return bool(committed_at) and committed_at < pruned_before
