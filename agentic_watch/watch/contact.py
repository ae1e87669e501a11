"""Does a file system answer? Who asks one that hangs does not come back, so others look at how long it has asked."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

FRESH_SECONDS = 1.0
"""Nobody else asks while a question has waited for longer."""
HANGING_SECONDS = 5.0
"""Who has not answered for longer is named."""
ASK_SECONDS = 2.0
ASK_OFTEN_SECONDS = 0.25
NEWEST_SECONDS = 0.1
"""What lies on a network or in another process may hang at any moment: it is asked so often, and others touch it only
so shortly after an answer."""


class Contact:
    """Since when one thread has waited for an answer. Set by that thread, read by any."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._answered_at = time.monotonic()
        self._has_hung = False

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """While the body runs the file system is asked."""
        self.go_on()
        try:
            yield
        finally:
            self.go_on()
            self._asked_at = None

    def go_on(self) -> None:
        """It has answered, and is asked the next question."""
        self._has_hung |= self.unanswered() >= HANGING_SECONDS
        self._asked_at = self._answered_at = time.monotonic()

    def take_has_hung(self) -> bool:
        """Whether an answer came very late since this was last asked."""
        had, self._has_hung = self._has_hung, False
        return had

    def since_answer(self) -> float:
        """How many seconds ago the last answer came."""
        return time.monotonic() - self._answered_at

    def unanswered(self) -> float:
        """For how many seconds a question has waited."""
        asked_at = self._asked_at
        return time.monotonic() - asked_at if asked_at is not None else 0.0


class MountContact(threading.Thread):
    """Asks one mount whether it answers, every few seconds. Nobody waits for this thread, which may hang for ever."""

    def __init__(self, path: str) -> None:
        super().__init__(name=f"ask {path}", daemon=True)
        self._path = path
        self._contact = Contact()
        self._stopping = threading.Event()
        self._answered = threading.Event()

    def run(self) -> None:
        """Ask until stopped."""
        while not self._stopping.is_set():
            with self._contact.asking(), contextlib.suppress(OSError):
                os.close(os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            self._answered.set()
            self._stopping.wait(ASK_OFTEN_SECONDS)

    def unanswered(self) -> float:
        """For how many seconds a question has waited."""
        return self._contact.unanswered()

    def has_answered(self, seconds: float = 0.0) -> bool:
        """Whether it has answered at all, within so many seconds from now."""
        return self._answered.wait(seconds)

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
