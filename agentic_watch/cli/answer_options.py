"""Options shared by all answers: filters, the [[push]] target to query, output form (table, CSV or JSON) and number of
rows.
"""

from __future__ import annotations

import contextlib
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import click

from agentic_watch import counted
from agentic_watch.answers.answer_shape import Answer
from agentic_watch.answers.past import dispatch_list, known_values, sql_dialects, time_spans
from agentic_watch.answers.past.filters import Filter
from agentic_watch.answers.past.outcomes import Outcomes, from_config
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.answers.past.time_spans import Clock
from agentic_watch.cli import messages, value_texts
from agentic_watch.cli.exit_status import Misconfigured
from agentic_watch.cli.global_options import State, Whole
from agentic_watch.cli.output import line_width, print_csv, print_json
from agentic_watch.config import Config, Target
from agentic_watch.config.value_checks import nearest


def named(config: Config, name: str, option: str) -> Target:
    """The target with this name. Raises Misconfigured when no target is configured, else click.BadParameter."""
    require_some(config)
    for target in config.push:
        if target.name == name:
            return target
    known = [target.name for target in config.push]
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"known here: {', '.join(known) or 'none'}"
    raise click.BadParameter(f"no [[push]] has the name {name!r}; {hint}", param_hint=option)


def readable(config: Config, name: str) -> Target:
    """The target with this name, if it can be queried. Raises like `named`."""
    target = named(config, name, "--fleet")
    if target.kind != "postgres":
        raise click.BadParameter(f"{name} is of kind {target.kind}; only postgres can be queried", param_hint="--fleet")
    return target


def require_some(config: Config) -> None:
    """Raise Misconfigured when no target is configured."""
    if not config.push and not config.hooks:
        where = config.file or "no configuration file"
        raise Misconfigured(f"{where}: there is no [[push]] target; config.example.toml shows one")


Function = Callable[..., Any]

_NAMED = {
    "repo": "Only this repository.",
    "org": "Only this organisation.",
    "agent": "Only this agent; codex includes codex:gpt-5.",
    "model": "Only this model, whatever agent ran it.",
    "status": "Only this status.",
    "host": "Only this host.",
}
_OLD_SECONDS = 86_400
_POINTS = {"since": False, "until": True, "committed_since": False}
"""Options that take a time; True: of a day or a week, its end is meant."""


def filtered(function: Function) -> Function:
    """Add the filter options to a command; `wanted` converts them to a Filter."""
    function = click.option("--utc", is_flag=True, help="Use UTC for days and times.")(function)
    text = "Only committed at T or later, whenever they ended."
    function = click.option("--committed-since", default="", metavar="T", help=text)(function)
    function = click.option("--until", default="", metavar="T", help="Only updated before T.")(function)
    function = click.option(
        "--since", default="", metavar="T", help="Only updated at T or later: 7d, today, 2026-04-14."
    )(function)
    text = "Only this workspace (its present or its former name)."
    function = click.option("--workspace", multiple=True, metavar="NAME", help=text)(function)
    for name, text in reversed(_NAMED.items()):
        function = click.option(f"--{name}", multiple=True, metavar=name.upper(), help=text)(function)
    return of_fleet(function)


def of_fleet(function: Function) -> Function:
    """Add --fleet to a command; `asking` uses it."""
    text = "Query this [[push]] target (PostgreSQL, all hosts) instead of this host's history."
    return click.option("--fleet", metavar="NAME", expose_value=False, callback=_choose_fleet, help=text)(function)


def _choose_fleet(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(State).fleet = value


def wanted(options: dict[str, Any]) -> Filter:
    """The Filter of a command's options; other options are ignored. Raises click.BadParameter."""
    clock = Clock(time.time(), utc=options.get("utc", False))
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name in _POINTS:
            values[name] = point(name, value, clock) if value else ""
        elif name in Filter._fields:
            values[name] = _several(name, value) if isinstance(value, tuple) else usable(value)
    return Filter(**values)


def point(name: str, text: str, clock: Clock) -> str:
    """Parse the time given for the option `name`. Raises click.BadParameter."""
    try:
        return time_spans.point(text, clock, end=_POINTS.get(name, False))
    except (ValueError, OverflowError) as error:
        hint = f"--{name.replace('_', '-')}"
        raise click.BadParameter(f"{usable(text)!r} is not {time_spans.EXPECTED}", param_hint=hint) from error


def _several(name: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Each value of an option, split at commas, except for workspaces, whose names may contain commas."""
    parts = values if name == "workspace" else (part.strip() for value in values for part in value.split(","))
    return tuple(usable(part) for part in parts)


def usable(value: Any) -> Any:
    """Replace an argument that is not UTF-8: it matches nothing, but must not cause a traceback."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


@contextlib.contextmanager
def asking(state: State) -> Iterator[Source]:
    """The source of rows for one answer. Raises HistoryError."""
    if not state.fleet:
        with sql_dialects.history(state.config_to_read().history) as found:
            yield found
        return
    from agentic_watch.answers.past import fleet_source

    with fleet_source.fleet(readable(state.config_to_read(), state.fleet)) as found:
        yield found
        for remark in fleet_source.remarks(found):
            messages.tell(messages.INFO, remark)


def outcomes(state: State) -> Outcomes:
    """The outcome of each status in this configuration."""
    return from_config(state.config_to_read().answers)


def say_nothing_matches(asked: Source, given: Filter, *, utc: bool) -> None:
    """Print to stderr that nothing matches, the number of commits, and similar values."""
    count, first = dispatch_list.total(asked)
    text = f"nothing matches; the history holds {counted(count, 'commit')}"
    if first:
        newest = dispatch_list.newest(asked)
        text += f", from {value_texts.time_text(first, as_utc=utc)} to {value_texts.time_text(newest, as_utc=utc)}"
    messages.tell(messages.INFO, text)
    for name, value in known_values.near(asked, given):
        messages.tell(messages.INFO, f"did you mean --{name} {value}?")


def say_what_was_read(asked: Source, given: Filter, examined: str, *, utc: bool) -> None:
    """Print below an answer how much it examined (`12 dispatches`), the span, and the start and end of the history."""
    spans_given = (("since", given.since), ("until", given.until))
    span = "".join(f" {word} {value_texts.time_text(bound, as_utc=utc)}" for word, bound in spans_given if bound)
    first = value_texts.time_text(dispatch_list.oldest(asked), as_utc=utc)
    text = f"{examined}{span}; history starts at {first}{_old(dispatch_list.newest(asked), utc=utc)}"
    click.echo("\n".join(textwrap.wrap(text, line_width() or len(text))))


def _old(newest: str, *, utc: bool) -> str:
    """The time of the newest commit if it is more than a day old; else ""."""
    if not newest or time.time() - time_spans.seconds_of(newest) < _OLD_SECONDS:
        return ""
    return f", its newest dispatch is from {value_texts.time_text(newest, as_utc=utc)}"


T = TypeVar("T")


class Form(NamedTuple):
    """`name` is "table", "json" or "csv"; at most `limit` rows are printed (0: all)."""

    name: str
    limit: int

    def cut(self, rows: Sequence[T], *, last: bool = False) -> Sequence[T]:
        """The rows to print: the first ones, or the `last`."""
        if not self.limit:
            return rows
        return rows[-self.limit :] if last else rows[: self.limit]


def formed(json_help: str = "Print one JSON document.") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add -n, --csv and --json to a command; `form_of` converts them to a Form."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        function = click.option("--json", "as_json", is_flag=True, help=json_help)(function)
        function = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a header.")(function)
        return click.option(
            "-n",
            "--limit",
            default=20,
            show_default=True,
            type=Whole(0),
            metavar="N",
            help="Show at most N (0: all).",
        )(function)

    return add


def form_of(options: dict[str, Any]) -> Form:
    """The Form of the options. Raises click.UsageError for both --json and --csv."""
    if options["as_json"] and options["as_csv"]:
        raise click.UsageError("--json and --csv exclude each other")
    return Form("json" if options["as_json"] else "csv" if options["as_csv"] else "table", options["limit"])


def print_answer(form: Form, answer: Answer, *, last: bool = False) -> None:
    """Print the answer as one JSON document or as CSV, with its first or `last` rows."""
    shown = form.cut(answer.rows, last=last)
    if form.name == "json":
        print_json(answer.document(shown))
    else:
        print_csv(answer.columns, shown)
    say_cut(len(shown), len(answer.rows))


def say_cut(shown: int, total: int) -> None:
    """If not all rows are printed, print to stderr how many there are and how to see them."""
    if shown < total:
        messages.tell(messages.INFO, f"showing {shown:,} of {total:,}; -n 0 shows all")
