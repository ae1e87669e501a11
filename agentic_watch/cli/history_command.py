"""`agentic-watch history`: search and list what was committed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import click

from agentic_watch.cli.exit_status import Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, human_duration, line_width, print_json_lines, print_table, shorten
from agentic_watch.history import queries
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.queries import Wanted
from agentic_watch.workspace import instant

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(\d{1,9})([mhdw])", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DAY_NS = 86_400 * 10**9
_TASK_READ = 1000
_TASK_WIDTH = 200
_HEADERS = ("UPDATED (UTC)", "STATUS", "WORKSPACE", "AGENT", "RUN", "DURATION", "FINDINGS", "TASK")
_COLUMNS = (
    "root",
    "updated_utc",
    "status",
    "workspace",
    "agent",
    "runs",
    "duration_ms",
    "findings_count",
    # A task can be a megabyte; a line of it is shown.
    f"substr(task, 1, {_TASK_READ}) AS task",
)
_WIDEST = 60
_LEAST_TASK_WIDTH = 20


class _Time(click.ParamType[str]):
    """A point in time as `updated_utc` is written; with `end`, a date means the end of its day."""

    name = "time"

    def __init__(self, *, end: bool) -> None:
        self._end = end

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """An RFC 3339 time, a date (UTC) or a span before now."""
        try:
            return _point(value, end=self._end, now=time.time())
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no RFC 3339 time, no date (2026-04-14) and no span (90m, 12h, 7d, 2w)", param, ctx)


def _point(text: str, *, end: bool, now: float) -> str:
    """The time that `text` means, `now` in seconds since the epoch. Raises ValueError or OverflowError."""
    if span := _SPAN.fullmatch(text):
        ns = int(now) * 10**9 - int(span[1]) * _SECONDS[span[2]] * 10**9
        return instant.Instant(text, ns).utc()
    if _DATE.fullmatch(text):
        ns = instant.parse(f"{text}T00:00:00Z").ns
        return instant.Instant(text, ns + _DAY_NS * end).utc()
    return instant.parse(text).utc()


@click.command("history")
@click.argument("search", nargs=-1)
@click.option("--repo", default="", help="Of this repository.")
@click.option("--org", default="", help="Of this organisation.")
@click.option("--agent", default="", help="By this agent: codex finds codex:gpt-5 too.")
@click.option("--status", default="", help="With this status.")
@click.option("--workspace", default="", help="Of this workspace (its name below its root).")
@click.option("--since", type=_Time(end=False), metavar="T", help="Updated at T or later.")
@click.option("--until", type=_Time(end=True), metavar="T", help="Updated before T.")
@click.option("--all", "every", is_flag=True, help="Every commit of a dispatch, not only its newest.")
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(0), help="At most so many; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, with all columns.")
@click.pass_obj
def command(state: State, /, search: tuple[str, ...], as_json: bool, **filters: Any) -> None:
    """List what was committed, newest first: all, or what SEARCH is in.

    SEARCH is one or more words, the last one perhaps only begun; task, question and findings are searched.
    T is a time (RFC 3339), a date in UTC (until means its end), or a span before now: 90m, 12h, 7d, 2w.
    """
    given = {"search": " ".join(search), **filters}
    wanted = Wanted(**{name: _usable(value) for name, value in given.items() if value is not None})
    if search and not queries.words(wanted.search):
        raise click.BadParameter("has no letter and no digit to search for", param_hint="SEARCH")
    path = state.config_to_read().history
    try:
        with queries.reading(path) as connection:
            if as_json:
                print_json_lines(map(_document, queries.dispatches(connection, wanted)))
            else:
                rows = list(queries.dispatches(connection, wanted, _COLUMNS))
    except HistoryError as error:
        raise Refused(str(error)) from error
    if not as_json:
        _print(rows)


def _usable(value: Any) -> Any:
    """An argument that is not UTF-8 matches nothing, but it must not end in a traceback."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _document(row: dict[str, Any]) -> dict[str, Any]:
    if row["report"] is not None:
        row["report"] = json.loads(row["report"])
    return row


def _print(rows: list[dict[str, Any]]) -> None:
    width = line_width()
    headers = list(_HEADERS)
    cells = [list(_cells(row, _WIDEST if width else None)) for row in rows]
    if len({row["root"] for row in rows}) > 1:
        headers.insert(2, "ROOT")
        for line, row in zip(cells, rows, strict=True):
            line.insert(2, row["root"])
    before = [max(map(len, column)) + 2 for column in zip(headers, *cells, strict=True)][:-1]
    left = max(_LEAST_TASK_WIDTH, width - sum(before)) if width else _TASK_WIDTH
    print_table(headers, [[*line[:-1], shorten(line[-1], left)] for line in cells])


def _cells(row: dict[str, Any], widest: int | None) -> Iterator[str]:
    """The cells of a line, each but the task at most `widest` characters."""
    yield f"{row['updated_utc'][:19]}Z"
    for name in ("status", "workspace", "agent"):
        text = clean(row[name])
        yield shorten(text, widest) if widest else text
    yield str(row["runs"])
    yield human_duration(row["duration_ms"])
    yield str(row["findings_count"])
    yield clean(shorten(row["task"], _TASK_READ))
