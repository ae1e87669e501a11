"""`agentic-watch history`: searches and lists committed dispatches, or with --follow prints new ones."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
from click.core import ParameterSource

from agentic_watch import counted
from agentic_watch.answers import answer_shape
from agentic_watch.answers.past import dispatch_list, filters, sql_dialects
from agentic_watch.answers.past.filters import Filter
from agentic_watch.cli import messages
from agentic_watch.cli.answer_options import (
    Form,
    asking,
    filtered,
    form_of,
    formed,
    outcomes,
    say_nothing_matches,
    wanted,
)
from agentic_watch.cli.exit_status import Interrupted
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import line_width, on_terminal, print_csv, print_json_lines
from agentic_watch.cli.table_layout import Column, RunningTable, print_table
from agentic_watch.cli.value_texts import dollars, human_duration, shorten
from agentic_watch.config.value_checks import nearest
from agentic_watch.history.columns import COST_COLUMN, TABLE_COLUMNS, TOKEN_COLUMNS

_SHORT = {"cost": (COST_COLUMN,), "tokens": tuple(TOKEN_COLUMNS)}
"""Short names accepted by --columns."""


def _requests(_ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in _parts(values):
        if filters.number(value) is None and "/" not in value:
            raise click.BadParameter(f"{value!a} is neither a number nor a URL", param=parameter)
    return values


def _issues(_ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in _parts(values):
        if filters.number(value) is None:
            raise click.BadParameter(f"{value!a} is no number", param=parameter)
    return values


def _parts(values: tuple[str, ...]) -> list[str]:
    return [part for value in values for part in value.split(",")]


@click.command("history")
@click.argument("search", nargs=-1)
@filtered
@click.option("--pr", multiple=True, metavar="N|URL", help="Only this pull request.", callback=_requests)
@click.option("--issue", multiple=True, metavar="N", help="Only this issue.", callback=_issues)
@click.option("--branch", multiple=True, metavar="BRANCH", help="Only this branch.")
@click.option("--commit", multiple=True, metavar="HASH", help="Only runs that left this commit; a prefix is enough.")
@click.option("--session", multiple=True, metavar="ID", help="Only this session of an agent.")
@click.option("--failed", is_flag=True, help="Only failed dispatches, by any status that means failed.")
@click.option("--all", "every", is_flag=True, help="Every commit of a dispatch, not only its newest.")
@click.option(
    "--columns",
    default="",
    metavar="NAME,…",
    help="Columns of the history to print, in this order (also cost, tokens).",
)
@click.option("-f", "--follow", is_flag=True, help="Print new commits as they are made, until Ctrl-C or -n N of them.")
@formed("Print one JSON object per line, with all columns.")
@click.pass_obj
def command(state: State, /, search: tuple[str, ...], columns: str, **options: Any) -> None:
    """List committed dispatches, newest first: all, or those matching SEARCH.

    SEARCH is one or more words; all words must match, the last may be a prefix. Task, question and findings are
    searched, among others. Repeat a filter or separate values with commas to match any of them. T is a span before
    now (90m, 12h, 7d, 2w, 6mo), today, yesterday, week, a date (--until: its end) or an RFC 3339 time.

    \b
    Examples:
      agentic-watch history --failed --since today
      agentic-watch history --repo billing,gateway --agent claude timeout
      agentic-watch history --follow --failed
      agentic-watch history --pr 42 --columns updated_utc,status,workspace,session_id,cost_microusd
    """
    form, named = form_of(options), _named(columns)
    asked = wanted({**options, "search": " ".join(search)})
    if search and not sql_dialects.search_words(asked.search):
        raise click.BadParameter("has no letter and no digit to search for", param_hint="SEARCH")
    if options["failed"]:
        asked = asked._replace(status=(*asked.status, *outcomes(state).statuses("failed")))
    if options["follow"]:
        follow(state, asked, form, named, utc=options["utc"])
        return
    with asking(state) as source:
        rows = dispatch_list.dispatches(source, asked, expressions(form, named), form.limit + (form.limit > 0))
        if form.name == "table":
            found = _print_table(rows, form, named, utc=options["utc"])
        else:
            found = _print_rows(rows, form, named)
        if not found:
            say_nothing_matches(source, asked, utc=options["utc"])
        elif next(rows, None) is not None:
            messages.tell(messages.INFO, f"showing the newest {form.limit:,}; -n 0 shows all")


def _named(columns: str) -> tuple[str, ...]:
    """The columns given, () for none. Raises click.BadParameter."""
    given = columns.split(",") if columns else []
    named = tuple(name for one in given for name in _SHORT.get(one, (one,)))
    for column in named:
        if column not in TABLE_COLUMNS:
            known = (*TABLE_COLUMNS, *_SHORT)
            near = nearest(column, known)
            meant = f"did you mean {near}?" if near else f"columns: {', '.join(known)}"
            raise click.BadParameter(f"no column {column!a}; {meant}", param_hint="--columns")
    return named


def _print_rows(rows: Iterator[dict[str, Any]], form: Form, named: Sequence[str]) -> bool:
    """Print the rows up to the limit as they arrive; returns whether there was any."""
    shown = map(dispatch_list.document, itertools.islice(rows, form.limit) if form.limit else rows)
    first = next(shown, None)
    whole = itertools.chain([] if first is None else [first], shown)
    if form.name == "json":
        print_json_lines(map(answer_shape.absent_as_null, whole))
    else:
        everything = TABLE_COLUMNS if first is None else [name for name in first if name != "schema"]
        print_csv(named or everything, whole)
    return first is not None


def _print_table(rows: Iterator[dict[str, Any]], form: Form, named: Sequence[str], *, utc: bool) -> bool:
    """Print the rows up to the limit as a table; returns whether there was any."""
    shown = list(itertools.islice(rows, form.limit) if form.limit else rows)
    one_root = not named and len({row["root"] for row in shown}) == 1
    print_table(_columns(named, one_root=one_root), shown, utc=utc)
    return bool(shown)


_TEXT_READ = 1000
_TEXT_SHOWN = 200
_LONG = ("task", "question", "report")
_SHOWN = ("updated_utc", "status", "root", "workspace", "agent", "runs", "duration_ms", "findings_count", "task")


def _column(name: str, header: str = "", **layout: Any) -> Column:
    """A column of the history; long texts are cut."""

    def cell(row: dict[str, Any]) -> Any:
        value = row[name]
        return shorten(value, _TEXT_SHOWN) if isinstance(value, str) else value

    return Column(header or name.upper(), cell, **layout)


def _tokens(name: str) -> Column:
    def cell(row: dict[str, Any]) -> str | None:
        return None if row[name] is None else f"{row[name]:,}"

    return Column(name.removesuffix("_tokens").upper(), cell, number=True, goes=3)


_COLUMNS = {
    "updated_utc": Column("UPDATED", "updated_utc", time=True),
    "started_utc": Column("STARTED", "started_utc", least=8, goes=1, time=True),
    "status": _column("status", least=9),
    "root": _column("root", least=8, path=True, goes=4),
    "workspace": _column("workspace", least=18, path=True),
    "agent": _column("agent", least=11, goes=5),
    "task": _column("task", least=20, goes=6),
    "duration_ms": Column("DURATION", lambda row: human_duration(row["duration_ms"]), number=True, goes=7),
    "findings_count": _column("findings_count", "FINDINGS", number=True, goes=8),
    "runs": _column("runs", "RUN", number=True, goes=9),
    COST_COLUMN: Column("COST", lambda row: dollars(row[COST_COLUMN]), number=True, goes=2),
    **{name: _tokens(name) for name in TOKEN_COLUMNS},
    "turns": _column("turns", number=True, goes=4),
}
"""Layout of the default and numeric columns, and the order in which they are dropped."""


def expressions(form: Form, named: Sequence[str]) -> Sequence[str]:
    """The SQL expressions to select: for a table the beginning of long texts, else whole values."""
    if form.name != "table":
        return [f"d.{column}" for column in named] or ["d.*"]
    # A task can be a megabyte, of which one line is shown.
    return [_part(column) if column in _LONG else f"d.{column}" for column in named or _SHOWN]


def _part(column: str) -> str:
    return f"substr(d.{column}, 1, {_TEXT_READ}) AS {column}"


def _columns(named: Sequence[str], *, one_root: bool) -> list[Column]:
    """The given columns, else the default ones, without ROOT for `one_root`."""
    names = tuple(named) or tuple(name for name in _SHOWN if name != "root" or not one_root)
    return [_COLUMNS.get(name) or _column(name, least=8, goes=1) for name in names]


def follow(state: State, asked: Filter, form: Form, named: Sequence[str], *, utc: bool) -> None:
    """Print rows until Ctrl-C, until stdout is closed, or until there were as many as -n says."""
    from agentic_watch.waiting.followed_rows import Following  # late: watchdog is not needed for lists

    if state.fleet:
        raise click.UsageError("--follow shows this host's history; it excludes --fleet")
    config = state.config_to_read()
    is_limited = click.get_current_context().get_parameter_source("limit") is ParameterSource.COMMANDLINE
    limit = form.limit if is_limited else 0
    if not os.path.exists(config.history):
        messages.tell(messages.INFO, f"no history at {config.history} yet; waiting for it")
    following = Following(config.history, asked, expressions(form, named))
    following.begin()
    printed = itertools.count()
    batches = _limited(following.batches(sys.stdout.fileno()), limit, printed)
    try:
        if form.name == "table":
            _print_tables(batches, named, one_root=len(config.roots) <= 1, utc=utc)
        else:
            rows = (dispatch_list.document(row) for batch in batches for row in batch)
            if form.name == "json":
                print_json_lines(map(answer_shape.absent_as_null, rows))
            else:
                print_csv(named or TABLE_COLUMNS, rows)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {counted(next(printed), 'commit')} since the start") from error


def _limited(
    batches: Iterator[list[dict[str, Any]]], limit: int, printed: Iterator[int]
) -> Iterator[list[dict[str, Any]]]:
    """The batches up to `limit` rows (0: all); `printed` counts the rows."""
    left = limit
    for batch in batches:
        some = batch[:left] if limit else batch
        for _ in some:
            next(printed)
        yield some
        left -= len(some)
        if limit and not left:
            return


def _print_tables(batches: Iterator[list[dict[str, Any]]], named: Sequence[str], *, one_root: bool, utc: bool) -> None:
    """Print the header at once, unless it has the time zone of rows that are still to come."""
    running, columns = RunningTable(line_width(), utc=utc), _columns(named, one_root=one_root)
    for batch in batches if on_terminal() and not utc else itertools.chain([[]], batches):
        for line in running.lines(columns, batch):
            click.echo(line)
