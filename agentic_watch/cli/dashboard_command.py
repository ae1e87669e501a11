"""`agentic-watch dashboard`: the history as a web page."""

from __future__ import annotations

import webbrowser

import click

from agentic_watch.answers.past.outcomes import from_config
from agentic_watch.cli.exit_status import Refused
from agentic_watch.cli.global_options import State
from agentic_watch.history import opening
from agentic_watch.host.extras import missing_extra


@click.command("dashboard")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=8001,
    show_default=True,
    help="Port to listen on (0: any free one).",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.pass_obj
def command(state: State, port: int, *, open_page: bool) -> None:
    """Serve a read-only web page over the history, on this host only.

    Charts over time (click a mark for its dispatches), and ready queries to read and change: failed today, why,
    slowest, most expensive, pull requests, recurring findings, agents compared, first try. Ctrl-C ends it.

    \b
    Examples:
      agentic-watch dashboard
      agentic-watch dashboard --history /backup/history.db
    """
    from agentic_watch.dashboard import server

    config = state.config_to_read()
    with opening.reading(config.history):
        pass  # errors appear as one line before the server starts

    def ready(taken: int) -> None:
        click.echo(server.address(taken))
        if open_page:
            webbrowser.open(server.address(taken))

    try:
        server.serve(config.history, from_config(config.answers), port, ready)
    except ModuleNotFoundError as error:
        raise Refused(missing_extra(error.name, "dashboard")) from error
    except OSError as error:
        raise Refused(f"port {port}: {error.strerror}; choose another one with --port") from error
