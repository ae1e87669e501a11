"""Runs git and reads its output.

The agent may have written the repository's configuration: git runs as the user who ran the agent, without the
repository's file-system monitor and hooks, and with a time limit. Without `subprocess`, whose timed wait sleeps for a
millisecond where git takes two, and whose import would slow each dispatch.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping

ASK_SECONDS = 5.0
_POLL_SECONDS = 0.2
_CHUNK = 1 << 16
_AT_MOST = 1 << 20
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_UNASKED = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


class GitFailed(Exception):
    """git is missing, failed or was too slow; the text is the cause, `out` the output before that."""

    def __init__(self, cause: str, out: str = "") -> None:
        super().__init__(cause)
        self.out = out


class GitProcess:
    """A running git command in `directory`. Raises GitFailed when it cannot be started."""

    def __init__(self, directory: str, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self._what = arguments[0]
        self._out, out = os.pipe()
        self._problem, problem = os.pipe()
        try:
            self._pid = os.posix_spawnp(
                _GIT[0],
                [*_GIT, "-C", directory, *arguments],
                {**os.environ, **_UNASKED, **(environ or {})},
                file_actions=(
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, out, 1),
                    (os.POSIX_SPAWN_DUP2, problem, 2),
                ),
            )
        except (OSError, ValueError) as error:
            _close(self._out, self._problem)
            cause = error.strerror if isinstance(error, OSError) else str(error)
            raise GitFailed(f"git cannot be run: {cause}") from error
        finally:
            _close(out, problem)

    def answer(
        self, *, seconds: float = ASK_SECONDS, interrupted: Callable[[], bool] = lambda: False, allowed: int = 0
    ) -> str:
        """Its stdout as text without the last newline: see `output`."""
        out = self.output(seconds=seconds, interrupted=interrupted, allowed=allowed)
        return out.decode("utf-8", "replace").removesuffix("\n")

    def output(
        self,
        *,
        seconds: float = ASK_SECONDS,
        interrupted: Callable[[], bool] = lambda: False,
        allowed: int = 0,
        at_most: int = _AT_MOST,
    ) -> bytes:
        """The first `at_most` bytes of its stdout. Call it once.

        Raises GitFailed for an exit status other than 0 or `allowed`. After `seconds`, or when `interrupted` returns
        True, git is killed and GitFailed is raised.
        """
        try:
            out, problem = self._read(time.monotonic() + seconds, interrupted, at_most)
        except BaseException:
            os.kill(self._pid, signal.SIGKILL)
            raise
        finally:
            _close(self._out, self._problem)
            status = _ended(self._pid)
        if status not in (0, allowed):
            cause = _first_line(problem.decode("utf-8", "replace")) or f"git {self._what} ended with {status}"
            raise GitFailed(cause, out.decode("utf-8", "replace"))
        return out

    def _read(self, deadline: float, interrupted: Callable[[], bool], at_most: int) -> tuple[bytes, bytes]:
        said = {self._out: b"", self._problem: b""}
        poll = select.poll()
        for descriptor in said:
            poll.register(descriptor, select.POLLIN)
        left = len(said)
        while left:
            ready = poll.poll(_POLL_SECONDS * 1000)
            if time.monotonic() > deadline or (not ready and interrupted()):
                raise GitFailed("git was too slow, or there was no time")
            for descriptor, _ in ready:
                data = os.read(descriptor, _CHUNK)
                said[descriptor] = (said[descriptor] + data)[:at_most]
                if not data:
                    poll.unregister(descriptor)
                    left -= 1
        return said[self._out], said[self._problem]


def _first_line(problem: str) -> str:
    """The first line of git's message, with the following one if it ends in a colon."""
    first, *more = [line.strip() for line in problem.strip().splitlines()] or [""]
    return f"{first} {more[0]}" if first.endswith(":") and more else first


def ask(directory: str, *arguments: str, allowed: int = 0) -> str:
    """The output of a git command in `directory`. Raises GitFailed."""
    return GitProcess(directory, *arguments).answer(allowed=allowed)


def _ended(pid: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0  # a program that uses this as a library may reap children itself (wait(2), SIGCHLD)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
