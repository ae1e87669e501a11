"""Signals and dying threads, taken down for the loop to act on: handlers only set a flag and wake it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Signals:
    """What was asked of the process since `install`: to stop (SIGTERM, SIGINT), to reload (SIGHUP).

    `crash` is the exception that ended a thread. `wake` must be reentrant: it is called from handlers.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._previous: dict[int, Any] = {}
        self.stopping = False
        self.reloading = False
        self.crash: BaseException | None = None

    def install(self) -> None:
        """Handle the signals from now on. Only the main thread may."""
        threading.excepthook = self._crashed
        wanted = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload}
        self._previous = {number: signal.signal(number, handler) for number, handler in wanted.items()}

    def restore(self) -> None:
        """Leave the signals to whom they belonged before."""
        threading.excepthook = threading.__excepthook__
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True
        self._wake()

    def _reload(self, _signal: int, _frame: FrameType | None) -> None:
        self.reloading = True
        self._wake()

    def _crashed(self, args: threading.ExceptHookArgs) -> None:
        self.crash = args.exc_value or RuntimeError("a thread ended")
        self._wake()
