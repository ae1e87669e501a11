"""`agentic-watch mcp`: serve core-agent's tools and the answers over MCP on stdio."""

from __future__ import annotations

import signal

import click

from agentic_watch.cli import logs
from agentic_watch.cli.exit_status import Refused
from agentic_watch.cli.global_options import State
from agentic_watch.host.extras import missing_extra


@click.command("mcp")
@click.pass_obj
def command(state: State) -> None:
    """Serve core-agent's tools and this program's answers to an MCP client on stdin and stdout, until stdin ends."""
    config = state.committing()
    # Before the SDK sets up a log of its own.
    logs.set_up(config, state.verbosity, quieter=True)
    try:
        from agentic_watch.mcp_server.serving import serve
    except ModuleNotFoundError as error:
        # An older mcp lacks modules of that name too; anything else that is missing is a defect.
        if (error.name or "").partition(".")[0] != "mcp":
            raise
        raise Refused(missing_extra(error.name, "mcp")) from error
    # The thread that reads stdin cannot be interrupted, so an orderly end is the end of stdin. Ctrl-C ends the
    # process as a kill does, which every commit survives.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from agentic_watch.cli.command_tools import command_tools

    # A configuration that is edited meanwhile leaves all tools at one history.
    serve(config, command_tools(State(state.overrides._replace(history=config.history))))
