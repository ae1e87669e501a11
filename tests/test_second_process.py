"""Half of some reading done by a second process: the same answer as without it, whatever becomes of it."""

import os
import signal
import threading
from collections.abc import Callable, Sequence

import pytest

from agentic_watch.host import second_process
from agentic_watch.host.second_process import WORTH_IT, in_two_processes

NUMBERS = list(range(2 * WORTH_IT))
SQUARES = [n * n for n in NUMBERS]


def square(numbers: Sequence[int]) -> list[int]:
    return [n * n for n in numbers]


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with two processors and a process with one thread, whatever this one has."""
    monkeypatch.setattr(second_process, "processors", lambda: 2)
    monkeypatch.setattr(threading, "active_count", lambda: 1)


def test_the_second_half_comes_from_another_process_in_order() -> None:
    """Two processes give one list, as one of them would."""
    assert in_two_processes(square, NUMBERS) == SQUARES
    pids = in_two_processes(lambda numbers: [os.getpid()] * len(numbers), NUMBERS)
    assert set(pids[:WORTH_IT]) == {os.getpid()} != set(pids[WORTH_IT:])


@pytest.mark.parametrize(
    "fault",
    [lambda: os._exit(1), lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0],
    ids=["ends", "is killed", "fails"],
)
def test_what_a_second_process_does_not_answer_is_done_here(fault: Callable[[], None]) -> None:
    """One that ends, is killed or fails has its half done by the first one."""
    first = os.getpid()

    def step(numbers: Sequence[int]) -> list[int]:
        if os.getpid() != first:
            fault()
        return square(numbers)

    assert in_two_processes(step, NUMBERS) == SQUARES


def test_few_items_are_not_worth_a_process() -> None:
    """A short list is done here."""
    assert in_two_processes(lambda numbers: [os.getpid()] * len(numbers), [1, 2]) == [os.getpid()] * 2
