"""`agentic-watch mcp`: serves core-agent's tools and the answers over MCP on stdio.

The answering commands themselves are the tools: their options are the arguments and their `--json` output is the
answer. So filters, defaults, hints and keys are always the same.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from agentic_watch import counted
from agentic_watch.answers import answer_shape
from agentic_watch.answers.past import dispatch_list, known_values
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.cli import logs
from agentic_watch.cli.answer_options import asking, wanted
from agentic_watch.cli.exit_status import Refused
from agentic_watch.cli.global_options import State
from agentic_watch.history.columns import TABLE_COLUMNS
from agentic_watch.host.extras import missing_extra
from agentic_watch.mcp_server.tool import MOST_ROWS, Argument, Given, Kind, Said, Tool, ToolRefusal, bounded


@click.command("mcp")
@click.pass_obj
def command(state: State) -> None:
    """Serve core-agent's tools and this program's answers to an MCP client on stdin and stdout, until stdin ends.

    \b
    Examples:
      agentic-watch mcp
      agentic-watch mcp --config /etc/agentic-watch/config.toml
    """
    config = state.committing()
    # Before the SDK sets up its own log.
    logs.set_up(config, state.verbosity, quieter=True)
    try:
        from agentic_watch.mcp_server.serving import serve
    except ModuleNotFoundError as error:
        # The SDK and what it brings; an older one lacks some of their modules. Any other missing module is a defect.
        if (error.name or "").partition(".")[0] not in ("mcp", "anyio", "pydantic"):
            raise
        raise Refused(missing_extra(error.name, "mcp")) from error
    # The thread that reads stdin cannot be interrupted: a regular exit is the end of stdin. Ctrl-C ends the process
    # like a kill, which is safe for commits.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # All tools keep using the same history, even if the configuration is edited meanwhile.
    serve(config, command_tools(State(state.overrides._replace(history=config.history))))


_ANSWERING = ("history", "stats", "failures", "findings")
_OF_PRINTING = frozenset({"as_json", "as_csv", "columns", "examples", "follow"})
"""Options about printing, which are no arguments: a tool answers once and completely."""

_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)")
_LIMIT = 20
_COLUMNS = ",".join(name for name in TABLE_COLUMNS if name != "report")

Taken = dict[str, click.Parameter]
"""The parameters of a command that become arguments of its tool, by the argument's name."""


def command_tools(state: State) -> list[Tool]:
    """The tools for all commands that answer from the history."""
    return [_tool(state, name) for name in _ANSWERING]


def _tool(state: State, name: str) -> Tool:
    command: click.Command = importlib.import_module(f"agentic_watch.cli.{name}_command").command
    parameters = [parameter for parameter in command.params if parameter.expose_value]
    parameters += [parameter for parameter in command.params if parameter.name == "fleet"]  # part of State
    taken = {
        _longest(parameter).lstrip("-").replace("-", "_"): parameter
        for parameter in parameters
        if parameter.name not in _OF_PRINTING
    }
    about = " ".join((command.help or "").partition("\b")[0].split())
    arguments = tuple(_argument(argument, taken) for argument in taken)
    asked = _Command(state, command, taken)
    ask = asked.history if name == "history" else asked.answer
    return Tool(f"agentic_{name}", _named(about, taken), arguments, ask)


def _longest(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len)


def _named(text: str, taken: Taken) -> str:
    """A text of the command line with options replaced by argument names."""

    def name(found: re.Match[str]) -> str:
        argument = found[1].replace("-", "_")
        return argument if argument in taken else found[0]

    return _OPTION.sub(name, text)


def _argument(name: str, taken: Taken) -> Argument:
    parameter = taken[name]
    if isinstance(parameter, click.Argument):
        return Argument(name, "Words that must all match; the last may be a prefix.")
    assert isinstance(parameter, click.Option)
    about, kind = _named(parameter.help or "", taken), parameter.type
    if name == "limit":
        return Argument(name, "Maximum number of rows.", "number", least=1, most=MOST_ROWS, default=_LIMIT)
    if isinstance(kind, click.IntRange):
        return Argument(name, about, "number", least=_whole(kind.min), most=_whole(kind.max))
    if kind is click.INT and not parameter.multiple:
        return Argument(name, about, "number")
    if isinstance(kind, click.Choice):
        return Argument(name, about, choices=tuple(kind.choices))
    of: Kind = "flag" if parameter.is_flag else "texts" if parameter.multiple else "text"
    return Argument(name, about, of)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


@dataclass(frozen=True, slots=True)
class _Command:
    """A command and its parameters that are arguments. Errors are raised as ToolRefusal."""

    state: State
    command: click.Command
    taken: Taken

    def answer(self, given: Given) -> Said:
        """The document of a command that prints one."""
        out, state = io.StringIO(), State(self.state.overrides)
        options = self._run(state, {"limit": _LIMIT, **given}, out)
        document, cut = json.loads(out.getvalue()), dict[str, str]()
        rows = [bounded(row, cut) for row in document.pop("rows")]
        # No change between runs or spans is a valid answer.
        hints = () if rows or {"kind", "span"} & set(document) else self._nothing_matches(state, options)
        return Said({**bounded(document, cut), "rows": rows}, (*cut.values(), *hints))

    def history(self, given: Given) -> Said:
        """The rows printed by `history`, without reports, and whether there are more."""
        limit = given.get("limit", _LIMIT)
        out, state = _Rows(), State(self.state.overrides)
        options = self._run(state, {**given, "limit": limit + 1}, out, f"--columns={_COLUMNS}")
        with _asked(state) as history:
            total, first = dispatch_list.total(history)
        head = {"schema": answer_shape.SCHEMA, "history_since": first or None, "history_commits_count": total}
        hints = () if out.rows else self._nothing_matches(state, options)
        return Said({**head, "rows": out.rows[:limit], "more": len(out.rows) > limit}, hints)

    def _run(self, state: State, given: Given, out: io.TextIOBase, *more: str) -> Given:
        """Run the command with `out` as its stdout; returns its options, with the global ones in `state`.

        Its messages on stderr are for people; remarks in the tool's answer are made from the answer.
        """
        line = [*more, *self._line(given)]
        try:
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(io.StringIO()),
                self.command.make_context(self.command.name, line, obj=state) as ctx,
            ):
                self.command.invoke(ctx)
        except click.ClickException as error:
            raise ToolRefusal(_named(" ".join(error.format_message().split()), self.taken)) from error
        return ctx.params

    def _line(self, given: Given) -> Iterator[str]:
        """The command line for these arguments."""
        words = []
        for name, value in given.items():
            parameter = self.taken[name]
            if isinstance(parameter, click.Argument):
                words.append(value)
            elif isinstance(value, bool):
                yield from [_longest(parameter)] if value else []
            else:
                yield from (f"{_longest(parameter)}={one}" for one in (value if isinstance(value, list) else [value]))
        yield from ("--json", "--", *words)

    def _nothing_matches(self, state: State, options: Given) -> tuple[str, ...]:
        """The remarks of the command line when nothing matches: number of commits, similar values."""
        filters = {name: value for name, value in options.items() if name != "search"}
        with _asked(state) as history:
            count, first = dispatch_list.total(history)
            span = f", from {first} to {dispatch_list.newest(history)}" if count else ""
            meant = [f"did you mean {name} {value}?" for name, value in known_values.near(history, wanted(filters))]
        return (f"nothing matches; the history holds {counted(count, 'commit')}{span}", *meant)


@contextlib.contextmanager
def _asked(state: State) -> Iterator[Source]:
    """The source of the command's rows. Raises ToolRefusal."""
    try:
        with contextlib.redirect_stderr(io.StringIO()), asking(state) as source:
            yield source
    except click.ClickException as error:
        raise ToolRefusal(error.format_message()) from error


class _Rows(io.TextIOBase):
    """A stdout that collects rows from JSON lines, within the limits."""

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
