"""Records signals and crashed threads for the main loop: handlers only set a flag and wake it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Signals:
    """Signals since `install`: stop (SIGTERM, SIGINT) and reload (SIGHUP).

    `crash` is the exception that ended a thread. `wake` must be reentrant: it is called from handlers.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._previous: dict[int, Any] = {}
        self.stopping = False
        self.reloading = False
        self.crash: BaseException | None = None

    def install(self) -> None:
        """Install the handlers. Call it from the main thread."""
        threading.excepthook = self._crashed
        wanted = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload}
        self._previous = {number: signal.signal(number, handler) for number, handler in wanted.items()}

    def restore(self) -> None:
        """Restore the previous handlers."""
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
