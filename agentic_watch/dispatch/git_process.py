"""Runs git and reads what it says.

The agent may have written the repository's configuration. Git is asked as the user who ran the agent, starts no
file-system monitor or hook of it, and is not waited for at length. Spawned and read here rather than by `subprocess`,
whose wait with a limit sleeps for a millisecond where git takes two (and is not to be loaded by each dispatch).
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
    """Git is not there, cannot tell, or was too slow; the text is the cause, `out` what it said before it failed."""

    def __init__(self, cause: str, out: str = "") -> None:
        super().__init__(cause)
        self.out = out


class GitProcess:
    """A question that git is at work on in `directory`; GitFailed when it cannot be run."""

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
        """What it says on stdout, as text without its last newline: see `output`."""
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
        """The first `at_most` bytes of what it says on stdout. To be called once.

        Raises GitFailed when it ends with anything but 0 or `allowed`, and when it takes longer than `seconds` or
        `interrupted` says that there is no time: it is killed then.
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
    """What git says first; where that ends in a colon, with what it names below."""
    first, *more = [line.strip() for line in problem.strip().splitlines()] or [""]
    return f"{first} {more[0]}" if first.endswith(":") and more else first


def ask(directory: str, *arguments: str, allowed: int = 0) -> str:
    """What git answers in `directory`. Raises GitFailed."""
    return GitProcess(directory, *arguments).answer(allowed=allowed)


def _ended(pid: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0  # a program that uses us as a library has children collected by somebody else (wait(2), SIGCHLD)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
