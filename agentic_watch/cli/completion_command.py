"""`agentic-watch completion`: prints the shell's completion script, and answers the shell's requests for values of
options and arguments.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from agentic_watch.cli.global_options import State

PROGRAM = "agentic-watch"
VARIABLE = "_AGENTIC_WATCH_COMPLETE"

_COLUMNS = (
    "repo",
    "org",
    "agent",
    "model",
    "status",
    "host",
    "workspace",
    "branch",
    "issue",
    "pr",
    "commit",
    "session",
)
_ARGUMENTS = {("show", "given"): "dispatch", ("commit", "workspaces"): "on_disk", ("wait", "workspaces"): "on_disk"}
_FILES = ("config", "history", "archive", "file", "files", "roots")

# Bash splits words at colons and passes only the last part, so the whole line is parsed instead.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line kind value word
    COMPREPLY=()
    line=${COMP_LINE:0:COMP_POINT}
    word=${line##*[[:space:]]}
    word=${word%%"${word##*:}"}
    for line in $(COMP_LINE="$line" %(complete_var)s=bash_complete "$1"); do
        kind=${line%%%%,*} value=${line#*,}
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$word"}") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Completion for bash, from the whole line."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The complete words of the line, and the incomplete one."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        return (words, "") if not words or line[-1:].isspace() else (words[:-1], words[-1])


def install() -> None:
    """Register this class with click."""
    add_completion_class(_Bash, "bash")


def give_values(command: click.Command) -> None:
    """Let options and arguments of a command complete to values in the history."""
    for parameter in command.params:
        name = _ARGUMENTS.get((command.name or "", parameter.name or ""), parameter.name or "")
        if name in _COLUMNS or name in _ARGUMENTS.values():
            setattr(parameter, "shell_complete", _values_of(name))  # noqa: B010  an instance has no other way
        elif name in _FILES:
            setattr(parameter, "shell_complete", _paths)  # noqa: B010


def _values_of(name: str) -> Callable[[click.Context, str], list[CompletionItem[str]]]:
    def values(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from agentic_watch.answers.past.known_values import known_values
        from agentic_watch.config import ConfigError
        from agentic_watch.history import HistoryError, HistoryRefused

        try:
            path = ctx.ensure_object(State).config_to_read().history
            return [CompletionItem(value) for value in known_values(path, name, incomplete) if value.isprintable()]
        except (ConfigError, HistoryError, HistoryRefused):
            return []  # a key press is no place for a message

    return values


def _paths(_ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(incomplete, type="file")]


_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> None:
    """Print a completion script for the named shell: commands, options, and values from the history.

    \b
    Examples:
      agentic-watch completion bash > ~/.local/share/bash-completion/completions/agentic-watch
      agentic-watch completion zsh > ~/.zfunc/_agentic-watch    # with fpath+=~/.zfunc before compinit
      agentic-watch completion fish > ~/.config/fish/completions/agentic-watch.fish
    """
    install()
    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(click.get_current_context().find_root().command, {}, PROGRAM, VARIABLE)
    click.echo(made.source_template % made.source_vars())
