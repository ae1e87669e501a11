"""The commands by group, the global options, the program without a command, and the common end of every `--help`: exit
statuses, global options, environment, further reading.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import click

from agentic_watch import __version__
from agentic_watch.cli import exit_status, global_options
from agentic_watch.cli.exit_status import Interrupted, Misconfigured, Refused
from agentic_watch.cli.global_options import State

_ENDS = (
    "Global options, before or after the command: --config FILE, --root DIR, --history FILE, -v, -q, "
    "--log-format auto|text|json.",
    "Environment: AGENTIC_WATCH_CONFIG, CORE_WORKSPACE, XDG_CONFIG_HOME, XDG_STATE_HOME, COLUMNS, TZ.",
    "See also: man agentic-watch, docs/reference.md.",
)


def complete(command: click.Command, path: str) -> None:
    """Add the common end to the help of a command and its subcommands; "" is the program itself."""
    if isinstance(command, click.Group) and path:
        for name, inner in command.commands.items():
            complete(inner, f"{path} {name}")
    statuses = [f"  {code:<3}  {meaning}" for code, meaning in exit_status.meanings(path).items()]
    whole = "\n".join(["\b", "Exit status:", *statuses])
    command.epilog = "\n\n".join([whole, *(_ENDS if path else _ENDS[1:])])


_GROUPS = {
    "Record dispatches": {
        "dispatch": ("dispatch_command", "Run an agent and record how it ends."),
        "commit": ("commit_command", "Commit named workspaces now."),
        "wait": ("wait_command", "Wait until dispatches are finished and recorded."),
    },
    "Ask about them": {
        "status": ("status_command", "Show what is on disk now, and whether the daemon is healthy."),
        "show": ("show_command", "Show everything about one dispatch, and why it is or is not committed."),
        "history": ("history_command", "Search and list committed dispatches."),
        "stats": ("stats_command", "Show pass rates and durations by agent, repository or day."),
        "failures": ("failures_command", "Show why dispatches fail or wait, grouped by cause."),
        "findings": ("findings_command", "Show which findings recur, are new, or are gone."),
        "digest": ("digest_command", "Print a half-page Markdown summary for a stand-up."),
        "dashboard": ("dashboard_command", "Serve a web page over the history, on this host only."),
        "mcp": ("mcp_command", "Serve core-agent's tools and the answers over MCP on stdio."),
    },
    "Operate": {
        "check": ("check_command", "Check daemon, history and records; report each problem with its fix."),
        "config": ("config_commands", "Write, check or show the configuration."),
        "service": ("service_command", "Install, remove or show the systemd service."),
        "metrics": ("metrics_command", "Print the daemon's metrics for Prometheus."),
        "completion": ("completion_command", "Print a shell completion script."),
    },
    "Move the history": {
        "backup": ("backup_command", "Back up the history while the daemon runs."),
        "prune": ("prune_command", "Archive old dispatches and remove them from the history."),
        "redact": ("redact_command", "Redact secrets in the history and in journals."),
        "export": ("export_command", "Print the history as JSON lines, which import reads, or as CSV."),
        "import": ("import_command", "Import dispatches from exports, archives and other histories."),
        "push": ("push_command", "Send the history to PostgreSQL or HTTP targets, and run hooks."),
        "rename-root": ("rename_root_command", "Rename a root in the history."),
    },
}
"""Module and one-line help of each command, by purpose."""

_COMMANDS = {name: command for group in _GROUPS.values() for name, command in group.items()}


class _LazyGroup(click.Group):
    """A group with the names and one-line helps of its commands, which are imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"agentic_watch.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        global_options.take_everywhere(command)
        complete(command, cmd_name)
        if _is_completing():
            from agentic_watch.cli import completion_command

            completion_command.give_values(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown one, suggest the nearest."""
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            from agentic_watch.config.value_checks import nearest

            near = nearest(args[0], _COMMANDS)
            raise click.UsageError(
                f"no such command: {args[0]}; " + (f"did you mean `{near}`?" if near else "see --help"), ctx
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; foreseeable errors become one line and an exit status."""
        from agentic_watch.config import ConfigError, NoRootsError
        from agentic_watch.history import HistoryError, HistoryRefused

        try:
            return super().invoke(ctx)
        except (ConfigError, HistoryRefused) as error:
            raise Misconfigured(str(error)) from error
        except HistoryError as error:
            raise Refused(str(error)) from error
        except NoRootsError as error:
            raise click.UsageError(str(error)) from error
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        widest = max(map(len, _COMMANDS))
        for title, commands in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), about) for name, (_, about) in commands.items()])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    params=global_options.options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--once", is_flag=True, help="Commit every finished dispatch, recover missing rows from journals, and exit."
)
@click.option("--dry-run", is_flag=True, help="With --once: print what would be committed; change nothing.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    metavar="N",
    help="With --once: number of worker processes. Default: 1; with many workspaces, one per CPU, at most 8.",
)
@click.option("--json", "as_json", is_flag=True, help="With --once: print the summary as one JSON document.")
@click.version_option(__version__, prog_name="agentic-watch")
@click.pass_context
def root(ctx: click.Context, /, once: bool, dry_run: bool, jobs: int | None, as_json: bool) -> None:
    """Commit each finished coding-agent dispatch exactly once: journal, marker, and one history per host.

    Without a command: run the daemon in the foreground, or with --once make one pass and exit.
    --config, --root, --history, -v, -q and --log-format may be given before or after the command.

    \b
    Examples:
      agentic-watch --once --dry-run
      agentic-watch --root /srv/agents/workspace -v
    """
    state = ctx.ensure_object(State)
    if ctx.invoked_subcommand is not None:
        if once or dry_run or as_json or jobs:
            raise click.UsageError("--once, --dry-run, --jobs and --json go without a command; --json may follow one")
        return
    if not once and (dry_run or as_json or jobs):
        raise click.UsageError("--dry-run, --jobs and --json need --once")
    if once:
        from agentic_watch.cli.run_once import run_once

        ctx.exit(run_once(state, dry_run=dry_run, as_json=as_json, jobs=jobs))
    from agentic_watch.cli.run_daemon import run_daemon

    ctx.exit(run_daemon(state))


complete(root, "")


def _is_completing() -> bool:
    """Whether a shell asks for completions."""
    return "_AGENTIC_WATCH_COMPLETE" in os.environ


def run() -> int:
    """Run this process's command line; returns the exit status."""
    if _is_completing():
        from agentic_watch.cli import completion_command

        completion_command.install()
    return exit_status.run(root)
