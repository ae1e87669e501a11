"""When a workspace is due: the daemon's queue, with time passed in."""

from __future__ import annotations

from agentic_watch.config import Root
from agentic_watch.daemon.pending import Lane, Pending
from agentic_watch.workspace.candidate import Candidate

ROOT = Root("/srv/work")
SETTLE = 2.0


def candidate(name: str, root: Root = ROOT, signature: bytes = b"") -> Candidate:
    return Candidate(root, name, signature)


def take(pending: Pending, now: float, at_most: int = 10) -> list[Candidate]:
    """As many as are due, one lane after the other."""
    taken: list[Candidate] = []
    for lane in Lane:
        while len(taken) < at_most and (one := pending.take(now, lane)) is not None:
            taken.append(one)
    return taken


def names(taken: list[Candidate]) -> list[str]:
    return [one.name for one in taken]


def test_a_change_is_due_after_the_settle_time() -> None:
    """Not a moment before."""
    pending = Pending(SETTLE)
    pending.touch(candidate("a"), 100.0)
    assert pending.next_due() == 102.0
    assert take(pending, 101.9) == []
    assert names(take(pending, 102.0)) == ["a"]


def test_each_further_change_begins_the_settle_time_anew() -> None:
    """A report that is written after the status is in the record."""
    pending = Pending(SETTLE)
    pending.touch(candidate("a"), 100.0)
    pending.touch(candidate("a"), 101.5)
    assert pending.next_due() == 103.5
    assert len(pending) == 1


def test_a_workspace_that_never_rests_is_due_after_five_settle_times() -> None:
    """An agent cannot put its commit off for ever."""
    pending = Pending(SETTLE)
    now = 100.0
    while pending.next_due() is None or (pending.next_due() or 0.0) > now:
        pending.touch(candidate("a"), now)
        now += 0.5
        assert now < 200.0
    assert pending.next_due() == 110.0


def test_the_five_settle_times_begin_anew_once_it_was_taken() -> None:
    """What was committed in between owes nothing."""
    pending = Pending(SETTLE)
    pending.touch(candidate("a"), 100.0)
    take(pending, 102.0)
    pending.touch(candidate("a"), 109.0)
    assert pending.next_due() == 111.0


def test_without_a_settle_time_a_change_is_due_at_once() -> None:
    """Zero seconds of quiet are none."""
    pending = Pending(0.0)
    pending.touch(candidate("a"), 100.0)
    assert names(take(pending, 100.0)) == ["a"]


def test_a_change_brings_a_retry_forward() -> None:
    """A failing workspace that was mended need not wait for its next attempt."""
    pending = Pending(SETTLE)
    pending.add(candidate("a"), 400.0)
    pending.touch(candidate("a"), 100.0)
    assert pending.next_due() == 102.0


def test_a_set_time_never_puts_off_what_is_due_earlier() -> None:
    """The scan and the retry wait for one another's sooner time."""
    pending = Pending(SETTLE)
    pending.add(candidate("a"), 105.0)
    pending.add(candidate("a"), 300.0)
    assert pending.next_due() == 105.0
    pending.add(candidate("a"), 101.0)
    assert pending.next_due() == 101.0
    assert len(pending) == 1


def test_the_longest_waiting_are_taken_first_and_no_more_than_asked_for() -> None:
    """A flood is worked off in groups, in the order of time."""
    pending = Pending(SETTLE)
    for number in (3, 1, 2):
        pending.add(candidate(f"task-{number}"), 100.0 + number)
    assert names(take(pending, 200.0, 2)) == ["task-1", "task-2"]
    assert names(take(pending, 200.0, 2)) == ["task-3"]
    assert pending.next_due() is None
    assert len(pending) == 0


def test_one_that_is_not_due_holds_up_no_other() -> None:
    """Only time decides."""
    pending = Pending(SETTLE)
    pending.add(candidate("later"), 500.0)
    pending.add(candidate("now"), 100.0)
    assert names(take(pending, 100.0)) == ["now"]
    assert pending.next_due() == 500.0


def test_workspaces_of_one_name_in_two_roots_are_two() -> None:
    """The root is part of what a workspace is."""
    other = Root("/srv/other")
    pending = Pending(SETTLE)
    pending.add(candidate("a"), 100.0)
    pending.add(candidate("a", other), 100.0)
    assert [one.root for one in take(pending, 100.0)] == [ROOT, other]


def test_a_reload_keeps_what_belongs_to_roots_that_stay_as_they_were() -> None:
    """A root that went, or that is read in another way now, takes its waiting workspaces with it."""
    gone, changed = Root("/srv/gone"), Root("/srv/changed", layout="root")
    pending = Pending(SETTLE)
    for root in (ROOT, gone, changed):
        pending.add(candidate("a", root), 100.0)
    pending.keep_roots([ROOT, Root("/srv/changed", layout="meta")])
    assert [one.root for one in take(pending, 100.0)] == [ROOT]
    assert pending.next_due() is None


def test_a_workspace_that_changes_all_day_does_not_make_the_queue_grow() -> None:
    """Outdated entries are cleared away."""
    pending = Pending(SETTLE)
    for number in range(10_000):
        pending.touch(candidate("a"), 100.0 + number / 10_000)
    assert len(pending) == 1
    assert sum(map(len, pending._heaps.values())) < 200
    assert names(take(pending, 200.0)) == ["a"]
    assert take(pending, 1000.0) == []


def test_the_newest_sight_of_a_workspace_is_the_one_taken() -> None:
    """A touch replaces what an earlier scan saw."""
    pending = Pending(SETTLE)
    pending.add(candidate("a", signature=b"old"), 100.0)
    pending.touch(candidate("a", signature=b"new"), 99.0)
    assert [one.signature for one in take(pending, 200.0)] == [b"new"]


def test_what_an_event_told_of_goes_before_what_was_found_by_looking() -> None:
    """However long the others have been waiting; among themselves the longest waiting is first."""
    pending = Pending(0.0)
    for number in range(100):
        pending.touch(candidate(f"found-{number:02}"), 100.0 + number)
    pending.touch(candidate("event-2"), 300.0, lane=Lane.EVENT)
    pending.touch(candidate("event-1"), 200.0, lane=Lane.EVENT)
    pending.touch(candidate("busy"), 100.0, lane=Lane.BUSY)
    pending.touch(candidate("found-50"), 400.0, lane=Lane.EVENT)
    assert pending.next_due() == 100.0
    assert not pending.is_due(199.0, Lane.EVENT)
    assert pending.is_due(200.0, Lane.EVENT)
    assert pending.take(199.0, Lane.EVENT) is None
    taken = take(pending, 500.0, 6)
    assert names(taken) == ["event-1", "event-2", "found-50", "busy", "found-00", "found-01"]
    assert len(pending) == 97
    assert names(take(pending, 500.0, 200))[-1] == "found-99"


def test_what_an_event_told_of_keeps_its_place_until_it_is_taken() -> None:
    """A look that comes after the event does not put it back."""
    pending = Pending(0.0)
    pending.touch(candidate("a"), 100.0, lane=Lane.EVENT)
    pending.touch(candidate("a"), 101.0)
    pending.add(candidate("a"), 50.0)
    assert pending.take(101.0, Lane.EVENT) == candidate("a")
    assert pending.next_due() is None


def test_who_has_had_its_share_waits_for_another_one() -> None:
    """Whatever it does meanwhile; and goes after those that had less."""
    pending = Pending(SETTLE)
    pending.touch(candidate("a"), 100.0, lane=Lane.EVENT)
    pending.touch(candidate("a"), 100.5, lane=Lane.BUSY, wait=9.0)
    pending.touch(candidate("b"), 107.0, lane=Lane.EVENT)
    assert pending.next_due() == 109.0
    assert pending.next_due(busy_from=109.5) == 109.0
    assert Pending(SETTLE).next_due(busy_from=109.5) is None
    assert names(take(pending, 110.0)) == ["b", "a"]


def test_what_was_due_then_can_be_asked_about_later() -> None:
    """Until it is taken, however often it is touched meanwhile; what comes later under its name is another matter."""
    pending = Pending(0.0)
    pending.touch(candidate("a"), 100.0)
    pending.add(candidate("later"), 200.0)
    ((key, number),) = pending.due_numbers(100.0)
    pending.touch(candidate("a"), 100.5)
    assert pending.holds(key, number)
    take(pending, 101.0)
    pending.touch(candidate("a"), 102.0)
    assert not pending.holds(key, number)
