"""What can be wrong with a target, and what that means for the next attempt."""

from __future__ import annotations


class Unavailable(Exception):
    """The target cannot be reached or will not answer now: tried again later.

    `retry_after` is how many seconds it asked for, None when it said nothing.
    """

    def __init__(self, cause: str, retry_after: float | None = None) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


class TimedOut(Unavailable):
    """The target did not end what it was given in time: given less at once, it may."""


class Unusable(Exception):
    """The target refuses us until an operator changes something; the text says what."""


class Poisonous(Exception):
    """The target will never take one of these commits, for what is in it; the others wait for nobody."""


def one_line(error: object) -> str:
    """What somebody said, as one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 500 else f"{text[:499]}…"
