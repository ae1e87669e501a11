"""`agentic-watch status`: what is on disk now, and whether the daemon is well."""

from __future__ import annotations

import logging
import shutil
import sys
import time

import click

from agentic_watch.answers.host_now import HostNow, document, host_now
from agentic_watch.cli import logs, messages, status_text
from agentic_watch.cli.exit_status import EXIT_FAILED
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json, print_json_lines
from agentic_watch.cli.text_width import cut
from agentic_watch.workspace.jsontext import as_text

_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command("status")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C; on a terminal in place.")
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(0.1), help="With --watch: seconds.")
@click.option("--utc", is_flag=True, help="Times are UTC's.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (--watch: one a line).")
@click.pass_obj
def command(state: State, watch: bool, every: float, utc: bool, as_json: bool) -> None:
    """Show what is on disk now, the longest running first, and whether the daemon is well. Changes nothing.

    \b
    Examples:
      agentic-watch status
      agentic-watch status --watch --every 10
    """
    config = state.config()
    logs.set_up(config, state.verbosity, quieter=True)
    while watch:
        _refresh(host_now(config), utc, as_json)
        time.sleep(every)
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


def _refresh(now: HostNow, utc: bool, as_json: bool) -> None:
    if as_json:
        print_json_lines([as_text(document(now))])
    else:
        lines = [*status_text.lines(now, utc=utc), *(clean(f"failed: {failure}") for failure in now.failures)]
        click.echo(_screen(lines) if sys.stdout.isatty() else "\n".join([*lines, ""]))
    sys.stdout.flush()


def _screen(lines: list[str]) -> str:
    """The lines over what stood there before, as many as the terminal has."""
    size = shutil.get_terminal_size()
    shown = [cut(line, size.columns) + _REST_OF_LINE for line in lines[: size.lines - 1]]
    return _HOME + "\n".join(shown) + _REST_OF_SCREEN
