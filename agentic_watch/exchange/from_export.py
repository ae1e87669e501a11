"""Rows from an export: one interchange object a line."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import nullcontext

from agentic_watch.config import Limits
from agentic_watch.exchange.exchange_errors import ExchangeError
from agentic_watch.exchange.incoming import Incoming
from agentic_watch.fleet import interchange
from agentic_watch.history.rows import Row
from agentic_watch.workspace.journal import longest_line
from agentic_watch.workspace.jsontext import MAX_DEPTH, MAX_VALUES, load_object
from agentic_watch.workspace.kept_file import LARGEST
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.workspace_errors import Malformed

STDIN = "-"
_LONGEST = longest_line(Limits()) + 2 * LARGEST
_SCHEMA = 1


def rows(incoming: Incoming) -> Iterator[Row]:
    """The rows of all lines that are interchange objects; the others are counted. Raises OSError, ExchangeError."""
    with _open(incoming) as file:
        number = 0
        while line := file.readline(_LONGEST + 1):
            number += 1
            incoming.position += len(line)
            if len(line) > _LONGEST:
                raise ExchangeError(
                    f"{incoming.path}: line {number}: is longer than {_LONGEST} bytes; this is no export"
                )
            if not line.strip():
                continue
            incoming.read += 1
            try:
                yield _row(line, incoming)
            except Malformed as error:
                incoming.fault(f"line {number}", error.cause)


def _open(incoming: Incoming) -> nullcontext[io.BufferedReader] | io.BufferedReader:
    if incoming.path == STDIN:
        return nullcontext(sys.stdin.buffer)  # type: ignore[arg-type]
    file = open(incoming.path, "rb")
    info = os.fstat(file.fileno())
    incoming.size = info.st_size if stat.S_ISREG(info.st_mode) else 0
    return file


def _row(line: bytes, incoming: Incoming) -> Row:
    # A line holds its report, and the report's findings once more.
    found = load_object(line, incoming.path, 3 * MAX_VALUES, MAX_DEPTH + 2)
    if "schema" in found and found["schema"] != _SCHEMA:
        raise Malformed(incoming.path, f"has schema {found['schema']!r}, this program reads {_SCHEMA}; upgrade it")
    found.setdefault("host", incoming.host)
    found.setdefault("root", incoming.root)
    for name in ("root", "host", "workspace"):
        value = found.get(name)
        if not isinstance(value, str) or not value or name_problem(value):
            raise Malformed(incoming.path, f"has no {name} that can be one")
    return interchange.row(found)
