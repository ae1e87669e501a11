"""`agentic-watch backup`: a copy of the history while the daemon runs."""

from __future__ import annotations

import os
import time

import click

from agentic_watch import counted
from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.cli.exit_status import Interrupted, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.messages import progress
from agentic_watch.cli.output import clean, print_json
from agentic_watch.exchange import ExchangeError
from agentic_watch.exchange.backup import back_up


@click.command("backup")
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, file: str, as_json: bool) -> None:
    """Write a consistent, compact snapshot of the history to FILE.

    An older backup of the same history at FILE is replaced; anything else there is refused and left as it is.

    \b
    Examples:
      agentic-watch backup /backup/history.db
      agentic-watch history --failed --history /backup/history.db
    """
    history = state.config_to_read().history
    if file == "-":
        raise click.BadParameter("must be a file; `agentic-watch export` prints to stdout", param_hint="FILE")
    started = time.monotonic()
    try:
        with progress("bytes", os.path.getsize(history) if os.path.exists(history) else 0) as tell:
            copied = back_up(history, file, lambda position, _: tell(position))
    except ExchangeError as error:
        raise Refused(str(error)) from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted: {file} is as it was before") from error
    seconds = round(time.monotonic() - started, 3)
    if as_json:
        sizes = {"bytes": copied.bytes, "commits_count": copied.commits, "seconds": seconds}
        print_json({"schema": SCHEMA, "path": copied.path, **sizes})
    else:
        click.echo(
            clean(f"{copied.path}: {counted(copied.commits, 'commit')}, {copied.bytes:,} bytes, {seconds:.1f} s")
        )
