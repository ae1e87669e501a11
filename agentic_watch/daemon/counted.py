"""What the daemon counts about its own work, since its start: plain numbers, fit for the state file and for metrics."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agentic_watch.commit import Outcome, Verdict
from agentic_watch.config import KNOWN_STATUSES
from agentic_watch.daemon.failure_causes import cause_class
from agentic_watch.history import run_usage

LATENCY_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the commit latency's buckets, in seconds; what took longer counts in the sum and the number only."""

MOST_OF_ONE = 10**12
"""Tokens of a kind, and millionths of a dollar, that one run counts for at most: an agent writes these numbers."""

_MTIME = struct.Struct("<8xq")
"""Where the mtime in nanoseconds stands in a signature (workspace/signatures.py)."""
_SIGNATURE_BYTES = 32


@dataclass(slots=True)
class Counted:
    """Counted since the start, but for times of day, which are seconds since the epoch (0 is never).

    `commits` is by status (a status that only this configuration knows counts as "other"), `failures` by class of
    cause; no key is one that an agent can choose. `ended_runs` are the commits of ends that nobody wrote. `latency`
    holds how many commits took at most each of LATENCY_BOUNDS seconds from the change of the status file to the end of
    the commit. `used` are tokens by their column, and the cost (run_usage.ADDED), as the agents' programs said.
    """

    commits: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    latency: list[int] = field(default_factory=lambda: [0] * len(LATENCY_BOUNDS))
    latency_count: int = 0
    latency_sum: float = 0.0
    history_errors: int = 0
    ended_runs: int = 0
    used: dict[str, int] = field(default_factory=lambda: dict.fromkeys(run_usage.ADDED, 0))
    last_commit: float = 0.0
    last_scan: float = 0.0
    last_scan_seconds: float = 0.0

    def outcome(self, outcome: Outcome, now: float) -> None:
        """Count what became of a workspace; `now` is in seconds since the epoch."""
        if outcome.history_error:
            self.history_errors += 1
        if outcome.verdict is Verdict.FAILED:
            kind = cause_class(outcome.cause)
            self.failures[kind] = self.failures.get(kind, 0) + 1
        elif outcome.verdict is Verdict.COMMITTED and outcome.status is not None:
            name = outcome.status.status if outcome.status.status in KNOWN_STATUSES else "other"
            self.commits[name] = self.commits.get(name, 0) + 1
            self.ended_runs += outcome.ended
            self.last_commit = now
            if (changed := _changed_at(outcome.signature)) is not None:
                self._took(max(0.0, now - changed))

    def add_used(self, added: Mapping[str, int]) -> None:
        """Count what a commit adds to what was used."""
        for name, count in added.items():
            self.used[name] += count

    def copy(self) -> Counted:
        """The numbers as they are now, for whoever reads them later."""
        return replace(
            self,
            commits=dict(self.commits),
            failures=dict(self.failures),
            used=dict(self.used),
            latency=list(self.latency),
        )

    def _took(self, seconds: float) -> None:
        self.latency_count += 1
        self.latency_sum += seconds
        for number, bound in enumerate(LATENCY_BOUNDS):
            self.latency[number] += seconds <= bound

    def scanned(self, seconds: float, now: float) -> None:
        """A root was looked at from end to end in so many seconds."""
        self.last_scan, self.last_scan_seconds = now, seconds


def _changed_at(signature: bytes) -> float | None:
    """When the status file was changed, in seconds since the epoch: the newer mtime of the two that may be one."""
    if len(signature) < 2 * _SIGNATURE_BYTES:
        return None
    newest: int = max(_MTIME.unpack_from(signature, start)[0] for start in (0, _SIGNATURE_BYTES))
    return newest / 1e9


def from_document(document: Mapping[str, Any]) -> Counted:
    """What `dataclasses.asdict` gave gave them; what is missing is zero, and what is not known here is left out."""
    known = {name: document[name] for name in Counted.__dataclass_fields__ if name in document}
    return Counted(**known)
