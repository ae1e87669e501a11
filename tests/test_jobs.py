"""Work shared out to processes: what each says arrives, and one that ends without a word is named."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agentic_watch.host import jobs
from agentic_watch.host.jobs import WORTH_IT, Jobs, Tell, parallel_map

NUMBERS = list(range(2 * WORTH_IT))
SQUARES = [n * n for n in NUMBERS]


def square(numbers: Sequence[int]) -> list[int]:
    return [n * n for n in numbers]


@pytest.fixture(autouse=True)
def three_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with three processors and a process with one thread, whatever this one has."""
    monkeypatch.setattr(jobs, "processors", lambda: 3)
    monkeypatch.setattr(threading, "active_count", lambda: 1)


def test_what_jobs_tell_and_what_comes_of_them_arrives() -> None:
    """In order from each job, however large; each job is a process of its own."""
    heard: list[tuple[int, object]] = []

    def work(number: int, tell: Tell) -> int:
        tell("x" * (3 << 20))
        tell(number)
        return os.getpid()

    running = Jobs(work, lambda number, said: heard.append((number, said)))
    running.run(range(3))
    assert len({os.getpid(), *running.results.values()}) == 4
    for number in range(3):
        assert [said for told, said in heard if told == number] == ["x" * (3 << 20), number]
    assert running.died == {}


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        (lambda: os._exit(7), "ended with exit status 7"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by signal 9"),
        (lambda: 1 / 0, "ended with exit status 1"),
    ],
    ids=["ends", "is killed", "fails"],
)
def test_a_job_that_gives_no_result_is_named(
    fault: Callable[[], None], how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """How it ended is told, the others' results are there, nothing is left running or open."""

    def work(number: int, tell: Tell) -> int:
        tell("began")
        if number == 1:
            fault()
        return number

    before, children = os.listdir("/proc/self/fd"), _children()
    running = Jobs(work)
    running.run(range(3))
    assert (running.results, running.died) == ({0: 0, 2: 2}, {1: how})
    assert (os.listdir("/proc/self/fd"), _children()) == (before, children)
    assert ("ZeroDivisionError" in capfd.readouterr().err) == (how == "ended with exit status 1")


def _children() -> set[str]:
    """All of this process's, dead ones that nobody waited for too (proc(5)); other tests may have left some."""
    return {pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


def test_a_host_without_a_process_to_spare_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """fork(2) may fail when there are too many."""

    def no_process() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_process)
    running = Jobs(lambda number, _: number)
    running.run([0])
    assert (running.not_started, running.died, running.results) == ([0], {}, {})
    assert parallel_map(square, NUMBERS) == SQUARES


def test_stop_ends_jobs_and_interrupts_reach_only_the_first_process() -> None:
    """SIGINT is for who waits; SIGTERM is how he tells the others."""
    heard: list[int] = []

    def work(number: int, tell: Tell) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        tell(number)
        signal.pause()

    def hear(number: int, _: object) -> None:
        heard.append(number)
        if len(heard) == 2:
            running.stop()

    running = Jobs(work, hear)
    running.run(range(2))
    assert sorted(heard) == [0, 1]
    assert set(running.died.values()) == {"was killed by signal 15"}


def test_shared_out_work_comes_back_in_order() -> None:
    """Several processes give one list, as one of them would."""
    assert parallel_map(square, NUMBERS) == SQUARES
    pids = parallel_map(lambda numbers: [os.getpid()] * len(numbers), NUMBERS)
    assert len(set(pids)) == 3
    assert os.getpid() not in pids


def test_what_a_job_does_not_answer_is_done_here() -> None:
    """One that is killed has its part done by who waits."""
    first = os.getpid()

    def step(numbers: Sequence[int]) -> list[int]:
        if os.getpid() != first and numbers[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return square(numbers)

    assert parallel_map(step, NUMBERS) == SQUARES


def test_few_items_are_not_worth_a_process() -> None:
    """A short list is done here."""
    assert parallel_map(lambda numbers: [os.getpid()] * len(numbers), [1, 2]) == [os.getpid()] * 2
