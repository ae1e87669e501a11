"""The meaning of each exit status, in one table for help, manual and docs; the exceptions that lead to them; and robust
stdin, stdout and stderr: closed, full, or without a reader.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import IO, Any, NoReturn, TextIO

import click

from agentic_watch.cli import messages

EXIT_FAILED = 1
EXIT_UNCOMMITTABLE = 3
EXIT_UNPASSED = 3
"""`wait`: some dispatches failed or wait for an answer."""
EXIT_TIMED_OUT = 124
"""As timeout(1)."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells."""

MEANINGS = {
    0: "done, or nothing to do; also when the reader of stdout closed it",
    1: "failed: the history, a root or the disk; each failure is named",
    2: "usage error",
    3: "done, except workspaces with invalid content; each is named",
    75: "another daemon holds this history",
    78: "configuration error, or a file that agentic-watch did not write",
    124: "wait: timed out",
    130: "interrupted (Ctrl-C), after one line on what was done",
}
"""Exit statuses of all commands."""
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
    """The exit statuses of a command (`config check`; "" is the program without a command)."""
    own = _OWN.get(path, {})
    return dict(sorted(({code: MEANINGS[code] for code in _EVERY} | own).items()))


class Refused(click.ClickException):
    """A foreseeable error: one message on stderr, exit status 1."""

    exit_code = EXIT_FAILED

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002  messages have one way out
        """Print the message."""
        messages.tell(messages.ERROR, self.format_message(), "Error: ")


class HistoryHeld(Refused):
    """Another daemon holds the history: exit status 75 (EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


class Misconfigured(Refused):
    """An invalid configuration, or an unusable file: exit status 78 (EX_CONFIG of sysexits.h)."""

    exit_code = 78


class Interrupted(Refused):
    """Ctrl-C, with one line about what was done: exit status 130."""

    exit_code = EXIT_INTERRUPTED


@contextlib.contextmanager
def finishing_what_is_in_hand(stop: Callable[[], None], *signals: signal.Signals) -> Iterator[None]:
    """On a signal, call `stop`, so that the body ends after its current work; a second signal ends the process at once,
    which is safe."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        stop()
        for number in before:
            signal.signal(number, signal.SIG_DFL)

    asked = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _OutputLost(Exception):
    """Writing to stdout failed; `cause` is the error of write(2).

    Not an OSError, so that handlers of file errors do not catch it.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"stdout: {cause.strerror}")
        self.reader_left = isinstance(cause, BrokenPipeError)


class _Stdout(io.BufferedWriter):
    """Descriptor 1. After a failed write, further output is dropped.

    The buffer and not the file below it, so that no line of Python is between write(2) and the note of how much it
    wrote: Ctrl-C there would have the same bytes written again at the end.
    """

    _lost = False

    def write(self, data: Any, /) -> int:
        left = memoryview(data)
        while not self._lost:
            try:
                super().write(left)
                break
            except BlockingIOError as error:
                left = left[error.characters_written :]
                _wait_for_room()
            except OSError as error:
                self._lose(error)
        return len(data)

    def flush(self) -> None:
        while not self._lost:
            try:
                return super().flush()
            except BlockingIOError:
                _wait_for_room()
            except OSError as error:
                self._lose(error)
        return None

    def _lose(self, error: OSError) -> NoReturn:
        self._lost = True
        raise _OutputLost(error) from error


def _wait_for_room() -> None:
    """Whoever shares stdout has made it non-blocking."""
    import select

    select.select((), (1,), ())


class _Stderr(io.FileIO):
    """Descriptor 2. A message that cannot be written does not stop the program."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def _guard() -> None:
    """Make all three streams usable, and let a failed write to stdout raise _OutputLost.

    A terminal that is not UTF-8 gets escapes for characters that it cannot show, and no traceback.
    """
    _open_missing()
    sys.stdout = _text(_Stdout(io.FileIO(1, "w", closefd=False)), sys.stdout)
    sys.stderr = _text(io.BufferedWriter(_Stderr(2, "w", closefd=False)), sys.stderr, line_buffering=True)


def _open_missing() -> None:
    """Open descriptors that the caller closed (`>&-`), before a file of ours gets their number and their output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Read-only, so that writing to a closed stdout still fails with EBADF.
            os.open(os.devnull, os.O_RDWR if number == 2 else os.O_RDONLY)


def _text(buffer: io.BufferedWriter, former: TextIO | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    if isinstance(former, io.TextIOWrapper):
        former.flush()
    return io.TextIOWrapper(
        buffer,
        encoding=getattr(former, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=line_buffering or buffer.isatty(),
    )


def run(command: click.Command) -> int:
    """Run the command line; returns the exit status."""
    _guard()
    try:
        status = command.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        messages.tell(messages.ERROR, "interrupted")
        return EXIT_INTERRUPTED
    except _OutputLost as error:
        if error.reader_left:
            return 0
        messages.tell(messages.ERROR, f"{error}; the output is lost", "Error: ")
        return EXIT_FAILED
    return status if isinstance(status, int) else 0


def _show(error: click.ClickException) -> None:
    if messages.for_machines():
        messages.tell(messages.ERROR, error.format_message())  # the usage text is for people only
    else:
        error.show()
