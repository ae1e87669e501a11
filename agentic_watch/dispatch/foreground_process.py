"""Runs a command in the foreground as if nobody stood between it and its terminal.

The command stays in our process group, so that the terminal, its keys and job control reach it without us. Signals
are taken one by one with sigwaitinfo(2) rather than by handlers: that tells who sent them. What the kernel sends to
the whole group (Ctrl-C, a resized window, a hang-up) has reached the command already; what somebody sends to us alone
is handed on.
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
"""A command that ends so soon after it was asked to has not ended by itself."""
# Python ignores these two, and exec(3) would hand that down.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class CannotRun(Exception):
    """The command cannot be started: `code` is the exit status a shell has for that, the text is the cause."""

    def __init__(self, cause: str, code: int) -> None:
        super().__init__(cause)
        self.code = code


class Foreground:
    """A command and its signals; `with` holds the signals back from its first line to its last.

    In between nothing interrupts what is written down. For the main thread of a process with no other.

    `stopped_by` is the signal by which the command was asked to end just before it did, 0 for none: many an agent
    answers Ctrl-C with exit status 0.
    """

    stopped_by = 0
    _file_actions: Sequence[tuple[int, int, int]] = ()

    def __enter__(self) -> Self:
        # A signal that our starter ignores (nohup, a job in the background) is neither ours nor the command's.
        heard = {number for number in (*_HANDED_ON, signal.SIGTSTP) if signal.getsignal(number) != signal.SIG_IGN}
        # Who ignores SIGCHLD is not told how a child ended (wait(2)).
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._heard = heard | {signal.SIGCHLD}
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while signal.sigtimedwait(self._heard, 0) is not None:
            pass  # they were for the command, which has ended
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def run(
        self,
        command: tuple[str, ...],
        environ: Mapping[str, str],
        file_actions: Sequence[tuple[int, int, int]] = (),
        on_start: Callable[[], None] = lambda: None,
    ) -> int:
        """Run the command to its end; gives its exit status, or minus the signal that ended it. Raises CannotRun.

        `file_actions` are what posix_spawn(3) does to its descriptors.
        """
        if early := signal.sigpending() & _ENDING & self._heard:
            return -int(min(early))  # it came before there was a command that it could have reached
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
        """Whether somebody wants us to end: it is asked where finishing could take long."""
        return bool(signal.sigpending() & _ENDING & self._heard)

    def _started(self, command: tuple[str, ...], environ: Mapping[str, str]) -> int:
        """Text without a `#!` is run by the shell, as execvp(3) and each shell have it."""
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
    """How the command ended, None while it runs. As process 1 of a container we inherit the orphans of others."""
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
    """Whether the command has had this signal too: the kernel sends those of a terminal to the whole group.

    But for a terminal that is closed, which it tells the leader of the session alone (setsid(2), credentials(7)).
    A shell in that place tells its jobs; where somebody runs us in place of a shell (ssh -t, tmux, xterm -e), we do.
    """
    if info.si_signo in (signal.SIGHUP, signal.SIGCONT) and os.getsid(0) == os.getpid():
        return False
    try:
        return info.si_code == _SI_KERNEL and os.getpgid(pid) == os.getpgrp()
    except ProcessLookupError:
        return True


def _stop(pid: int, *, handed_on: bool) -> None:
    """Stop as Ctrl-Z has stopped the command, and when we are continued let it go on.

    By the default action of SIGTSTP and not by SIGSTOP: where no shell is left to continue us, the kernel drops it.
    """
    if handed_on:
        os.kill(pid, signal.SIGTSTP)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
    os.kill(pid, signal.SIGCONT)


def end_like(code: int) -> NoReturn:
    """End this process as the command ended: by its exit status, or by the signal that `code` is minus of.

    At once, without taking the interpreter apart, which costs 7 ms and changes nothing. Who started us sees what it
    would have seen without us; the core is the command's alone.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, full, or not there
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
    os._exit(128 + number)  # process 1 of a container survives its own signals
