"""What is tried again: as often as its policy has pauses, and no oftener."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from agentic_watch.host.retry import every, retry, wait_until


def failing(times: int, error: Exception) -> Callable[[], int]:
    """An act that fails so often, and then says how often it was called."""
    calls = itertools.count(1)

    def act() -> int:
        if (call := next(calls)) <= times:
            raise error
        return call

    return act


def test_an_act_is_tried_again_after_each_pause() -> None:
    """It waits as long as the policy says, and no longer than until it succeeds."""
    slept: list[float] = []
    assert retry(failing(2, OSError()), lambda _: True, (0.1, 0.5, 2.0), slept.append) == 3
    assert slept == [0.1, 0.5]


def test_the_last_error_is_raised() -> None:
    """After the last pause it is tried once more, and what it raises then is what the caller is told."""
    slept: list[float] = []
    with pytest.raises(OSError, match="full"):
        retry(failing(3, OSError("full")), lambda _: True, (0.1, 0.5), slept.append)
    assert slept == [0.1, 0.5]


def test_another_error_is_raised_at_once() -> None:
    """What does not pass by itself is not tried again."""
    slept: list[float] = []
    with pytest.raises(ValueError, match="never"):
        retry(failing(1, ValueError("never")), lambda error: isinstance(error, OSError), (0.1,), slept.append)
    assert slept == []


def test_what_is_waited_for_is_asked_after_the_last_pause_too() -> None:
    """A policy without a pause asks once, and one with two asks three times."""
    asked = iter([False, False, True])
    assert wait_until(lambda: next(asked), (0.0, 0.0))
    assert not wait_until(lambda: False, ())


def test_pauses_end_with_their_time() -> None:
    """None comes when the time is over already."""
    assert list(every(0.01, 0)) == []
    assert next(every(0.01, 60)) == 0.01
