"""`agentic-watch metrics`: the daemon's latest metrics."""

from __future__ import annotations

import click

from agentic_watch.cli.exit_status import Refused
from agentic_watch.cli.global_options import State
from agentic_watch.daemon.daemon_state import pulse
from agentic_watch.fleet.backlog import backlogs
from agentic_watch.history import HistoryError
from agentic_watch.history.store import History
from agentic_watch.host.extras import missing_extra


@click.command("metrics")
@click.pass_obj
def command(state: State) -> None:
    """Print the daemon's latest metrics in Prometheus' text format.

    With `[metrics] textfile` the daemon writes them for node_exporter, with `[metrics] listen` it serves them.

    \b
    Examples:
      agentic-watch metrics
      agentic-watch metrics > /var/lib/node_exporter/agentic-watch.prom
    """
    config = state.config_to_read()
    beat, said = pulse(config.history)
    if said is None:
        raise Refused(
            f"{config.history}: no daemon has written its state ({beat}); start one, or run as a user who may read it"
        )
    try:
        from agentic_watch.daemon.metrics import Extent, Snapshot, extent, text
    except ModuleNotFoundError as error:
        raise Refused(missing_extra(error.name, "metrics")) from error
    history = History(config.history, read_only=True)
    try:
        how_large = extent(history)
    except HistoryError:
        how_large = Extent()
    finally:
        history.close()
    click.echo(text(Snapshot(said, how_large, backlogs(config.history, config.push))), nl=False)
