"""What waits for the loop: one hint a workspace, however many events there were."""

from __future__ import annotations

from agentic_watch.config import Root
from agentic_watch.watch.change_queues import Hint, HintQueue
from agentic_watch.workspace.candidate import Candidate

ROOT, OTHER = Root("/srv/work"), Root("/srv/other")


def hint(name: str, root: Root = ROOT, *, from_event: bool = False, throttled: bool = False) -> Hint:
    return Hint(root, Candidate(root, name), from_event=from_event, throttled=throttled)


def test_one_hint_waits_for_each_workspace() -> None:
    """In the order in which they came first; a workspace of another root is another one."""
    hints = HintQueue()
    for _ in range(1_000):
        for one in (hint("a", from_event=True), hint("b"), hint("a", OTHER)):
            hints.put(one)
    assert hints.take(0.0) == [hint("a", from_event=True), hint("b"), hint("a", OTHER)]
    assert hints.is_empty
    assert hints.take(0.0) == []


def test_what_an_event_told_stays_so_beside_a_look() -> None:
    """Whichever comes first."""
    for both in ([True, False], [False, True]):
        hints = HintQueue()
        for from_event in both:
            hints.put(hint("a", from_event=from_event))
        assert hints.take(0.0) == [hint("a", from_event=True)]


def test_that_it_was_throttled_takes_no_look_away() -> None:
    """A look that waits is still one; what was only throttled is none."""
    for both in ([True, False], [False, True]):
        hints = HintQueue()
        for throttled in both:
            hints.put(hint("a", throttled=throttled))
        assert hints.take(0.0) == [hint("a", from_event=True, throttled=True)]
    hints.put(hint("a", throttled=True))
    hints.put(hint("a", throttled=True))
    assert hints.take(0.0) == [hint("a", throttled=True)]


def test_roots_come_first_and_each_of_their_hints_is_kept() -> None:
    """A root that went and came is both."""
    hints = HintQueue()
    hints.put(hint("a"))
    for reason in ("lost", "inotify"):
        hints.put(Hint(ROOT, None, reason))
    assert [one.reason for one in hints.take(0.0)] == ["lost", "inotify", ""]


def test_from_an_event_on_the_loop_is_not_idle() -> None:
    """The next events are read together, until it says that it has done what there was to do; a look is no event."""
    hints = HintQueue()
    hints.put(hint("a"))
    assert hints.is_idle.is_set()
    hints.put(hint("b", from_event=True))
    assert not hints.is_idle.is_set()


def test_a_bell_ends_the_waiting() -> None:
    """As a signal handler rings it; then there is nothing, and that is an answer."""
    hints = HintQueue()
    hints.wake()
    assert hints.take(60.0) == []
