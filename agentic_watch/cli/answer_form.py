"""The form of an answer: a table, CSV or JSON, and how many of its rows. All answers have the same options for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import click

from agentic_watch.answers.documents import Answer
from agentic_watch.cli import messages
from agentic_watch.cli.output import print_csv, print_json

T = TypeVar("T")


class Form(NamedTuple):
    """`name` is "table", "json" or "csv"; at most `limit` rows are printed (0: all)."""

    name: str
    limit: int

    def cut(self, rows: Sequence[T], *, last: bool = False) -> Sequence[T]:
        """The rows that are printed: the first ones, or the `last`."""
        if not self.limit:
            return rows
        return rows[-self.limit :] if last else rows[: self.limit]


def formed(json_help: str = "Print one JSON document.") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command -n, --csv and --json; `form_of` makes their value."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        function = click.option("--json", "as_json", is_flag=True, help=json_help)(function)
        function = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a header.")(function)
        return click.option(
            "-n", "--limit", default=20, show_default=True, type=click.IntRange(0), help="Show at most N (0: all)."
        )(function)

    return add


def form_of(options: dict[str, Any]) -> Form:
    """The form that the options ask for. Raises click.UsageError for two at a time."""
    if options["as_json"] and options["as_csv"]:
        raise click.UsageError("--json and --csv exclude each other")
    return Form("json" if options["as_json"] else "csv" if options["as_csv"] else "table", options["limit"])


def print_answer(form: Form, answer: Answer, *, last: bool = False) -> None:
    """The answer as one JSON document or as CSV; of its rows the first ones, or the `last`."""
    shown = form.cut(answer.rows, last=last)
    if form.name == "json":
        print_json(answer.document(shown))
    else:
        print_csv(answer.columns, shown)
    say_cut(len(shown), len(answer.rows))


def say_cut(shown: int, total: int) -> None:
    """On stderr, when not all rows are printed: how many there are, and how to see them."""
    if shown < total:
        messages.tell(messages.INFO, f"showing {shown:,} of {total:,}; -n 0 shows all")
