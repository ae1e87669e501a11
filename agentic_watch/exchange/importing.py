"""Imports rows from other sources into this host's history; existing ones are skipped."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from agentic_watch.config import Config, Root
from agentic_watch.exchange import ExchangeError, import_formats
from agentic_watch.exchange.import_formats import Incoming
from agentic_watch.exchange.redacting import redacted
from agentic_watch.exchange.slices import Slices
from agentic_watch.history import HistoryError
from agentic_watch.history.columns import HISTORY_COLUMNS, commit_id
from agentic_watch.history.rows import HOST, Row
from agentic_watch.history.store import History, marks
from agentic_watch.host.jobs import Jobs, fitting
from agentic_watch.workspace.redactor import Redactor, redactor

_GROUP, _GROUP_BYTES = 1_000, 8 << 20
_LARGE_BYTES = 4 << 20
"""Files of this size are read in a separate process while earlier rows are inserted, in three quarters of the time."""

_OF_COMMIT = ("workspace", "updated_utc", "runs", "host", "committed_at", "started_utc", "status", "task")
_COMMIT = [HISTORY_COLUMNS.index(name) for name in _OF_COMMIT]
_ROOT, _HOST, _COMMIT_ID = (HISTORY_COLUMNS.index(name) for name in ("root", "host", "commit_id"))

_Told = tuple[list[Row], Incoming]


@dataclass(slots=True)
class Imported:
    """The result for one file; `error` is why it was not read completely, else None."""

    path: str
    kind: str = ""
    read: int = 0
    imported: int = 0
    skipped: int = 0
    invalid: int = 0
    faults: tuple[str, ...] = ()
    error: str | None = None


def import_file(
    done: Imported, config: Config, history: History, root: str | None, on_progress: Callable[[int], None]
) -> None:
    """Import the file `done.path` in slices; `done` has the counts so far.

    `root` is the root of records without one. `on_progress` is called with the position in the file. Raises
    HistoryError when rows cannot be inserted; those counted in `done` are.
    """
    slices, names = Slices(), {root.path: root.key for root in config.roots if root.key != root.path}

    def insert(_: int, told: _Told) -> None:
        rows, incoming = told
        rows = [_named(row, names) for row in rows]
        while rows:
            some, rows = rows[: slices.size], rows[slices.size :]
            slices.pause()
            with slices.one():
                new = history.insert(_not_renamed(some, history, config.roots), durable=False)
            done.imported, done.skipped = done.imported + new, done.skipped + len(some) - new
        done.kind, done.read, done.invalid = incoming.kind, incoming.read, incoming.invalid
        done.faults = tuple(incoming.faults)
        on_progress(incoming.position)

    incoming = Incoming(done.path, os.uname().nodename, root or _root_of(done.path, config))
    read = partial(_read, incoming, history, redactor(config.limits.redact))
    jobs = Jobs(lambda _, tell: read(tell), insert)
    history.close()  # a connection must not be inherited by a fork
    jobs.run([0] if _is_large(done.path) and fitting() > 1 else [])
    if 0 in jobs.died:
        done.error = f"{done.path}: the process that read it {jobs.died[0]}; import it again"
    else:
        done.error = jobs.results[0] if jobs.results else read(partial(insert, 0))
    history.make_durable()


def _named(row: Row, names: Mapping[str, str]) -> Row:
    """A row of this host that was exported before its root got a name (`names`, by path), under the name."""
    key = names.get(row.values[_ROOT])
    if key is None or row.values[_HOST] != HOST:
        return row
    values, (workspace, updated_utc, runs) = list(row.values), (row.values[index] for index in _COMMIT[:3])
    values[_ROOT], values[_COMMIT_ID] = key, commit_id(key, workspace, updated_utc, runs)
    return row._replace(values=tuple(values))


def _not_renamed(rows: Sequence[Row], history: History, roots: Sequence[Root]) -> list[Row]:
    """The rows without those of a former root whose commit has a row in a root of the configuration: it was renamed
    after the export."""
    keys = {root.key for root in roots}
    same = " AND ".join(f"{name} IS ?" for name in _OF_COMMIT)
    sql = f"SELECT 1 FROM dispatch_history WHERE root IN ({marks(list(keys))}) AND {same}"
    with history.reading() as connection:
        return [
            row
            for row in rows
            if row.values[_ROOT] in keys
            or connection.execute(sql, (*keys, *(row.values[index] for index in _COMMIT))).fetchone() is None
        ]


def _is_large(path: str) -> bool:
    return os.path.isfile(path) and os.path.getsize(path) >= _LARGE_BYTES


def _read(incoming: Incoming, history: History, without: Redactor, tell: Callable[[_Told], None]) -> str | None:
    """Pass the redacted rows of a file to `tell`, in groups; returns why it was not read completely, else None."""
    error = None
    group: list[Row] = []
    weight = 0
    try:
        for row in import_formats.reader(history, incoming)(incoming):
            group.append(redacted(row, without))
            weight += row.weight
            if len(group) >= _GROUP or weight > _GROUP_BYTES:
                tell((group, incoming))
                group, weight = [], 0
    except ExchangeError as fault:
        error = str(fault)
    except OSError as fault:
        error = f"{incoming.path}: cannot be read: {fault.strerror}"
    except sqlite3.Error as fault:
        error = f"{incoming.path}: cannot be read: {fault}"
    except HistoryError as fault:  # the rows of a store depend on the history
        error = str(fault)
    tell((group, incoming))
    return error


def _root_of(path: str, config: Config) -> str | None:
    """The configured root of a core-agent store: the one that contains it or is beside it, else the only one."""
    directory = os.path.dirname(os.path.abspath(path))
    for root in config.roots:
        if directory in (root.path, os.path.dirname(root.path)):
            return root.key
    return config.roots[0].key if len(config.roots) == 1 else None
