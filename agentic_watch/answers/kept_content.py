"""What is kept of a dispatch's files: their names, their content, and what a failed one's log says last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from agentic_watch.answers import log_lines
from agentic_watch.answers.source import Source
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.workspace.kept_file import KeptFile

LINES = 10
_LOG_OF_DISPATCH = ".meta/agent.log"
_COLUMNS = "k.name, k.bytes, k.kept_from"
_ASKED_AT_ONCE = 50


class Kept(NamedTuple):
    """The files of one dispatch, by name, and the last lines of the `log` among them where it failed ("": no log)."""

    files: tuple[dict[str, Any], ...] = ()
    log: str = ""
    lines: tuple[str, ...] = ()


NOTHING_KEPT = Kept()


def kept(source: Source, dispatch: Mapping[str, Any], *, failed: bool) -> Kept:
    """What is kept of a dispatch, a row of the history with its id. Raises what the source raises."""
    sql = f"SELECT {_COLUMNS} FROM {source.dialect.kept} AS k WHERE {_of_one(source)} ORDER BY k.name"
    found = tuple(source.named(sql, _identity(source, dispatch)))
    log = log_of([file["name"] for file in found])
    if not failed or not log:
        return Kept(found)
    file = one(source, dispatch, log)
    return Kept(found, log, log_lines.last(log_lines.text_of(file.data), LINES) if file is not None else ())


def one(source: Source, dispatch: Mapping[str, Any], name: str) -> KeptFile | None:
    """One kept file of a dispatch; None when there is none of this name. Raises what the source raises."""
    sql = f"SELECT {_COLUMNS}, k.content FROM {source.dialect.kept} AS k WHERE {_of_one(source)} AND k.name = ?"
    for row in source.rows(sql, (*_identity(source, dispatch), name)):
        return KeptFile(*row)
    return None


def log_of(names: Sequence[str]) -> str:
    """Which of these files is the log of the dispatch: that of `dispatch --log`, else the first `.log`; "" for none."""
    logs = sorted(name for name in names if name.endswith(".log"))
    return _LOG_OF_DISPATCH if _LOG_OF_DISPATCH in logs else next(iter(logs), "")


def last_errors(source: Source, identities: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """(identity, last line of its log that tells of an error) of those dispatches whose logs have one.

    An identity is what the dialect's `identity` selects. A fleet whose tables are older has none.
    """
    columns = source.dialect.kept_identity.split(", ")
    condition = " AND ".join(f"{column} IN ({{}})" for column in columns)
    for start in range(0, len(identities), _ASKED_AT_ONCE):
        part = identities[start : start + _ASKED_AT_ONCE]
        marks = ", ".join("?" * len(part))
        sql = (
            f"SELECT {', '.join(columns)}, k.name, k.content FROM {source.dialect.kept} AS k "
            f"WHERE {condition.format(*[marks] * len(columns))} AND k.name LIKE '%.log'"
        )
        values = [value for column in range(len(columns)) for value in (identity[column] for identity in part)]
        try:
            rows = source.rows(sql, values)
        except HistoryError:
            return
        yield from _errors_of(rows)


def _errors_of(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], str]]:
    logs: dict[tuple[Any, ...], dict[str, bytes]] = {}
    for *identity, name, content in rows:
        logs.setdefault(tuple(identity), {})[name] = content
    for commit, found in logs.items():
        log = KeptFile("", 0, 0, found[log_of(list(found))])
        if error := log_lines.last_error(log_lines.text_of(log.data)):
            yield commit, error


def _of_one(source: Source) -> str:
    return " AND ".join(f"{column} = ?" for column in source.dialect.kept_identity.split(", "))


def _identity(source: Source, dispatch: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(dispatch[column.removeprefix("d.")] for column in source.dialect.identity.split(", "))
