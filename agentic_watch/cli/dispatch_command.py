"""`agentic-watch dispatch`: run an agent and record how it ends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from agentic_watch.cli import command_line, global_options, messages
from agentic_watch.cli.dispatch_common import (
    begin_run,
    reports_option,
    say_without_daemon,
    usage_option,
    work_of,
    work_options,
)
from agentic_watch.cli.exit_status import Misconfigured, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.dispatch.foreground_process import end_like
from agentic_watch.dispatch.run_types import DispatchError, Run, Work
from agentic_watch.dispatch.wrapped_command import BLOCKED_STATUS, Ended, Order, dispatch, refuse_if_taken

_AFTER_DASHES = "agentic_watch.dispatch.after_dashes"
_RECORDS = ("begin", "finish", "schema")
_NOT_RUN = "the command was not run; with --best-effort it runs anyway"


class _Dispatch(click.Group):
    """A group whose words after `--` are a command to run; otherwise they name a subcommand."""

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
        from agentic_watch.cli import dispatch_begin_finish

        command = dispatch_begin_finish.COMMANDS[cmd_name]
        global_options.take_everywhere(command)
        command_line.complete(command, f"dispatch {cmd_name}")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if ctx.meta[_AFTER_DASHES]:
            return _run.name, _run, args
        if args[0] not in _RECORDS:
            raise click.UsageError(_no_subcommand(args), ctx)
        return super().resolve_command(ctx, args)


def _no_subcommand(args: Sequence[str]) -> str:
    """The error for a misspelt subcommand, which must not be run and recorded as a failed dispatch."""
    from agentic_watch.config.value_checks import nearest

    near = nearest(args[0], _RECORDS)
    meant = f"did you mean `{near}`?" if near else "there are begin, finish and schema;"
    return f"no such command: {args[0]}; {meant} A command to run goes after --: agentic-watch dispatch -- {args[0]} …"


@click.group(
    "dispatch",
    cls=_Dispatch,
    invoke_without_command=True,
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
    help="Exit status that means blocked.",
)
@click.option(
    "--log/--no-log",
    default=None,
    help="Copy what COMMAND prints to .meta/agent.log, unless that is a terminal (default: [dispatch] log).",
)
@click.option(
    "--patch/--no-patch",
    default=None,
    help="Write what COMMAND changed to .meta/changes.patch (default: [dispatch] patch).",
)
@click.option("--best-effort", is_flag=True, help="Run COMMAND also when it cannot be recorded.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Run COMMAND in this terminal and record it: running, then completed or failed.

    Its workspace is a directory below the first root; COMMAND finds it in $AGENTIC_WATCH_WORKSPACE, and the number of
    its run in $AGENTIC_WATCH_RUN. A command that cannot be recorded is not run, unless --best-effort is given.

    \b
    Examples:
      agentic-watch dispatch --task "Fix the tests" -- claude "Fix the tests"
      agentic-watch dispatch --task "Fix the tests" --usage result.json -- ./run-agent.sh
      agentic-watch dispatch --agent codex:o3 --report junit.xml -- make test
      agentic-watch dispatch --best-effort -- codex exec -s workspace-write "Fix the tests"
      agentic-watch dispatch begin --workspace acme/api/ci-1712 --task "CI 1712"
      agentic-watch dispatch finish --status failed --question "no runner" acme/api/ci-1712
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
    log, patch = _left_behind(state, options)
    order = Order(words, options["reports"], options["blocked_status"], options["usages"], log, patch)
    ended = dispatch(order, lambda: _begun(state, options, work))
    _tell(state, ended)
    end_like(ended.code)


def _left_behind(state: State, options: dict[str, Any]) -> tuple[bool, bool]:
    """Whether to write a log and a patch: by the options, else the configuration."""
    from agentic_watch.config import ConfigError, DispatchFiles, NoRootsError

    try:
        wanted = state.config().dispatch
    except (ConfigError, NoRootsError):  # reported when the run begins
        wanted = DispatchFiles()
    log, patch = options["log"], options["patch"]
    return wanted.log if log is None else log, wanted.patch if patch is None else patch


def _begun(state: State, options: dict[str, Any], work: Work) -> Run | None:
    """Begin a run. If it cannot be recorded, exit with the cause, or with --best-effort print it and continue."""
    from agentic_watch.config import ConfigError, NoRootsError

    try:
        run = begin_run(state, options["workspace"], work)
        refuse_if_taken(run)
        return run
    except (DispatchError, ConfigError, NoRootsError) as error:
        said = f"{error}\n" if "\n" in str(error) else f"{error}; "
        if options["best_effort"]:
            messages.tell(messages.WARNING, f"{said}the command runs unrecorded", "warning: ")
            return None
        kind = Refused if isinstance(error, DispatchError) else Misconfigured
        raise (click.UsageError if isinstance(error, NoRootsError) else kind)(f"{said}{_NOT_RUN}") from error


def _tell(state: State, ended: Ended) -> None:
    if not ended.started:
        messages.tell(messages.ERROR, ended.cause, "failed: ")
    for problem in ended.problems:
        messages.tell(messages.WARNING, problem, "warning: ")
    if ended.run is None:
        return
    if state.verbosity > 0:
        messages.tell(messages.INFO, f"{ended.run.path}: {ended.status}, run {ended.run.runs}")
    say_without_daemon(state, ended.run)
