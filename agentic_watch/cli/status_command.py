"""`agentic-watch status`: what is on disk now, and whether the daemon is healthy."""

from __future__ import annotations

import logging

import click

from agentic_watch.answers.host_now import document, host_now
from agentic_watch.cli import logs, messages, status_text
from agentic_watch.cli.exit_status import EXIT_FAILED
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import print_json
from agentic_watch.workspace.jsontext import as_text


@click.command("status")
@click.option("--utc", is_flag=True, help="Use UTC for times.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, utc: bool, as_json: bool) -> None:
    """Show what is on disk now, the longest running first, and whether the daemon is healthy. Changes nothing.

    \b
    Examples:
      agentic-watch status
      watch -n 10 agentic-watch status
    """
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
