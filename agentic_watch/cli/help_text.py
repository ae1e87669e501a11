"""What every `--help` ends with: two examples, the exit statuses, the environment, and where the rest stands."""

from __future__ import annotations

import click

_EXAMPLES = {
    "check": ("agentic-watch check --quick", "agentic-watch check --repair --json"),
    "dispatch begin": (
        "agentic-watch dispatch begin --task 'Fix the login page' --agent codex:gpt-5",
        "agentic-watch dispatch begin --workspace acme/site/login --pid $$ --json",
    ),
    "dispatch finish": (
        "agentic-watch dispatch finish --status failed --question 'rate limit'",
        "agentic-watch dispatch finish acme/site/login --report ruff.sarif",
    ),
    "dispatch schema": ("agentic-watch dispatch schema status", "agentic-watch dispatch schema report > report.json"),
    "commit": ("agentic-watch commit acme/billing/task-101", "agentic-watch commit --force ./task-7 --json"),
    "config check": ("agentic-watch config check", "agentic-watch config check --config ./new.toml"),
    "config init": ("agentic-watch config init --root /srv/agents", "agentic-watch config init --config ./mine.toml"),
    "config show": ("agentic-watch config show", "agentic-watch config show --json"),
    "dashboard": ("agentic-watch dashboard", "agentic-watch --history /backup/history.db dashboard"),
    "mcp": ("agentic-watch mcp", "agentic-watch --config /etc/agentic-watch/config.toml mcp"),
    "metrics": ("agentic-watch metrics", "agentic-watch metrics > /var/lib/node_exporter/agentic-watch.prom"),
    "push": ("agentic-watch push --dry-run", "agentic-watch push --to warehouse --follow"),
    "service install": ("agentic-watch service install", "agentic-watch service install --user"),
    "service show": ("agentic-watch service show", "agentic-watch service show --json"),
    "service uninstall": ("agentic-watch service uninstall", "agentic-watch service uninstall --user"),
}
"""Of commands whose own help has none."""

_ENDS = (
    "Exit status: 0 done, 1 it failed, 2 usage, 3 some workspaces cannot be committed, "
    "75 another daemon holds the history, 78 configuration, 130 interrupted.",
    "Environment: AGENTIC_WATCH_CONFIG, CORE_WORKSPACE, XDG_CONFIG_HOME, XDG_STATE_HOME, COLUMNS, TZ.",
    "All of it: man agentic-watch, docs/reference.md.",
)


def complete(command: click.Command, path: str) -> None:
    """Let the help of a command, and of those below it, end as every help does."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            complete(inner, f"{path} {name}")
    parts = []
    if path in _EXAMPLES and "Examples:" not in (command.help or ""):
        parts.append("\n".join(["\b", "Examples:", *(f"  {line}" for line in _EXAMPLES[path])]))
    command.epilog = "\n\n".join([*parts, *_ENDS])
