"""`agentic-watch wait`: wait until dispatches are finished and recorded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import click

from agentic_watch import counted
from agentic_watch.cli import logs, messages
from agentic_watch.cli.exit_status import EXIT_FAILED, EXIT_TIMED_OUT, EXIT_UNPASSED, Interrupted, Refused
from agentic_watch.cli.global_options import Seconds, State
from agentic_watch.cli.output import clean, print_json_lines
from agentic_watch.cli.value_texts import shorten
from agentic_watch.waiting import wait_loop, wait_result
from agentic_watch.waiting.wait_loop import Until, WaitEnd
from agentic_watch.waiting.wait_result import Awaited, Wanted
from agentic_watch.workspace.candidate import UnknownWorkspace

_TEXT_SHOWN = 200


@click.command("wait")
@click.argument("workspaces", metavar="WORKSPACE...", nargs=-1, required=True)
@click.option(
    "--timeout", type=Seconds(), metavar="SPAN", help="Stop waiting after SPAN: 90s, 30m, 2h. Default: never."
)
@click.option("--any", "any_one", is_flag=True, help="End with the first; its outcome decides.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per workspace, as each ends.")
@click.pass_obj
def command(state: State, workspaces: tuple[str, ...], timeout: float | None, any_one: bool, as_json: bool) -> None:
    """Wait until the newest run of each WORKSPACE is finished and recorded.

    WORKSPACE is a path, or a name below a root; it need not exist yet. One that was recorded and removed is done.
    Without a daemon, finished workspaces are committed by this command.

    \b
    Examples:
      agentic-watch wait acme/billing/task-101 && ./deploy.sh
      agentic-watch wait --timeout 2h --any acme/api/try-1 acme/api/try-2
    """
    config = state.committing()
    logs.set_up(config, state.verbosity, quieter=True)
    try:
        wanted = [wait_result.wanted(config.roots, given) for given in workspaces]
    except UnknownWorkspace as error:
        raise Refused(clean(str(error))) from error
    told: list[Awaited] = []
    hear = partial(_hear, told, as_json=as_json, only_one=any_one)
    if sys.stderr.isatty() and timeout != 0:
        messages.tell(messages.INFO, f"waiting for {counted(len(wanted), 'workspace')}; Ctrl-C stops waiting")
    try:
        end = wait_loop.wait_for_recorded(config, wanted, Until(timeout, any_one), hear)
    except KeyboardInterrupt as error:
        raise Interrupted(_interrupted(wanted, told)) from error
    missing = [one for one in end.workspaces if not one.recorded and not one.is_lost]
    if end.timed_out:
        _tell_missing(missing, as_json=as_json)
    click.get_current_context().exit(_exit_status(end, told[:1] if any_one else told))


def _hear(told: list[Awaited], one: Awaited, *, as_json: bool, only_one: bool) -> None:
    """Print the result of a workspace as it arrives."""
    told.append(one)
    if only_one and len(told) > 1:
        return
    if as_json:
        print_json_lines([wait_result.document(one)])
    elif one.recorded:
        why = f": {shorten(one.question, _TEXT_SHOWN)}" if one.question and not one.has_passed else ""
        at = f"; committed at {one.committed_at}" if one.committed_at else ""
        moved = f"; is at {one.moved_to} now" if one.moved_to else ""
        click.echo(clean(f"{one.workspace}: {one.status}{why}{at}{moved}"))
    if one.error:
        messages.tell(messages.ERROR, f"{one.workspace}: {one.error}", "failed: ", workspace=one.workspace)
    sys.stdout.flush()


def _tell_missing(missing: Sequence[Awaited], *, as_json: bool) -> None:
    if as_json:
        print_json_lines(wait_result.document(one) for one in missing)
    for one in missing:
        messages.tell(messages.ERROR, f"{one.workspace}: {one.error}", "timed out: ", workspace=one.workspace)


def _interrupted(wanted: Sequence[Wanted], told: Sequence[Awaited]) -> str:
    verb = "was" if len(told) == 1 else "were"
    return f"interrupted; {len(told)} of {counted(len(wanted), 'workspace')} {verb} recorded"


def _exit_status(end: WaitEnd, told: Sequence[Awaited]) -> int:
    if end.timed_out:
        return EXIT_TIMED_OUT
    if any(one.is_fault_of_host for one in told):
        return EXIT_FAILED
    return 0 if all(one.has_passed for one in told) else EXIT_UNPASSED
