"""`agentic-watch dispatch`: run an agent and record how it ends."""

from __future__ import annotations

import os
from typing import Any

import click

from agentic_watch.cli import global_options, help_text, messages
from agentic_watch.cli.dispatch_common import (
    begin_run,
    refused,
    reports_option,
    say_without_daemon,
    usage_option,
    work_of,
    work_options,
)
from agentic_watch.cli.global_options import State
from agentic_watch.dispatch.foreground import end_like
from agentic_watch.dispatch.runs import DispatchError
from agentic_watch.dispatch.wrapper import BLOCKED_STATUS, Ended, Order, dispatch

_AFTER_DASHES = "agentic_watch.dispatch.after_dashes"
_RECORDS = ("begin", "finish", "schema")

_EPILOG = """\b
Examples:
  agentic-watch dispatch --task "Fix the tests" -- claude "Fix the tests"
  agentic-watch dispatch --task "Fix the tests" --usage result.json -- ./run-agent.sh
  agentic-watch dispatch --agent codex:o3 --report junit.xml -- make test
  agentic-watch dispatch begin --workspace acme/api/ci-1712 --task "CI 1712"
  agentic-watch dispatch finish acme/api/ci-1712 --status failed --question "no runner"

\b
Exit status: the command's own (or its signal); 126 it cannot be run, 127 it is not there.
Before it runs: 1 the status cannot be written, 2 usage, 78 configuration.
"""


class _Dispatch(click.Group):
    """A group whose words after the options are a command to run, unless the first is one of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        rest = super().parse_args(ctx, args)
        words = len([*ctx._protected_args, *ctx.args])  # noqa: SLF001  (click hands them over nowhere else)
        ctx.meta[_AFTER_DASHES] = 0 < words < len(given) and given[-words - 1] == "--"
        return rest

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_RECORDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _RECORDS:
            return None
        from agentic_watch.cli import dispatch_records

        command = dispatch_records.COMMANDS[cmd_name]
        global_options.take_everywhere(command)
        help_text.complete(command, f"dispatch {cmd_name}")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if ctx.meta[_AFTER_DASHES] or args[0] not in _RECORDS:
            return _run.name, _run, args
        return super().resolve_command(ctx, args)


@click.group(
    "dispatch",
    cls=_Dispatch,
    invoke_without_command=True,
    epilog=_EPILOG,
    subcommand_metavar="-- COMMAND...",
    context_settings={"allow_interspersed_args": False},
)
@work_options
@reports_option
@usage_option
@click.option(
    "--blocked-status",
    type=click.IntRange(1, 255),
    default=BLOCKED_STATUS,
    show_default=True,
    metavar="N",
    help="The exit status by which the command says that it is blocked.",
)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Run COMMAND here and now, with this terminal, and record it: running, then completed or failed.

    Its workspace is a directory below the first root; the command finds it in $AGENTIC_WATCH_WORKSPACE.
    """
    if ctx.invoked_subcommand is None:
        raise click.UsageError("nothing to run; give -- COMMAND, or begin, finish or schema")
    given = [name for name in options if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if given and ctx.invoked_subcommand != _run.name:
        raise click.UsageError(f"the options of {ctx.invoked_subcommand} go after it")


@click.command(
    "--",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def _run(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Run a command as a dispatch."""
    assert ctx.parent is not None
    state: State = ctx.obj
    options = ctx.parent.params
    work = work_of(options, words, pid=os.getpid())
    order = Order(words, options["reports"], options["blocked_status"], options["usages"])
    try:
        ended = dispatch(order, lambda: begin_run(state, options["workspace"], work))
    except DispatchError as error:
        raise refused(error) from error
    _tell(state, ended)
    end_like(ended.code)


def _tell(state: State, ended: Ended) -> None:
    if not ended.started:
        messages.tell(messages.ERROR, ended.cause, "failed: ")
    for problem in ended.problems:
        messages.tell(messages.WARNING, problem, "warning: ")
    if state.verbosity > 0:
        messages.tell(messages.INFO, f"{ended.run.path}: {ended.status}, run {ended.run.runs}")
    say_without_daemon(state, ended.run)
