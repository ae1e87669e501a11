"""Reads kept files of dispatches, and finds the last lines and the last error of a log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.history import HistoryError
from agentic_watch.workspace.kept_part import KeptFile

_LOOKED_AT = 16_384
"""Characters at the end of a log that are searched for an error; takes 2 ms without a match."""
_LONGEST = 500
_LONGEST_STATUS = 100

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])|\x9b[0-?]*[ -/]*[@-~]")
"""Terminal escapes: colours, cursor movements, window titles (ECMA-48, section 5.4)."""
_STAMP = re.compile(r"^[\[(]?\d{2,4}[-:/]\d\d[-:/]\d\d[\d:.,TZ+-]*(?: \d\d:\d\d[\d:.,Z+-]*)?[\])]?\s+")
_DECORATION = " \t=-#*_>|│"
_NO_ERROR = re.compile(
    r"\b(?:0|no|without) (?:\w+ )?(?:errors?|failures?|failed)\b|\b(?:errors?|failed|failures?): 0\b", re.IGNORECASE
)
_ERROR = re.compile(
    r"(?<![\w/.-])(?:error|errors|exception|fatal|panic|panicked|failed|failure|denied|refused|cannot|could not|can't|"
    r"unable to|not found|no such|killed|abort|aborted|segmentation fault|out of memory|no space left|timed out)\b"
    r"(?![/.]\w)"
    r"|\b(?-i:[A-Za-z_]*(?:Error|Exception))\b(?!\.\w)|\berror\[|\berr!",
    re.IGNORECASE,
)
_SAID_IN = ("error", "message", "result", "msg")
"""Keys of the message in logs of JSON lines."""
_LEVELS = frozenset({"error", "fatal", "critical", "panic"})
_ONLY_STATUS = re.compile(
    r"(?:\w+ ){0,2}(?:exit(?:ed)?(?: with)?(?: (?:status|code))?:? -?\d+(?: \(SIG[A-Z0-9]+ in a shell\))?"
    r"|killed by (?:SIG[A-Z0-9+]+|signal \d+))\.?",
    re.IGNORECASE,
)


def is_only_status(question: str) -> bool:
    """Whether a dispatch's question is only an exit status or signal."""
    if len(question) >= _LONGEST_STATUS or not ("xit" in question or "illed by" in question):
        return False  # the usual case: fast, since it may run a hundred thousand times
    return _ONLY_STATUS.fullmatch(question.strip()) is not None


def text_of(data: bytes) -> str:
    """Decode any bytes of a log."""
    return data.decode("utf-8", "replace")


def last(text: str, number: int) -> tuple[str, ...]:
    """The last non-empty lines, each as a terminal shows it at the end: without escapes, and only the text after the
    last carriage return."""
    found: list[str] = []
    for line in _backwards(text):
        found.append(line)
        if len(found) == number:
            break
    return tuple(reversed(found))


def last_error(text: str) -> str:
    """The last line with an error, without its time stamp, at most 500 characters; "" when there is none."""
    for line in _backwards(text):
        if not _ERROR.search(line):
            continue
        said = _said(line) if line.startswith("{") else line
        said = _STAMP.sub("", said).strip(_DECORATION)[:_LONGEST]
        if _ERROR.search(said) and not _NO_ERROR.search(said):
            return said
    return ""


def _backwards(text: str) -> Iterator[str]:
    """Its non-empty lines, cleaned, last first."""
    for line in reversed(text[-_LOOKED_AT:].split("\n")):
        shown = _ESCAPES.sub("", line.rstrip("\r")).rpartition("\r")[2].rstrip()
        if shown:
            yield shown


def _said(line: str) -> str:
    """The message in a line of JSON; "" when there is none."""
    try:
        document: Any = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(document, dict):
        return ""
    texts = (value.get("message") if isinstance(value, dict) else value for value in map(document.get, _SAID_IN))
    said = next((text.strip().partition("\n")[0] for text in texts if isinstance(text, str) and text.strip()), "")
    tells_of_error = document.get("is_error") is True or document.get("error") or _is_error(document)
    return f"error: {said}" if said and tells_of_error and not _ERROR.search(said) else said


def _is_error(document: dict[str, Any]) -> bool:
    return any(str(document.get(name)).lower() in _LEVELS for name in ("level", "severity", "type"))


LINES = 10
_LOG_OF_DISPATCH = ".meta/agent.log"
_COLUMNS = "k.name, k.bytes, k.kept_from"
_ASKED_AT_ONCE = 50


class Kept(NamedTuple):
    """The kept files of one dispatch by name, and if it failed the last lines of its `log` ("": no log)."""

    files: tuple[dict[str, Any], ...] = ()
    log: str = ""
    lines: tuple[str, ...] = ()


NOTHING_KEPT = Kept()


def kept(source: Source, dispatch: Mapping[str, Any], *, failed: bool) -> Kept:
    """The kept files of a dispatch (a row of the history with its id). Raises the errors of the source."""
    sql = f"SELECT {_COLUMNS} FROM kept_files AS k WHERE {_of_one(source)} ORDER BY k.name"
    found = tuple(source.named(sql, _identity(source, dispatch)))
    log = log_of([file["name"] for file in found])
    if not failed or not log:
        return Kept(found)
    file = one(source, dispatch, log)
    return Kept(found, log, last(text_of(file.data), LINES) if file is not None else ())


def one(source: Source, dispatch: Mapping[str, Any], name: str) -> KeptFile | None:
    """One kept file by name; None when there is none. Raises the errors of the source."""
    sql = f"SELECT {_COLUMNS}, k.content FROM kept_files AS k WHERE {_of_one(source)} AND k.name = ?"
    for row in source.rows(sql, (*_identity(source, dispatch), name)):
        return KeptFile(*row)
    return None


def log_of(names: Sequence[str]) -> str:
    """The log among these files: that of `dispatch --log`, else the first `.log`; "" for none."""
    logs = sorted(name for name in names if name.lower().endswith(".log"))  # case-insensitive, as LIKE
    return _LOG_OF_DISPATCH if _LOG_OF_DISPATCH in logs else next(iter(logs), "")


def last_errors(source: Source, identities: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield (identity, last error in its log) for dispatches whose log has one.

    An identity is what the dialect's `identity` selects. A fleet with older tables has none.
    """
    columns = source.dialect.kept_identity.split(", ")
    condition = " AND ".join(f"{column} IN ({{}})" for column in columns)
    for start in range(0, len(identities), _ASKED_AT_ONCE):
        part = identities[start : start + _ASKED_AT_ONCE]
        marks = ", ".join("?" * len(part))
        sql = (
            f"SELECT {', '.join(columns)}, k.name, k.content FROM kept_files AS k "
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
        if error := last_error(text_of(log.data)):
            yield commit, error


def _of_one(source: Source) -> str:
    return " AND ".join(f"{column} = ?" for column in source.dialect.kept_identity.split(", "))


def _identity(source: Source, dispatch: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(dispatch[column.removeprefix("d.")] for column in source.dialect.identity.split(", "))
