"""The command line: parse, call, print. Each command lives in a room of its own, imported when it is called."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

import click

from agentic_watch import __version__

_COMMANDS = {
    "commit": ("commit_command", "Commit named workspaces now."),
    "config": ("config_commands", "Write or show the configuration."),
    "history": ("history_command", "Search and list what was committed."),
    "mcp": ("mcp_command", "Serve the original's tools over MCP on stdio."),
    "service": ("service_command", "Install, remove or show the systemd service."),
    "status": ("status_command", "Show what is on disk now, and whether the daemon is well."),
}


class _LazyGroup(click.Group):
    """A group that knows its commands' names and one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"agentic_watch.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what foreseeably ends it becomes one line and an exit status."""
        from agentic_watch.cli.exit_status import Misconfigured
        from agentic_watch.config import ConfigError, NoRootsError
        from agentic_watch.history.history_errors import HistoryTooNew

        try:
            return super().invoke(ctx)
        except (ConfigError, HistoryTooNew) as error:
            raise Misconfigured(str(error)) from error
        except NoRootsError as error:
            raise click.UsageError(str(error)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in sorted(_COMMANDS.items())])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--config", metavar="FILE", help="Configuration file (TOML).")
@click.option("--root", "roots", metavar="DIR", multiple=True, help="Watch this root; may be given more than once.")
@click.option("--history", metavar="FILE", help="The host's history (SQLite).")
@click.option("--once", is_flag=True, help="Commit all that is finished, fill the history from journals, exit.")
@click.option("--dry-run", is_flag=True, help="With --once: say what would be committed, change nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print the summary as one JSON document.")
@click.option("-v", "--verbose", count=True, help="Say more (twice: all).")
@click.option("-q", "--quiet", count=True, help="Say less (once: warnings, twice: errors).")
@click.option("--log-format", type=click.Choice(["auto", "text", "json"]), help="How log lines look on stderr.")
@click.version_option(__version__, prog_name="agentic-watch")
@click.pass_context
def root(ctx: click.Context, /, once: bool, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Commit each finished coding-agent dispatch exactly once: journal, marker, and one history per host.

    Without a command: run the daemon in the foreground, or with --once make one pass and exit.
    """
    from agentic_watch.cli.global_options import State
    from agentic_watch.config import Overrides

    overrides = Overrides(
        config=options["config"],
        roots=options["roots"],
        history=options["history"],
        log_format=options["log_format"],
    )
    ctx.obj = state = State(overrides, verbosity=options["verbose"] - options["quiet"])
    if ctx.invoked_subcommand is not None:
        if once or dry_run or as_json:
            raise click.UsageError("--once, --dry-run and --json here go without a command")
        return
    if not once and (dry_run or as_json):
        raise click.UsageError("--dry-run and --json go with --once")
    if once:
        from agentic_watch.cli.run_once import run_once

        ctx.exit(run_once(state, dry_run=dry_run, as_json=as_json))
    from agentic_watch.cli.run_daemon import run_daemon

    ctx.exit(run_daemon(state))


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that is not UTF-8 gets an escape for what it cannot show, not a traceback.
            stream.reconfigure(errors="backslashreplace")
    root()
