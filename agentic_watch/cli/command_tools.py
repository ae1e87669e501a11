"""The commands that answer, as MCP tools: their options are the arguments, what `--json` prints is the answer.

So no filter, default, hint or key is there that the other has not.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import click

from agentic_watch.answers import documents, listing, source
from agentic_watch.answers.source import Source
from agentic_watch.cli.answer_options import counted, wanted
from agentic_watch.cli.global_options import State
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.mcp_server.bounds import MOST_ROWS, bounded, bounded_rows
from agentic_watch.mcp_server.tool import Argument, CommandTool, Given, Kind, Refusal, Said

_ANSWERING = ("history", "stats", "failures", "findings")
_OF_PRINTING = frozenset({"as_json", "as_csv", "columns", "examples"})
"""Options that say how an answer is printed, not what it is about."""

_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")
_LIMIT = 20


def command_tools(state: State) -> list[CommandTool]:
    """The tools of all commands that answer from the history."""
    return [_tool(state, name) for name in _ANSWERING]


def _tool(state: State, name: str) -> CommandTool:
    command: click.Command = importlib.import_module(f"agentic_watch.cli.{name}_command").command
    taken = {
        _name(parameter): parameter
        for parameter in command.params
        if parameter.expose_value and parameter.name not in _OF_PRINTING
    }
    about = " ".join((command.help or "").partition("\b")[0].split())
    arguments = tuple(_argument(argument, parameter) for argument, parameter in taken.items())
    ask = _history if name == "history" else _answer
    return CommandTool(f"agentic_{name}", _named(about), arguments, partial(ask, state, command, taken))


def _name(parameter: click.Parameter) -> str:
    """`committed_since` for --committed-since."""
    return max(parameter.opts, key=len).lstrip("-").replace("-", "_")


def _named(text: str) -> str:
    """A text of the command line with its options called as the arguments are."""
    return _OPTION.sub(lambda found: found[1].replace("-", "_"), text)


def _argument(name: str, parameter: click.Parameter) -> Argument:
    if isinstance(parameter, click.Argument):
        return Argument(name, "Words that must all match; the last may be a prefix.")
    assert isinstance(parameter, click.Option)
    about, kind = _named(parameter.help or ""), parameter.type
    if name == "limit":
        return Argument(name, "Maximum number of rows.", "number", least=1, most=MOST_ROWS, default=_LIMIT)
    if isinstance(kind, click.IntRange):
        return Argument(name, about, "number", least=int(kind.min or 0), most=_whole(kind.max))
    if isinstance(kind, click.Choice):
        return Argument(name, about, choices=tuple(kind.choices))
    of: Kind = "flag" if parameter.is_flag else "texts" if parameter.multiple else "text"
    return Argument(name, about, of)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _line(taken: dict[str, click.Parameter], given: Given) -> Iterator[str]:
    """What a user would type for these arguments."""
    words = []
    for name, value in given.items():
        parameter = taken[name]
        option = max(parameter.opts, key=len)
        if isinstance(parameter, click.Argument):
            words.append(value)
        elif isinstance(value, bool):
            yield from [option] if value else []
        else:
            yield from (f"{option}={one}" for one in (value if isinstance(value, list) else [value]))
    yield from ("--json", "--", *words)


def _run(state: State, command: click.Command, line: list[str], out: io.TextIOBase) -> Given:
    """Run the command with `out` as its stdout; gives its options. Raises Refusal with what it says when it fails.

    What it says on stderr is for people: an answer's remarks are made from the answer.
    """
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            ctx = command.make_context(command.name, line, obj=state)
            with ctx:
                command.invoke(ctx)
    except click.ClickException as error:
        raise Refusal(_named(" ".join(error.format_message().split()))) from error
    return ctx.params


def _answer(state: State, command: click.Command, taken: dict[str, click.Parameter], given: Given) -> Said:
    """The document of a command that prints one."""
    out = io.StringIO()
    options = _run(state, command, list(_line(taken, {"limit": _LIMIT, **given})), out)
    document, cut = json.loads(out.getvalue()), dict[str, str]()
    rows = bounded_rows(document.pop("rows"), cut)
    # No change between runs or spans is an answer.
    hints = () if rows or {"kind", "span"} & set(document) else _nothing_matches(state, options)
    return Said({**bounded(document, cut), "rows": rows}, (*cut.values(), *hints))


def _history(state: State, command: click.Command, taken: dict[str, click.Parameter], given: Given) -> Said:
    """The rows that `history` prints line by line, without their reports, and whether there are more."""
    limit = given.get("limit", _LIMIT)
    from agentic_watch.cli.history_command import COLUMNS

    columns = ",".join(name for name in COLUMNS if name != "report")
    out = _Rows()
    line = [f"--columns={columns}", *_line(taken, {**given, "limit": limit + 1})]
    options = _run(state, command, line, out)
    with _opened(state) as history:
        total, first = listing.total(history)
    head = {"schema": documents.SCHEMA, "history_since": first or None, "history_commits_count": total}
    hints = () if out.rows else _nothing_matches(state, options)
    return Said({**head, "rows": out.rows[:limit], "more": len(out.rows) > limit}, hints)


class _Rows(io.TextIOBase):
    """A stdout that takes rows as JSON lines, and keeps of each what is within bounds."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._line = ""

    def write(self, text: str, /) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in filter(None, lines):
            row = bounded(json.loads(line), {})
            del row["schema"]
            self.rows.append(row)
        return len(text)


def _nothing_matches(state: State, options: Given) -> tuple[str, ...]:
    """What the command line says when there is nothing: what the history holds, and what may have been meant."""
    filters = {name: value for name, value in options.items() if name != "search"}
    with _opened(state) as history:
        count, first = listing.total(history)
        span = f", from {first} to {listing.newest(history)}" if count else ""
        meant = [f"did you mean {name} {value}?" for name, value in listing.near(history, wanted(filters))]
    return (f"nothing matches; the history holds {counted(count, 'commit')}{span}", *meant)


@contextlib.contextmanager
def _opened(state: State) -> Iterator[Source]:
    try:
        with source.history(state.config_to_read().history) as history:
            yield history
    except HistoryError as error:
        raise Refusal(str(error)) from error
