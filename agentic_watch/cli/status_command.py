"""`agentic-watch status`: what is on disk now, and whether the daemon is healthy."""

from __future__ import annotations

import logging
from typing import Any

import click

from agentic_watch.answers.host_now import document, host_now
from agentic_watch.cli import logs, messages, status_text
from agentic_watch.cli.exit_status import EXIT_FAILED
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import print_json
from agentic_watch.cli.span_option import Seconds
from agentic_watch.workspace.jsontext import as_text

_OF_REMOVABLE = {"older_than": "--older-than", "undelivered": "--undelivered", "null": "-0", "lock": "--lock"}


@click.command("status")
@click.argument("command", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--removable", is_flag=True, help="List workspaces whose every commit is in the history, to be deleted.")
@click.option(
    "--older-than", type=Seconds(), metavar="SPAN", help="With --removable: last update and commit are older: 7d, 2w."
)
@click.option("--undelivered", is_flag=True, help="With --removable: also those that a [[push]] target lacks.")
@click.option("-0", "--null", is_flag=True, help="With --removable: end each path with NUL, for xargs -0.")
@click.option("--lock", is_flag=True, help="With --removable: run COMMAND PATH for each while it is locked.")
@click.option("--utc", is_flag=True, help="Use UTC for times.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, /, *, utc: bool, as_json: bool, **options: Any) -> None:
    """Show what is on disk now, the longest running first, and whether the daemon is healthy. Changes nothing.

    With --removable, print the paths of workspaces that are finished, and whose every commit is in the history and
    delivered to every [[push]] target. With --lock, each is locked and judged again, COMMAND is run with its path, and
    it is printed when COMMAND ended with 0. Nothing but COMMAND deletes anything.

    \b
    Examples:
      agentic-watch status
      watch -n 10 agentic-watch status
      agentic-watch status --removable --older-than 7d
      agentic-watch status --removable --older-than 7d --lock -- rm -rf
    """
    if options.pop("removable"):
        click.get_current_context().exit(_removable(state, as_json=as_json, **options))
    if options["command"]:
        raise click.UsageError("takes no argument; a COMMAND goes with --removable --lock")
    if given := [name for option, name in _OF_REMOVABLE.items() if options[option] not in (None, False)]:
        raise click.UsageError(f"{given[0]} needs --removable")
    config = state.config()
    logs.set_up(config, state.verbosity, quieter=True)
    now = host_now(config)
    if as_json:
        print_json(as_text(document(now)))
    else:
        for line in status_text.lines(now, utc=utc):
            click.echo(line)
    for failure in now.failures:
        messages.tell(logging.ERROR, failure, "failed: ")
    if now.failures:
        click.get_current_context().exit(EXIT_FAILED)


def _removable(
    state: State, *, as_json: bool, older_than: float | None, undelivered: bool, null: bool, lock: bool, command: Any
) -> int:
    from agentic_watch.answers.removable import Wish
    from agentic_watch.cli.removable_output import How, print_removable

    if lock != bool(command):
        raise click.UsageError("--lock needs a COMMAND behind --, and a COMMAND needs --lock")
    if as_json and null:
        raise click.UsageError("--json and -0 exclude each other")
    config = state.config()
    logs.set_up(config, state.verbosity, quieter=True)
    wish = Wish(older_than, undelivered)
    return print_removable(config, How(wish, null, as_json, tuple(command), tells_all=state.verbosity > 0))
