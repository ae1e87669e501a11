"""Reads the files of an import: an export (one interchange object per line), another host's history of this schema or
an older one, or a core-agent store (a SQLite file of keys and JSON values).

A store's group `dispatch_history` has the last record of each workspace, as in its journal; `stats` has a summary that
outlives it.
"""

from __future__ import annotations

import io
import os
import sqlite3
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agentic_watch.config import Limits
from agentic_watch.exchange import ExchangeError
from agentic_watch.fleet import interchange, outbox
from agentic_watch.history import history_file
from agentic_watch.history.columns import (
    FINDING_COLUMNS,
    HISTORY_COLUMNS,
    USAGE_COLUMNS,
    commit_id,
    model_of,
    report_of,
    usage_values,
)
from agentic_watch.history.history_file import connect_read_only, connect_untouched
from agentic_watch.history.rows import Row
from agentic_watch.history.store import History
from agentic_watch.workspace import instant
from agentic_watch.workspace.journal import longest_line
from agentic_watch.workspace.jsontext import MAX_DEPTH, dump, load_object
from agentic_watch.workspace.kept_part import LARGEST
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.record import LINE_VALUES
from agentic_watch.workspace.workspace_errors import Malformed

STDIN = "-"
_MAGIC = b"SQLite format 3\0"
_LONGEST = longest_line(Limits()) + 2 * LARGEST
_SHOWN = 5
"""Invalid records per file that are named; further ones are counted."""


@dataclass(slots=True)
class Incoming:
    """The import of one file. `read` counts its records, `invalid` the invalid ones; `faults` names the first of these.

    `host` and `root` are defaults for records without them; `kind` is the file's format; `position` is the progress in
    bytes.
    """

    path: str
    host: str
    root: str | None = None
    kind: str = ""
    read: int = 0
    invalid: int = 0
    faults: list[str] = field(default_factory=list)
    position: int = 0

    def fault(self, where: str, cause: str) -> None:
        """Count an invalid record."""
        self.invalid += 1
        if len(self.faults) < _SHOWN:
            self.faults.append(f"{self.path}: {where}: {cause}")


Reader = Callable[[Incoming], Iterator[Row]]
"""Yields the rows of a file and counts records. Raises ExchangeError, OSError or sqlite3.Error."""


def _tables(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of each table of a database, by its name. Raises sqlite3.Error."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))] for name in names
    }


def _of_export(incoming: Incoming) -> Iterator[Row]:
    """The rows of all valid lines; invalid ones are counted. Raises OSError, ExchangeError."""
    with _open(incoming) as file:
        number = 0
        while line := file.readline(_LONGEST + 1):
            number += 1
            incoming.position += len(line)
            if len(line) > _LONGEST:
                raise ExchangeError(
                    f"{incoming.path}: line {number}: is longer than {_LONGEST} bytes; this is not an export"
                )
            if not line.strip():
                continue
            incoming.read += 1
            try:
                yield _row_of_line(line, incoming)
            except Malformed as error:
                incoming.fault(f"line {number}", error.cause)


def _open(incoming: Incoming) -> nullcontext[io.BufferedReader] | io.BufferedReader:
    if incoming.path == STDIN:
        return nullcontext(sys.stdin.buffer)  # type: ignore[arg-type]
    return open(incoming.path, "rb")


def _row_of_line(line: bytes, incoming: Incoming) -> Row:
    # A line has the report, and the report's findings again.
    found = load_object(line, incoming.path, LINE_VALUES, MAX_DEPTH + 1)
    if "schema" in found and found["schema"] != interchange.SCHEMA:
        raise Malformed(
            incoming.path, f"has schema {found['schema']!r}, this program reads {interchange.SCHEMA}; upgrade it"
        )
    found.setdefault("host", incoming.host)
    found.setdefault("root", incoming.root)
    for name in ("root", "host", "workspace"):
        value = found.get(name)
        if not isinstance(value, str) or not value or name_problem(value):
            raise Malformed(incoming.path, f"has no {name} that can be one")
    return interchange.row(found)


_MADE = frozenset({"commit_id", *USAGE_COLUMNS})
"""Recomputed: an older history lacks them, and a commit_id from a file is not trusted."""
_FINDINGS = ", ".join(f'"{name}"' for name in FINDING_COLUMNS)


def _of_history(incoming: Incoming) -> Iterator[Row]:
    """All rows with their findings, by id. The file is only read. Raises ExchangeError, OSError, sqlite3.Error."""
    with closing(connect_read_only(incoming.path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > history_file.VERSION:
            raise ExchangeError(f"{incoming.path}: has schema version {version}, newer than this program's; upgrade it")
        there = set(_tables(connection)["dispatch_history"])
        if lacking := set(HISTORY_COLUMNS) - there - _MADE:
            raise ExchangeError(
                f"{incoming.path}: is not a history of agentic-watch: lacks {', '.join(sorted(lacking))}"
            )
        yield from _rows_of_history(connection, incoming)


def _rows_of_history(connection: sqlite3.Connection, incoming: Incoming) -> Iterator[Row]:
    columns = [name for name in HISTORY_COLUMNS if name not in _MADE]
    there = _tables(connection)
    moved_to = "moved_to" if "moved_to" in there["dispatch_history"] else "NULL"
    has_kept = "kept_files" in there
    sql = f"SELECT id, {moved_to}, {', '.join(columns)} FROM dispatch_history ORDER BY id"
    for number, place, *values in connection.execute(sql):
        incoming.position += 1
        incoming.read += 1
        found: dict[str, Any] = dict(zip(columns, values, strict=True))
        found["commit_id"] = commit_id(found["root"], found["workspace"], found["updated_utc"], found["runs"])
        report = report_of(found["report"])
        try:  # values changed by SQL are converted to what a commit writes
            found["report"] = dump(report) if report else found["report"]
        except ValueError:
            incoming.fault(f"dispatch {number}", "its report holds a number that JSON does not know")
            continue
        found["model"] = model_of(found["agent"], report)
        found |= zip(USAGE_COLUMNS, usage_values(report), strict=True)
        findings = connection.execute(f"SELECT {_FINDINGS} FROM findings WHERE dispatch_id = ? ORDER BY id", (number,))
        kept = outbox.kept_of(connection, number) if has_kept else ()
        yield Row(tuple(found[name] for name in HISTORY_COLUMNS), tuple(findings), place, kept=kept)


_STORE, _STORE_COLUMNS = "entries", frozenset({"group_name", "entry_key", "entry_value"})
_RECORDS, _STATS = "dispatch_history", "stats"
_VERDICTS = ("passed", "build_passed", "test_passed", "lint_passed")
_CHANGES = ("files_changed", "insertions", "deletions")
_SECOND = 19
"""Length of a time without a fraction, as in a summary."""

_Known = Collection[tuple[str, int, str]]
"""(workspace, runs, updated_utc to the second) of existing rows, to which a summary adds nothing."""


def _of_store(incoming: Incoming, known: _Known) -> Iterator[Row]:
    """The rows of all records, then of summaries without a record. Raises ExchangeError, sqlite3.Error."""
    if incoming.root is None:
        raise ExchangeError(f"{incoming.path}: its records name no root; configure that root, or name it with --as")
    seen = set(known)
    with closing(connect_read_only(incoming.path)) as connection:
        for key, found in _values(connection, _RECORDS, incoming):
            yield from _checked(key, found, incoming, seen)
        for key, found in _values(connection, _STATS, incoming):
            yield from _checked(key, _from_stats(found), incoming, seen, only_new=True)


def _values(connection: sqlite3.Connection, group: str, incoming: Incoming) -> Iterator[tuple[str, dict[str, Any]]]:
    sql = f"SELECT entry_key, entry_value FROM {_STORE} WHERE group_name = ? ORDER BY entry_key"
    for key, value in connection.execute(sql, (group,)):
        incoming.position += 1
        incoming.read += 1
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        try:
            yield str(key), load_object(data, f"{group} {key}", LINE_VALUES, MAX_DEPTH + 1)
        except Malformed as error:
            incoming.fault(f"{group} {key}", error.cause)


def _checked(
    key: str, found: dict[str, Any], incoming: Incoming, seen: set[tuple[str, int, str]], *, only_new: bool = False
) -> Iterator[Row]:
    whole = {"workspace": key, **found, "root": incoming.root, "host": incoming.host}
    try:
        if not isinstance(whole["workspace"], str) or name_problem(whole["workspace"]):
            raise Malformed(key, "has an invalid workspace")
        row = interchange.row(whole)
    except Malformed as error:
        incoming.fault(key, error.cause)
        return
    values = dict(zip(HISTORY_COLUMNS, row.values, strict=True))
    identity = values["workspace"], values["runs"], values["updated_utc"][:_SECOND]
    if not (only_new and identity in seen):
        seen.add(identity)
        yield row


def _from_stats(found: dict[str, Any]) -> dict[str, Any]:
    """Convert a summary to a record: renames its keys; a missing time is unset."""
    report = {name: found[name] for name in _VERDICTS if name in found}
    changes = {name: found[name] for name in _CHANGES if name in found}
    record = {name: value for name, value in found.items() if name not in (*_VERDICTS, *_CHANGES)}
    record["committed_at"] = found.get("completed_at")
    record["started_at"] = found.get("started_at") or instant.ZERO_TEXT
    record["report"] = report | ({"changes": changes} if changes else {})
    record["changes"] = changes
    return record


def reader(history: History, incoming: Incoming) -> Reader:
    """The reader for a file, by its content. Raises ExchangeError, OSError, sqlite3.Error."""
    path = incoming.path
    if path == STDIN or not _is_database(path):
        incoming.kind = "export"
        return _of_export
    with closing(connect_untouched(path)) as connection:
        found = _tables(connection)
    if not found:  # the tables of a new history may all be in its WAL
        with closing(connect_read_only(path)) as connection:
            found = _tables(connection)
    if "dispatch_history" in found:
        incoming.kind = "history"
        return _of_history
    if set(found.get(_STORE, ())) >= _STORE_COLUMNS:
        incoming.kind = "store"
        return partial(_of_store, known=_known_of(history, incoming.root or ""))
    raise ExchangeError(f"{path}: is another program's database; import reads exports, histories and core-agent stores")


def _is_database(path: str) -> bool:
    if not os.path.isfile(path):  # a named pipe can be read only once
        return False
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _known_of(history: History, root: str) -> set[tuple[str, int, str]]:
    """Raises HistoryError."""
    with history.reading() as connection:
        sql = "SELECT workspace, runs, substr(updated_utc, 1, 19) FROM dispatch_history WHERE root = ?"
        return set(connection.execute(sql, (root,)))
