"""`agentic-watch history`: search and list what was committed."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from agentic_watch.answers import listing
from agentic_watch.cli import clock_times
from agentic_watch.cli.answer_options import asking, filtered, one_form, outcomes, say_nothing_matches, wanted
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import human_duration, print_csv, print_json_lines, shorten
from agentic_watch.cli.table_layout import Column, print_columns
from agentic_watch.history import queries
from agentic_watch.history.columns import HISTORY_COLUMNS

_TEXT_READ = 1000
_TEXT_SHOWN = 200
_LONG = ("task", "question", "report")
_TIMES = ("updated_utc", "started_utc")
_KNOWN = ("id", *HISTORY_COLUMNS, "moved_to")
_SHOWN = ("updated_utc", "status", "root", "workspace", "agent", "runs", "duration_ms", "findings_count", "task")
_COLUMNS = {
    "updated_utc": Column("UPDATED"),
    "status": Column("STATUS", least=9),
    "root": Column("ROOT", least=8, path=True, goes=4),
    "workspace": Column("WORKSPACE", least=18, path=True),
    "agent": Column("AGENT", least=11, goes=5),
    "task": Column("TASK", least=20, goes=6),
    "duration_ms": Column("DURATION", number=True, goes=7),
    "findings_count": Column("FINDINGS", number=True, goes=8),
    "runs": Column("RUN", number=True, goes=9),
}
"""How the columns that are usually shown look, and in which order they give way."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What is printed, and how: "table", "json" or "csv"; `columns` is () when the user named none."""

    name: str
    columns: tuple[str, ...]
    utc: bool


@click.command("history")
@click.argument("search", nargs=-1)
@filtered
@click.option("--workspace", multiple=True, metavar="NAME", help="Of this workspace (its name now or before).")
@click.option("--failed", is_flag=True, help="Those that failed: short for the statuses that say so.")
@click.option("--committed-since", default="", metavar="T", help="Committed at T or later, whenever they ended.")
@click.option("--all", "every", is_flag=True, help="Every commit of a dispatch, not only its newest.")
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(0), help="At most so many; 0: all.")
@click.option("--columns", default="", metavar="NAME,…", help="These columns of the history, in this order.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with all columns.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, with all columns.")
@click.pass_obj
def command(state: State, /, search: tuple[str, ...], limit: int, columns: str, **options: Any) -> None:
    """List what was committed, newest first: all, or what SEARCH is in.

    SEARCH is one or more words, the last one perhaps only begun; task, question and findings are searched.
    A filter may be given more than once, or with commas: one of its values has to match. T is a span before now
    (90m, 12h, 7d, 2w, 6mo), today, yesterday, week, a date (until means its end) or an RFC 3339 time.

    \b
    Examples:
      agentic-watch history --failed --since today
      agentic-watch history --repo billing,gateway --agent claude timeout
    """
    form = _form(options, columns)
    asked = wanted({**options, "search": " ".join(search)})
    if search and not queries.words(asked.search):
        raise click.BadParameter("has no letter and no digit to search for", param_hint="SEARCH")
    if options["failed"]:
        asked = replace(asked, status=(*asked.status, *outcomes(state).statuses("failed")))
    with asking(state) as source:
        rows = listing.dispatches(source, asked, _expressions(form), limit + (limit > 0))
        if not _print(rows, form, limit):
            say_nothing_matches(source, asked, utc=form.utc)


def _form(options: dict[str, Any], columns: str) -> _Form:
    one_form(as_json=options["as_json"], as_csv=options["as_csv"])
    name = "json" if options["as_json"] else "csv" if options["as_csv"] else "table"
    named = tuple(columns.split(",")) if columns else ()
    for column in named:
        if column not in _KNOWN:
            near = difflib.get_close_matches(column, _KNOWN, 1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KNOWN)}"
            raise click.BadParameter(f"no column {column!a}; {meant}", param_hint="--columns")
    return _Form(name, named, options["utc"])


def _expressions(form: _Form) -> Sequence[str]:
    if form.name != "table":
        return [f"d.{column}" for column in form.columns] or ["d.*"]
    # A task can be a megabyte; a line of it is shown.
    return [_part(column) if column in _LONG else f"d.{column}" for column in form.columns or _SHOWN]


def _part(column: str) -> str:
    return f"substr(d.{column}, 1, {_TEXT_READ}) AS {column}"


def _print(rows: Iterator[dict[str, Any]], form: _Form, limit: int) -> bool:
    """Print all rows but those beyond the limit; gives whether there was any."""
    shown = itertools.islice(rows, limit) if limit else rows
    first = next(shown, None)
    if first is None:
        if form.name == "csv":
            print_csv(form.columns or _KNOWN, ())
        return False
    shown = itertools.chain([first], shown)
    if form.name == "json":
        print_json_lines(map(listing.document, shown))
    elif form.name == "csv":
        documents = map(listing.document, shown)
        print_csv(form.columns or tuple(first), documents)
    else:
        _print_table(list(shown), form)
        if next(rows, None) is not None:
            click.echo(f"the newest {limit} are shown; -n 0 shows all", err=True)
    return True


def _print_table(rows: list[dict[str, Any]], form: _Form) -> None:
    names = form.columns or _SHOWN
    if not form.columns and len({row["root"] for row in rows}) == 1:
        names = tuple(name for name in names if name != "root")
    columns, cells = [], []
    for name in names:
        column = _COLUMNS.get(name) or Column(name.upper(), least=8, goes=1)
        values = [row[name] for row in rows]
        if name in _TIMES:
            header, texts = clock_times.column(column.header.removesuffix("_UTC"), values, utc=form.utc)
            column = replace(column, header=header)
        else:
            texts = [_cell(name, value) for value in values]
        columns.append(column)
        cells.append(texts)
    print_columns(columns, list(zip(*cells, strict=True)))


def _cell(name: str, value: Any) -> str:
    if name == "duration_ms":
        return human_duration(value)
    return shorten(value, _TEXT_SHOWN) if isinstance(value, str) else "" if value is None else str(value)
