"""What every `--help` ends with: two examples, exit statuses, global options, the environment, and where to read on."""

from __future__ import annotations

import click

from agentic_watch.cli import exit_status

_EXAMPLES = {
    "check": ("agentic-watch check --quick", "agentic-watch check --repair --json"),
    "": ("agentic-watch --once --dry-run", "agentic-watch --root /srv/agents/workspace -v"),
    "dispatch": (
        'agentic-watch dispatch --task "Fix the tests" -- claude "Fix the tests"',
        'agentic-watch dispatch --task "Fix the tests" --usage result.json -- ./run-agent.sh',
        "agentic-watch dispatch --agent codex:o3 --report junit.xml -- make test",
        'agentic-watch dispatch --best-effort -- codex exec -s workspace-write "Fix the tests"',
        'agentic-watch dispatch begin --workspace acme/api/ci-1712 --task "CI 1712"',
        'agentic-watch dispatch finish acme/api/ci-1712 --status failed --question "no runner"',
    ),
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
    "wait": (
        "agentic-watch wait acme/billing/task-101 && ./deploy.sh",
        "agentic-watch wait --timeout 2h --any acme/api/try-1 acme/api/try-2",
    ),
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
    "Global options, before or after the command: --config FILE, --root DIR, --history FILE, -v, -q, "
    "--log-format auto|text|json.",
    "Environment: AGENTIC_WATCH_CONFIG, CORE_WORKSPACE, XDG_CONFIG_HOME, XDG_STATE_HOME, COLUMNS, TZ.",
    "See also: man agentic-watch, docs/reference.md.",
)


def complete(command: click.Command, path: str) -> None:
    """Let the help of a command, and of those below it, end as every help does; "" is the program itself."""
    if isinstance(command, click.Group) and path:
        for name, inner in command.commands.items():
            complete(inner, f"{path} {name}")
    parts = [examples(path)] if path in _EXAMPLES and "Examples:" not in (command.help or "") else []
    statuses = [f"  {code:<3}  {meaning}" for code, meaning in exit_status.meanings(path).items()]
    parts.append("\n".join(["\b", "Exit status:", *statuses]))
    command.epilog = "\n\n".join([*parts, *(_ENDS if path else _ENDS[1:])])


def examples(path: str) -> str:
    """The examples of a command whose own help has none, as a paragraph of a help; "" where there are none."""
    lines = _EXAMPLES.get(path, ())
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)]) if lines else ""
