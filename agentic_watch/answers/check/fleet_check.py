"""Checks that each target has what was sent to it, by the count and the XOR of commit_ids per day on both sides."""

from __future__ import annotations

from collections.abc import Iterator

from agentic_watch import counted
from agentic_watch.answers.check.check_result import CheckResult, Subject
from agentic_watch.config import Target
from agentic_watch.fleet import one_push, target_comparison
from agentic_watch.fleet.host_identity import NoHostId
from agentic_watch.fleet.one_push import PushContext
from agentic_watch.fleet.push_state import StateError
from agentic_watch.fleet.target_comparison import Comparison
from agentic_watch.fleet.target_interface import Poisonous, Unavailable, Unusable
from agentic_watch.history import HistoryError

NAME = "fleet"

_REPAIR = "agentic-watch check --fleet --repair"
_FAILURES = (Unavailable, Unusable, Poisonous, HistoryError, StateError, NoHostId)


def fleet(subject: Subject) -> Iterator[CheckResult]:
    """One result per target that has everything, else one for each day that differs."""
    if not subject.config.push:
        yield CheckResult(NAME, None, "there is no [[push]] target")
    for target in subject.config.push:
        try:
            with one_push.opened(subject.config.history, only_look=True) as opened:
                yield from _target(target, opened)
        except _FAILURES as error:
            yield CheckResult(
                NAME, False, f"{target.name}: {error}", "fix what it names; it needs SELECT on dispatches"
            )


def mend(subject: Subject) -> list[CheckResult]:
    """Send missing commits again; returns results for those that failed."""
    failed = []
    for target in subject.config.push:
        if target.kind != "postgres":
            continue
        try:
            with one_push.opened(subject.config.history, only_look=True) as opened:
                target_comparison.send_again(target, opened, target_comparison.compare(target, opened).differences)
        except _FAILURES as error:
            failed.append(CheckResult(NAME, False, f"{target.name}: {error}"))
    return failed


def _target(target: Target, opened: PushContext) -> Iterator[CheckResult]:
    if target.kind != "postgres":
        yield CheckResult(NAME, None, f"{target.name}: is of kind {target.kind}, which cannot be queried")
    elif not opened.sender.host_id:
        yield CheckResult(NAME, None, f"{target.name}: nothing was pushed from this host yet")
    else:
        yield from _told(target.name, target_comparison.compare(target, opened), opened.sender.host_id)


def _told(name: str, found: Comparison, host_id: str) -> Iterator[CheckResult]:
    for day in found.differences:
        if day.missing:
            text = f"{name}: {day.day}: {day.here} sent, {day.there} there, {len(day.missing)} missing"
            yield CheckResult(NAME, False, text, _REPAIR)
    for root, count in sorted(found.strange_roots.items()):
        commits = f"{counted(count, 'commit')} there {'is' if count == 1 else 'are'}"
        text = f"{name}: {commits} under the root {root}, which this history does not have"
        step = f"if so, and nothing is missing: {_removal(host_id, root)}"
        yield CheckResult(NAME, None, f"{text}: after a rename-root they count twice", step)
    surplus = [day for day in found.differences if day.surplus]
    count = sum(day.surplus for day in surplus) - sum(found.strange_roots.values())
    if count:
        days = counted(len(surplus), "day")
        text = f"{name}: {count} more there, on {days} from {surplus[0].day} on: pruned here, or from another history"
        yield CheckResult(NAME, None, text)
    if not any(day.missing for day in found.differences):
        yield CheckResult(NAME, True, f"{name}: has all {found.commits} commits that were sent")


def _removal(host_id: str, root: str) -> str:
    """SQL that deletes a root's commits from a fleet."""
    quoted = root.replace("'", "''")
    which = f"host_id = '{host_id}' AND root = '{quoted}'"
    findings = f"host_id = '{host_id}' AND commit_id IN (SELECT commit_id FROM dispatches WHERE {which})"
    return f"DELETE FROM findings WHERE {findings}; DELETE FROM dispatches WHERE {which}"
