"""Runs a command in the foreground, transparently for its terminal.

The command stays in our process group, so that terminal, keys and job control reach it directly. Signals are received
with sigwaitinfo(2) instead of handlers, to know their sender. Signals that the kernel sends to the whole group (Ctrl-C,
a resized window, a hang-up) have already reached the command; those sent only to us are forwarded.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NoReturn, Self

_SI_KERNEL = 0x80  # siginfo(2): the terminal driver sent it
_HANDED_ON = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGWINCH,
        signal.SIGCONT,
    }
)
_STOPPING = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM})
_ENDING = _STOPPING | {signal.SIGQUIT}
_STOPPED_WITHIN_SECONDS = 10.0
"""A command that ends this soon after a stop signal counts as stopped by it."""
# Python ignores these two signals, and exec(3) would pass that on.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class CannotRun(Exception):
    """The command cannot be started: `code` is the exit status that a shell uses, the text is the cause."""

    def __init__(self, cause: str, code: int) -> None:
        super().__init__(cause)
        self.code = code


class Foreground:
    """A command and its signals, which are blocked during the `with` block, so that nothing interrupts writing the
    status.

    Use it from the main thread of a single-threaded process. `stopped_by` is the signal that asked the command to end
    just before it did, 0 for none: some agents exit with 0 after Ctrl-C.
    """

    stopped_by = 0
    _file_actions: Sequence[tuple[int, int, int]] = ()

    def __enter__(self) -> Self:
        # Signals ignored by our parent (nohup, a background job) stay ignored for us and the command.
        heard = {number for number in (*_HANDED_ON, signal.SIGTSTP) if signal.getsignal(number) != signal.SIG_IGN}
        # With SIGCHLD ignored, wait(2) returns no exit status.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._heard = heard | {signal.SIGCHLD}
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while signal.sigtimedwait(self._heard, 0) is not None:
            pass  # pending signals were for the command, which has ended
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def run(
        self,
        command: tuple[str, ...],
        environ: Mapping[str, str],
        file_actions: Sequence[tuple[int, int, int]] = (),
        on_start: Callable[[], None] = lambda: None,
    ) -> int:
        """Run the command and wait; returns its exit status, or the negative signal that ended it. Raises CannotRun.

        `file_actions` are passed to posix_spawn(3).
        """
        if early := signal.sigpending() & _ENDING & self._heard:
            return -int(min(early))  # arrived before the command existed
        self._file_actions = file_actions
        try:
            pid = self._started(command, environ)
        except OSError as error:
            raise _cannot_run(command[0], error) from None
        except ValueError as error:
            raise CannotRun(f"cannot be run: {error}", 126) from None
        on_start()
        return self._wait(pid)

    def interrupted(self) -> bool:
        """Whether a signal asks us to end; called during long final work."""
        return bool(signal.sigpending() & _ENDING & self._heard)

    def _started(self, command: tuple[str, ...], environ: Mapping[str, str]) -> int:
        """Start the command; a text file without `#!` is run by the shell, like execvp(3) does."""
        try:
            return self._spawn(command, environ)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            from agentic_watch.host.executables import script

            if not (path := script(command[0])):
                raise
            return self._spawn(("/bin/sh", path, *command[1:]), environ)

    def _spawn(self, command: tuple[str, ...], environ: Mapping[str, str]) -> int:
        return os.posix_spawnp(
            command[0],
            command,
            environ,
            file_actions=self._file_actions,
            setsigmask=self._before,
            setsigdef=_IGNORED_BY_PYTHON,
        )

    def _wait(self, pid: int) -> int:
        asked, asked_at = 0, 0.0
        while True:
            info = signal.sigwaitinfo(self._heard)
            if info.si_signo in _STOPPING:
                asked, asked_at = info.si_signo, time.monotonic()
            if info.si_signo == signal.SIGCHLD:
                if (ended := _ended(pid)) is not None:
                    self.stopped_by = asked if time.monotonic() - asked_at <= _STOPPED_WITHIN_SECONDS else 0
                    return ended
            elif info.si_signo == signal.SIGTSTP:
                _stop(pid, handed_on=not _reached(pid, info))
            elif not _reached(pid, info):
                os.kill(pid, info.si_signo)


def _cannot_run(word: str, error: OSError) -> CannotRun:
    if not isinstance(error, FileNotFoundError):
        return CannotRun(f"cannot be run: {error.strerror}", 126)
    from agentic_watch.host.executables import interpreter

    if named := interpreter(word):
        ends = "; its lines end with CR LF" if named.endswith("\r") else ""
        return CannotRun(f"cannot be run: its interpreter {named!r} is not there{ends}", 126)
    return CannotRun("not found", 127)


def _ended(pid: int) -> int | None:
    """The exit of the command, None while it runs. As process 1 of a container we also reap orphans."""
    ended = None
    while True:
        try:
            found, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not found:
            return ended
        if found == pid:
            ended = os.waitstatus_to_exitcode(status)


def _reached(pid: int, info: signal.struct_siginfo) -> bool:
    """Whether the command received this signal too: the kernel sends terminal signals to the whole group.

    Except the hang-up of a closed terminal, which goes to the session leader only (setsid(2), credentials(7)). A shell
    forwards it to its jobs; if we are the session leader (ssh -t, tmux, xterm -e), we do.
    """
    if info.si_signo in (signal.SIGHUP, signal.SIGCONT) and os.getsid(0) == os.getpid():
        return False
    try:
        return info.si_code == _SI_KERNEL and os.getpgid(pid) == os.getpgrp()
    except ProcessLookupError:
        return True


def _stop(pid: int, *, handed_on: bool) -> None:
    """Stop like the command after Ctrl-Z, and continue it when we are continued.

    By the default action of SIGTSTP instead of SIGSTOP: if no shell is left to continue us, the kernel discards
    SIGTSTP.
    """
    if handed_on:
        os.kill(pid, signal.SIGTSTP)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
    os.kill(pid, signal.SIGCONT)


def end_like(code: int) -> NoReturn:
    """End this process like the command: with its exit status, or by its signal (negative `code`).

    Immediately, without shutting down the interpreter, which takes 7 ms. Our parent sees the same result as without us;
    only the command dumps core.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, full, or missing
            stream.flush()
    if code >= 0:
        os._exit(code)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    number = -code
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # process 1 of a container ignores its own signals
