"""The commands by name, the options that go before them, and what a line becomes that names none."""

from __future__ import annotations

import importlib
import os
from typing import Any

import click

from agentic_watch import __version__
from agentic_watch.cli import exit_status, global_options, help_text
from agentic_watch.cli.exit_status import Interrupted, Misconfigured
from agentic_watch.cli.global_options import State

_COMMANDS = {
    "backup": ("backup_command", "Copy the history while the daemon goes on."),
    "check": ("check_command", "Judge whether all is well, and say what an operator must do."),
    "commit": ("commit_command", "Commit named workspaces now."),
    "completion": ("completion_command", "Print the script that makes a shell complete our lines."),
    "config": ("config_commands", "Write, check or show the configuration."),
    "dashboard": ("dashboard_command", "Serve a page over the history, for this host only."),
    "digest": ("digest_command", "Write half a page of Markdown for a stand-up."),
    "dispatch": ("dispatch_command", "Run an agent and record how it ends."),
    "export": ("export_command", "Print the history in the form that import reads, or as CSV."),
    "failures": ("failures_command", "Tell why dispatches failed or wait, by class."),
    "findings": ("findings_command", "Tell which findings recur, are new, or went away."),
    "history": ("history_command", "Search and list what was committed."),
    "import": ("import_command", "Take dispatches from exports and other histories into this one."),
    "mcp": ("mcp_command", "Serve the original's tools over MCP on stdio."),
    "metrics": ("metrics_command", "Print the daemon's metrics for Prometheus."),
    "prune": ("prune_command", "Archive old dispatches and take them out of the history."),
    "push": ("push_command", "Send the history to where a fleet is looked at."),
    "rename-root": ("rename_root_command", "Give a root's dispatches another name of the root."),
    "service": ("service_command", "Install, remove or show the systemd service."),
    "show": ("show_command", "Show one dispatch whole, and why it is or is not committed."),
    "stats": ("stats_command", "Tell how well dispatches end, by agent, repository or day."),
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
        global_options.take_everywhere(command)
        help_text.complete(command, cmd_name)
        if _is_completing():
            from agentic_watch.cli import completing

            completing.give_values(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was named; for one that there is not, the nearest."""
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            raise click.UsageError(
                f"no such command: {args[0]}; " + (f"did you mean `{near[0]}`?" if near else "see --help"), ctx
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what foreseeably ends it becomes one line and an exit status."""
        from agentic_watch.config import ConfigError, NoRootsError
        from agentic_watch.history.history_errors import HistoryRefused

        try:
            return super().invoke(ctx)
        except (ConfigError, HistoryRefused) as error:
            raise Misconfigured(str(error)) from error
        except NoRootsError as error:
            raise click.UsageError(str(error)) from error
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in sorted(_COMMANDS.items())])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    params=global_options.options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--once", is_flag=True, help="Commit all that is finished, fill the history from journals, exit.")
@click.option("--dry-run", is_flag=True, help="With --once: name what would be committed, change nothing.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    metavar="N",
    help="With --once: commit in so many processes. Default: one, or for many workspaces one a processor, at most 8.",
)
@click.option("--json", "as_json", is_flag=True, help="With --once: print the summary as one JSON document.")
@click.version_option(__version__, prog_name="agentic-watch")
@click.pass_context
def root(ctx: click.Context, /, once: bool, dry_run: bool, jobs: int | None, as_json: bool) -> None:
    """Commit each finished coding-agent dispatch exactly once: journal, marker, and one history per host.

    Without a command: run the daemon in the foreground, or with --once make one pass and exit.
    --config, --root, --history, -v, -q and --log-format are taken before a command and after it.
    """
    state = ctx.ensure_object(State)
    if ctx.invoked_subcommand is not None:
        if once or dry_run or as_json or jobs:
            raise click.UsageError("--once, --dry-run, --jobs and --json here go without a command")
        return
    if not once and (dry_run or as_json or jobs):
        raise click.UsageError("--dry-run, --jobs and --json go with --once")
    if once:
        from agentic_watch.cli.run_once import run_once

        ctx.exit(run_once(state, dry_run=dry_run, as_json=as_json, jobs=jobs))
    from agentic_watch.cli.run_daemon import run_daemon

    ctx.exit(run_daemon(state))


def _is_completing() -> bool:
    """Whether a shell asks how a line may go on."""
    return "_AGENTIC_WATCH_COMPLETE" in os.environ


def run() -> int:
    """Run the line that we were called with; gives the exit status."""
    if _is_completing():
        from agentic_watch.cli import completing

        completing.install()
    return exit_status.run(root)
