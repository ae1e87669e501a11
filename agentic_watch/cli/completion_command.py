"""`agentic-watch completion`: what makes a shell complete our commands, options and values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from agentic_watch.cli import completing

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> None:
    """Print a shell completion script for SHELL: commands, options, and values from the history.

    \b
    Examples:
      agentic-watch completion bash > ~/.local/share/bash-completion/completions/agentic-watch
      agentic-watch completion zsh > ~/.zfunc/_agentic-watch    # with fpath+=~/.zfunc before compinit
      agentic-watch completion fish > ~/.config/fish/completions/agentic-watch.fish
    """
    completing.install()
    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(click.get_current_context().find_root().command, {}, completing.PROGRAM, completing.VARIABLE)
    click.echo(made.source_template % made.source_vars())
