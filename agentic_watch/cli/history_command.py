"""`agentic-watch history`: search and list committed dispatches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import click

from agentic_watch.answers import documents
from agentic_watch.answers.past import change_filters, listing
from agentic_watch.cli import messages
from agentic_watch.cli.answer_form import Form, form_of, formed
from agentic_watch.cli.answer_options import asking, filtered, outcomes, say_nothing_matches, wanted
from agentic_watch.cli.global_options import State
from agentic_watch.cli.history_table import expressions, table
from agentic_watch.cli.output import print_csv, print_json_lines
from agentic_watch.cli.table_layout import print_columns
from agentic_watch.config.checks import nearest
from agentic_watch.history import queries
from agentic_watch.history.columns import COST_COLUMN, TABLE_COLUMNS, TOKEN_COLUMNS

_SHORT = {"cost": (COST_COLUMN,), "tokens": tuple(TOKEN_COLUMNS)}
"""What --columns may call columns, too."""


def _requests(_ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in _parts(values):
        if change_filters.number(value) is None and "/" not in value:
            raise click.BadParameter(f"{value!a} is neither a number nor a URL", param=parameter)
    return values


def _issues(_ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in _parts(values):
        if change_filters.number(value) is None:
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
@click.option("--commit", multiple=True, metavar="HASH", help="Only runs that left this commit; its beginning will do.")
@click.option("--session", multiple=True, metavar="ID", help="Only this session of an agent.")
@click.option("--failed", is_flag=True, help="Only failed: every status that means so.")
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
    if search and not queries.words(asked.search):
        raise click.BadParameter("has no letter and no digit to search for", param_hint="SEARCH")
    if options["failed"]:
        asked = asked._replace(status=(*asked.status, *outcomes(state).statuses("failed")))
    if options["follow"]:
        from agentic_watch.cli import history_follow  # watchdog is not for every list

        history_follow.follow(state, asked, form, named, utc=options["utc"])
        return
    with asking(state) as source:
        rows = listing.dispatches(source, asked, expressions(form, named), form.limit + (form.limit > 0))
        if form.name == "table":
            found = _print_table(rows, form, named, utc=options["utc"])
        else:
            found = _print_rows(rows, form, named)
        if not found:
            say_nothing_matches(source, asked, utc=options["utc"])
        elif next(rows, None) is not None:
            messages.tell(messages.INFO, f"showing the newest {form.limit:,}; -n 0 shows all")


def _named(columns: str) -> tuple[str, ...]:
    """The columns that were asked for, () for none. Raises click.BadParameter."""
    given = columns.split(",") if columns else []
    named = tuple(name for one in given for name in _SHORT.get(one, (one,)))
    for column in named:
        if column not in TABLE_COLUMNS:
            near = nearest(column, (*TABLE_COLUMNS, *_SHORT))
            meant = f"did you mean {near}?" if near else f"known: {', '.join(TABLE_COLUMNS)}"
            raise click.BadParameter(f"no column {column!a}; {meant}", param_hint="--columns")
    return named


def _print_rows(rows: Iterator[dict[str, Any]], form: Form, named: Sequence[str]) -> bool:
    """Print the rows, but for those beyond the limit, as they come; gives whether there was any."""
    shown = map(listing.document, itertools.islice(rows, form.limit) if form.limit else rows)
    first = next(shown, None)
    whole = itertools.chain([] if first is None else [first], shown)
    if form.name == "json":
        print_json_lines(map(documents.absent_as_null, whole))
    else:
        everything = TABLE_COLUMNS if first is None else [name for name in first if name != "schema"]
        print_csv(named or everything, whole)
    return first is not None


def _print_table(rows: Iterator[dict[str, Any]], form: Form, named: Sequence[str], *, utc: bool) -> bool:
    """Print the rows, but for those beyond the limit; gives whether there was any."""
    shown = list(itertools.islice(rows, form.limit) if form.limit else rows)
    one_root = not named and len({row["root"] for row in shown}) == 1
    print_columns(*table(shown, named, one_root=one_root, utc=utc))
    return bool(shown)
