"""`metrics`: what the daemon would tell Prometheus, now."""

from __future__ import annotations

import click

from agentic_watch.cli.exit_status import Refused
from agentic_watch.cli.global_options import State
from agentic_watch.daemon import exposition
from agentic_watch.daemon.instance import pulse
from agentic_watch.daemon.metrics import snapshot
from agentic_watch.fleet.backlog import backlogs
from agentic_watch.history import workspaces_table
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History
from agentic_watch.host.extras import missing_extra


@click.command("metrics")
@click.pass_obj
def command(state: State) -> None:
    """Print the daemon's metrics in Prometheus' text format, as it last told them.

    `[metrics] textfile` has the daemon write them for node_exporter, `[metrics] listen` serves them.
    """
    config = state.config_to_read()
    beat, said = pulse(config.history)
    if said is None:
        raise Refused(f"{config.history}: the daemon has said nothing ({beat}); start it, or look as a user who may")
    history = History(config.history, read_only=True)
    try:
        workspaces = workspaces_table.counts(history)
    except HistoryError:
        workspaces = None
    finally:
        history.close()
    try:
        click.echo(exposition.text(snapshot(said, workspaces, backlogs(config.history, config.push))), nl=False)
    except ModuleNotFoundError as error:
        raise Refused(missing_extra(error.name, "metrics")) from error
