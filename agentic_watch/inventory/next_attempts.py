"""Schedules failing workspaces: after a back-off, at a start, and when a fault of the host is over."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agentic_watch import counted
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.workspace_errors import Fault

log = logging.getLogger("agentic_watch.daemon")

BACKOFF_SECONDS = (1, 5, 15, 60, 300)
PROBE_SECONDS = 15.0
"""While a fault of the host lasts, one workspace per root is retried at this interval, and all of a root at most so
often."""
_NAMED_AT_MOST = 5


def backoff(fail_count: int) -> float:
    """Seconds to wait after `fail_count` consecutive failures: 1, 5, 15, 60, then 300, ± 10 %."""
    import random  # late: rarely needed, and takes 5 ms

    return BACKOFF_SECONDS[min(fail_count, len(BACKOFF_SECONDS)) - 1] * random.uniform(0.9, 1.1)  # noqa: S311


@dataclass(slots=True)
class _Root:
    """Workspaces of a root that wait for the host, least recently tried first; the current probe; the last release of
    all."""

    waiting: dict[str, Candidate] = field(default_factory=dict)
    probe: str = ""
    released_at: float = float("-inf")


class HostFaults:
    """Workspaces that fail because of the host (a full disk) and are retried as soon as the fault is over.

    A commit in a root shows that the fault is over, and all waiting workspaces of that root are released. One of them
    at a time, in turn, is retried as a probe, so that this works even if nothing else finishes. Times are seconds of
    the monotonic clock, passed in.
    """

    def __init__(self) -> None:
        self._roots: dict[str, _Root] = {}

    def on_outcome(self, outcome: Outcome, now: float) -> Iterator[tuple[Candidate, float]]:
        """Handle an outcome; yields workspaces to retry because of it, with the time each is due."""
        candidate = outcome.candidate
        if outcome.fault is Fault.HOST:
            self.failed(candidate)
        else:
            self.ended(candidate)
        if outcome.verdict is Verdict.COMMITTED and not outcome.is_gone:
            yield from ((waiting, now) for waiting in self.released(candidate.root.key, now))
        yield from self.probes(now)

    def failed(self, candidate: Candidate) -> None:
        """A workspace failed because of the host: it is last in the order of probes."""
        self.ended(candidate)
        self._roots.setdefault(candidate.root.key, _Root()).waiting[candidate.name] = candidate

    def ended(self, candidate: Candidate) -> None:
        """A workspace had another outcome, so it waits no longer."""
        root = self._roots.get(candidate.root.key)
        if root is not None and root.waiting.pop(candidate.name, None) is not None and root.probe == candidate.name:
            root.probe = ""

    def released(self, key: str, now: float) -> list[Candidate]:
        """Workspaces to retry now because another one of their root was committed."""
        root = self._roots.get(key)
        if root is None or now - root.released_at < PROBE_SECONDS:
            return []
        root.released_at = now
        return list(root.waiting.values())

    def probes(self, now: float) -> Iterator[tuple[Candidate, float]]:
        """A probe for each root without a current one, with the time it is due."""
        for root in self._roots.values():
            if root.waiting and not root.probe:
                root.probe = next(iter(root.waiting))
                yield root.waiting[root.probe], now + PROBE_SECONDS


@dataclass(slots=True)
class _FreshRoot:
    """Workspaces of one root that failed before: those being retried, and those that failed again (name → cause)."""

    is_scanned: bool = False
    trying: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


class FreshStart:
    """After a start or reload, which may have fixed the cause, failing workspaces are retried regardless of their
    back-off. Those that still fail are summarised in one log line."""

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = {key: _FreshRoot() for key in roots}

    def is_tried_now(self, candidate: Candidate) -> bool:
        """Whether a failing workspace is due at once: during the first scan of its root."""
        root = self._roots.get(candidate.root.key)
        if root is None or root.is_scanned or candidate.name in root.failed:
            return False
        root.trying.add(candidate.name)
        return True

    def scanned(self, key: str) -> None:
        """The scan of a root is complete."""
        if key in self._roots:
            self._roots[key].is_scanned = True
            self._sum_up(key)

    def tried(self, candidate: Candidate, cause: str) -> bool:
        """A workspace was tried; `cause` is "" when it did not fail. Returns whether the summary reports it."""
        root = self._roots.get(candidate.root.key)
        if root is None or candidate.name not in root.trying:
            return False
        root.trying.discard(candidate.name)
        if cause:
            root.failed[candidate.name] = cause
        self._sum_up(candidate.root.key)
        return bool(cause)

    def _sum_up(self, key: str) -> None:
        root = self._roots[key]
        if not root.is_scanned or root.trying:
            return
        del self._roots[key]
        if root.failed:
            named = [f"{name} ({cause})" for name, cause in list(root.failed.items())[:_NAMED_AT_MOST]]
            more = f", and {len(root.failed) - _NAMED_AT_MOST} more" if len(root.failed) > _NAMED_AT_MOST else ""
            log.warning(
                "%s: %s that failed before still fail%s: %s%s; agentic-watch status lists them",
                key,
                counted(len(root.failed), "workspace"),
                "s" * (len(root.failed) == 1),
                "; ".join(named),
                more,
                extra={"root": key},
            )
