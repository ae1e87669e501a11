"""Rows from elsewhere into this host's history; what is there already is skipped."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from agentic_watch.config import Config
from agentic_watch.exchange import ExchangeError, import_formats
from agentic_watch.exchange.import_formats import Incoming
from agentic_watch.exchange.redacting import redacted
from agentic_watch.exchange.slices import Slices
from agentic_watch.history.rows import Row
from agentic_watch.history.store import History
from agentic_watch.workspace.redactor import redactor

_GROUP_BYTES = 8 << 20


@dataclass(slots=True)
class Imported:
    """What became of one file's records; `error` says why it was not read to its end, None when it was."""

    path: str
    kind: str = ""
    read: int = 0
    imported: int = 0
    skipped: int = 0
    invalid: int = 0
    faults: tuple[str, ...] = ()
    error: str | None = None


def import_file(
    path: str, config: Config, history: History, root: str | None, on_progress: Callable[[int, int], None]
) -> Iterator[Imported]:
    """Import one file, group by group; gives the same Imported after each, and at the end.

    `root` is the root of records that name none. `on_progress` hears how far into how much of the file it is. Raises
    HistoryError when the history cannot take them; what was given before is in it.
    """
    done, slices = Imported(path), Slices()
    incoming = Incoming(path, os.uname().nodename, root or _root_of(path, config))
    try:
        done.kind, reader = import_formats.reader(history, incoming)
        without = redactor(config.limits.redact)
        for group in _groups((redacted(row, without) for row in reader(incoming)), slices):
            slices.pause()
            with slices.one():
                new = history.insert(group, durable=False)
            done.imported, done.skipped = done.imported + new, done.skipped + len(group) - new
            done.read, done.invalid = incoming.read, incoming.invalid
            on_progress(incoming.position, incoming.size)
            yield done
    except ExchangeError as error:
        done.error = str(error)
    except OSError as error:
        done.error = f"{path}: cannot be read: {error.strerror}"
    except sqlite3.Error as error:
        done.error = f"{path}: cannot be read: {error}"
    history.make_durable()
    done.read, done.invalid, done.faults = incoming.read, incoming.invalid, tuple(incoming.faults)
    yield done


def _root_of(path: str, config: Config) -> str | None:
    """The configured root that a store belongs to: it lies in it, or beside it; else the only one there is."""
    directory = os.path.dirname(os.path.abspath(path))
    for root in config.roots:
        if directory in (root.path, os.path.dirname(root.path)):
            return root.key
    return config.roots[0].key if len(config.roots) == 1 else None


def _groups(rows: Iterable[Row], slices: Slices) -> Iterator[list[Row]]:
    """The rows, some at a time: one transaction each, as long as a slice, and no more than may be held in memory."""
    group: list[Row] = []
    weight = 0
    for row in rows:
        group.append(row)
        weight += row.weight
        if len(group) >= slices.size or weight > _GROUP_BYTES:
            yield group
            group, weight = [], 0
    if group:
        yield group
