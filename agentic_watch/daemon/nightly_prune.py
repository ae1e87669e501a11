"""`[history] keep`: prunes older dispatches at night, by `agentic-watch prune` in a process of its own.

Commits continue meanwhile. The conditions that stop a manual prune stop this one: a missing root, or a [[push]] target
that lacks commits. Then a warning is logged and the next night tries again.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, NamedTuple

from agentic_watch import counted

log = logging.getLogger("agentic_watch.daemon")

_HOUR = 3
_LATE_SECONDS = 2 * 3600.0
"""A host that was suspended during the night prunes in the next one."""
_STOP_SECONDS = 5.0
_LINES_AT_MOST = 8


class _Prune(NamedTuple):
    process: subprocess.Popen[bytes]
    keep: str
    document: IO[bytes]
    messages: IO[bytes]


class NightlyPrune:
    """Used from the loop's thread. `command` is the program with its global options; `keep` is the configured span,
    such as `180d`, or None to prune nothing.

    Times are seconds since the epoch, passed in; pruning starts at 03:00 local time.
    """

    def __init__(self, command: Sequence[str], now: float) -> None:
        self.keep: str | None = None
        self._command = tuple(command)
        self._due = next_night(now)
        self._running: _Prune | None = None

    @property
    def is_running(self) -> bool:
        """Whether a prune is under way."""
        return self._running is not None

    def turn(self, now: float) -> None:
        """Start a prune when it is due; log the result of one that has ended."""
        if self._running is not None:
            if self._running.process.poll() is not None:
                self._end(self._running)
        elif now >= self._due:
            is_night = now - self._due < _LATE_SECONDS
            self._due = next_night(now)
            if is_night and self.keep is not None:
                self._start(self.keep)

    def stop(self) -> None:
        """Interrupt a running prune: dispatches not yet archived stay, and the next night continues."""
        if self._running is None:
            return
        process = self._running.process
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._end(self._running)

    def _start(self, keep: str) -> None:
        document, messages = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        command = [*self._command, "prune", "--older-than", keep, "--json"]
        try:
            process = subprocess.Popen(  # noqa: S603  ourselves
                command, stdin=subprocess.DEVNULL, stdout=document, stderr=messages
            )
        except OSError as error:
            _warn(keep, [f"cannot start prune: {error.strerror}"])
            document.close()
            messages.close()
        else:
            self._running = _Prune(process, keep, document, messages)

    def _end(self, run: _Prune) -> None:
        self._running = None
        with run.document, run.messages:
            run.document.seek(0)
            run.messages.seek(0)
            said = run.messages.read().decode("utf-8", "replace").splitlines()
            if run.process.returncode != 0:
                _warn(run.keep, said or [f"prune ended with status {run.process.returncode}"])
                return
            with suppress(ValueError):
                _tell(json.load(run.document), run.keep)


def next_night(now: float) -> float:
    """The next 03:00 local time after `now`."""
    year, month, day, *_ = time.localtime(now)
    tonight = time.mktime((year, month, day, _HOUR, 0, 0, 0, 0, -1))
    return tonight if tonight > now else time.mktime((year, month, day + 1, _HOUR, 0, 0, 0, 0, -1))


def _tell(document: dict[str, Any], keep: str) -> None:
    if document["commits_count"]:
        log.info(
            "pruned %s of %.10s to %.10s, archived in %s (history.keep: %s)",
            counted(document["commits_count"], "commit"),
            document["first_utc"],
            document["last_utc"],
            document["archive"],
            keep,
        )


def _warn(keep: str, said: Sequence[str]) -> None:
    for line in said[:_LINES_AT_MOST]:
        log.warning("history.keep %s: %s", keep, line)
    if len(said) > _LINES_AT_MOST:
        text = "history.keep %s: and %s; run `agentic-watch prune` to see all"
        log.warning(text, keep, counted(len(said) - _LINES_AT_MOST, "more line"))
