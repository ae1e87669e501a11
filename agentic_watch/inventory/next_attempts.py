"""When is a failing workspace tried again? After its back-off; on a start; when the host is well again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.workspace_errors import Fault

log = logging.getLogger("agentic_watch.daemon")

BACKOFF_SECONDS = (1, 5, 15, 60, 300)
PROBE_SECONDS = 15.0
"""While a root's workspaces fail by the host's fault, one of them is tried so often; all of them at most so often."""
_NAMED_AT_MOST = 5


def backoff(fail_count: int) -> float:
    """Seconds to wait after the `fail_count`-th failure in a row: 1, 5, 15, 60, then 300, ± 10 %."""
    import random  # 5 ms to import, and rarely needed

    return BACKOFF_SECONDS[min(fail_count, len(BACKOFF_SECONDS)) - 1] * random.uniform(0.9, 1.1)  # noqa: S311


@dataclass(slots=True)
class _Root:
    """Who waits for the host, who was tried longest ago first; who is the probe; when all were released last."""

    waiting: dict[str, Candidate] = field(default_factory=dict)
    probe: str = ""
    released_at: float = float("-inf")


class HostFaults:
    """Workspaces that fail by the host's fault (a full disk), and need not wait until a back-off of minutes is over.

    Where one of a root is committed the host is well again, and all others of that root are released. That this is seen
    when nothing else finishes, a probe is sent: each in turn. Times are the monotonic clock's seconds, passed in.
    """

    def __init__(self) -> None:
        self._roots: dict[str, _Root] = {}

    def on_outcome(self, outcome: Outcome, now: float) -> Iterator[tuple[Candidate, float]]:
        """What became of a workspace; gives those that are to be tried by that, and when each is due."""
        candidate = outcome.candidate
        if outcome.fault is Fault.HOST:
            self.failed(candidate)
        else:
            self.ended(candidate)
        if outcome.verdict is Verdict.COMMITTED and not outcome.is_gone:
            yield from ((waiting, now) for waiting in self.released(candidate.root.key, now))
        yield from self.probes(now)

    def failed(self, candidate: Candidate) -> None:
        """It failed by the host's fault: it is the last to be a probe."""
        self.ended(candidate)
        self._roots.setdefault(candidate.root.key, _Root()).waiting[candidate.name] = candidate

    def ended(self, candidate: Candidate) -> None:
        """Something else became of it."""
        root = self._roots.get(candidate.root.key)
        if root is not None and root.waiting.pop(candidate.name, None) is not None and root.probe == candidate.name:
            root.probe = ""

    def released(self, key: str, now: float) -> list[Candidate]:
        """Those to be tried now, since another of their root was committed."""
        root = self._roots.get(key)
        if root is None or now - root.released_at < PROBE_SECONDS:
            return []
        root.released_at = now
        return list(root.waiting.values())

    def probes(self, now: float) -> Iterator[tuple[Candidate, float]]:
        """A probe for each root that has none under way, and when it is due."""
        for root in self._roots.values():
            if root.waiting and not root.probe:
                root.probe = next(iter(root.waiting))
                yield root.waiting[root.probe], now + PROBE_SECONDS


@dataclass(slots=True)
class _FreshRoot:
    """What failed before below one root: what is being tried now, and what has failed again (name → cause)."""

    is_scanned: bool = False
    trying: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


class FreshStart:
    """Which workspaces that failed before have their turn now, whatever their back-off says: a start and a reload may
    be the remedy. What still fails is one line."""

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = {key: _FreshRoot() for key in roots}

    def is_tried_now(self, candidate: Candidate) -> bool:
        """Whether a workspace that failed before is due at once: on the first look over its root."""
        root = self._roots.get(candidate.root.key)
        if root is None or root.is_scanned or candidate.name in root.failed:
            return False
        root.trying.add(candidate.name)
        return True

    def scanned(self, key: str) -> None:
        """A root was looked at from end to end."""
        if key in self._roots:
            self._roots[key].is_scanned = True
            self._sum_up(key)

    def tried(self, candidate: Candidate, cause: str) -> bool:
        """A workspace was tried; `cause` is "" when it did not fail. Whether that is told by the summary."""
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
                "%s: %d that failed before still fail: %s%s; agentic-watch status lists them",
                key,
                len(root.failed),
                "; ".join(named),
                more,
                extra={"root": key},
            )
