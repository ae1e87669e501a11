"""What each exit status means, in one table for the help, the manual and the docs; and the ends that lead to it."""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from agentic_watch.cli import messages, standard_streams
from agentic_watch.cli.standard_streams import OutputLost

EXIT_FAILED = 1
EXIT_UNCOMMITTABLE = 3
EXIT_UNPASSED = 3
"""`wait`: some failed, or wait for an answer."""
EXIT_TIMED_OUT = 124
"""As timeout(1) has it."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

MEANINGS = {
    0: "done, or nothing to do; also when the reader of stdout went away",
    1: "failed: the history, a root or the disk; each failure is named",
    2: "usage error",
    3: "done, except workspaces with invalid content; each is named",
    75: "another daemon holds this history",
    78: "configuration error, or a file that agentic-watch did not write",
    124: "wait: timed out",
    130: "interrupted (Ctrl-C), after one line on what was done",
}
"""Of the program as a whole."""
_EVERY = (0, 1, 2, 78, 130)
_OWN: dict[str, dict[int, str]] = {
    "": {3: "--once: " + MEANINGS[3], 75: "the daemon: " + MEANINGS[75]},
    "check": {
        0: "no problem found",
        1: "a problem needs an operator; each is named with its next step",
        2: "usage error; --nagios: a problem (critical)",
        3: "--nagios: no problem, but something cannot be known (unknown)",
    },
    "commit": {
        0: "each workspace is committed",
        1: "failed: no such workspace, one that is not finished (without --force), or the history, a root, the disk",
        3: "some workspaces have invalid content and cannot be committed; each is named",
    },
    "config check": {0: "the configuration is valid", 78: "the configuration has problems; each is named"},
    "config init": {1: "the file exists already, or cannot be written"},
    "dispatch": {
        0: "the command succeeded; otherwise dispatch ends with the command's own exit status or signal",
        1: "before the command runs (never with --best-effort): the status cannot be written",
        2: "before the command runs: usage error",
        78: "before the command runs: configuration error",
        126: "the command cannot be executed",
        127: "the command is not found",
        130: "the command was interrupted (Ctrl-C)",
    },
    "push": {3: "done, except commits that a target rejected; each is named"},
    "redact": {
        3: "done, except journals that could not be rewritten; each is named with its cause",
        75: "the daemon holds this history: stop it first",
    },
    "rename-root": {75: "the daemon holds this history: stop it first"},
    "wait": {
        0: "all passed (completed, merged, ready for review)",
        1: "failed: no such workspace, or the history, a root, the disk",
        3: "some failed, wait for an answer, or were removed before they were recorded; each is named",
        124: "timed out; each workspace that is not recorded yet is named",
        130: "interrupted (Ctrl-C), after one line on how many are recorded",
    },
    "status": {
        0: "the state is printed, whatever it is",
        1: "a root or a directory cannot be read, or a COMMAND failed; each is named",
    },
}


def meanings(path: str) -> dict[int, str]:
    """The exit statuses of a command by its name (`config check`; "" is the program without a command)."""
    own = _OWN.get(path, {})
    return dict(sorted(({code: MEANINGS[code] for code in _EVERY} | own).items()))


class Refused(click.ClickException):
    """A foreseeable end: one message on stderr, exit status 1."""

    exit_code = EXIT_FAILED

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002  messages have one way out
        """Say it."""
        messages.tell(messages.ERROR, self.format_message(), "Error: ")


class HistoryHeld(Refused):
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
