"""What the program's exit status says, and the ends that lead to each."""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from agentic_watch.cli import messages, standard_streams
from agentic_watch.cli.standard_streams import OutputLost

EXIT_FAILED = 1
"""It failed: the history, a root, the disk; each failure was named."""
EXIT_UNCOMMITTABLE = 3
"""All is done but workspaces that cannot be committed for what lies in them; each was named."""
EXIT_INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT, as shells have it."""


class Refused(click.ClickException):
    """A foreseeable end: one message on stderr, exit status 1."""

    exit_code = EXIT_FAILED

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002  messages have one way out
        """Say it."""
        messages.tell(messages.ERROR, self.format_message(), "Error: ")


class Held(Refused):
    """Another daemon holds the history: exit status 75 (EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


class Misconfigured(Refused):
    """Configuration, or a file, that cannot be used: exit status 78 (EX_CONFIG of sysexits.h)."""

    exit_code = 78


class Interrupted(Refused):
    """Ctrl-C, with one line of what was done: exit status 130."""

    exit_code = EXIT_INTERRUPTED


def run(command: click.Command) -> int:
    """Run the command line to its end; gives the exit status."""
    standard_streams.guard()
    try:
        status = command.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        messages.tell(messages.ERROR, "interrupted")
        return EXIT_INTERRUPTED
    except OutputLost as error:
        if error.reader_left:
            return 0
        messages.tell(messages.ERROR, f"{error}; what was to be printed is lost", "Error: ")
        return EXIT_FAILED
    return status if isinstance(status, int) else 0


def _show(error: click.ClickException) -> None:
    if messages.for_machines():
        messages.tell(messages.ERROR, error.format_message())  # a usage's help is for people
    else:
        error.show()
