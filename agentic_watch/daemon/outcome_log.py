"""Log lines about workspaces: one per commit, a summary when there are many, one when a condition begins and one when
it ends.

Fields for machines (`--log-format json`, the journal): root, workspace, status, run, error, committed_at.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from agentic_watch import counted
from agentic_watch.commit.outcome import Outcome
from agentic_watch.workspace.candidate import Candidate, Key

log = logging.getLogger("agentic_watch.daemon")

_ALL_BURST, _ALL_PER_SECOND = 100, 2.0
"""Commits that get their own line, for the whole host."""
_ONE_BURST, _ONE_PER_SECOND = 12, 1 / 120
"""Lines about one workspace: an agent that writes a status every second must not fill the log."""
_WARNINGS_BURST, _WARNINGS_PER_SECOND = 100, 0.1
"""Warnings about all workspaces: one agent may create hundreds that fail."""
_SUMMARY_SECONDS = 5.0
_WARNINGS_SECONDS = 60.0
_QUIET_SECONDS = 1.0
_REMEMBERED = 4096


class RateLimiter:
    """A token bucket: `burst` at once, refilled by `per_second`."""

    __slots__ = ("_burst", "_left", "_per_second", "_since")

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = self._left = burst
        self._per_second = per_second
        self._since: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more is allowed."""
        if self._since is not None:
            self._left = min(self._burst, self._left + (now - self._since) * self._per_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class OutcomeLog:
    """Used from the loop's thread. With `many_roots`, lines name the root too. Times are passed in."""

    def __init__(self) -> None:
        self.many_roots = False
        self._all = RateLimiter(_ALL_BURST, _ALL_PER_SECOND)
        self._each: dict[Key, RateLimiter] = {}
        self._left_out: Counter[Key] = Counter()
        self._warnings = RateLimiter(_WARNINGS_BURST, _WARNINGS_PER_SECOND)
        self._unwarned, self._unwarned_since = 0, 0.0
        self._bulk: Counter[str] = Counter()
        self._bulk_since = self._bulk_last = 0.0
        self._warned: dict[Key, dict[str, int]] = {}

    def committed(self, outcome: Outcome, now: float) -> None:
        """Log a commit."""
        assert outcome.status is not None
        status, run = outcome.status.status, outcome.status.runs
        more = {"status": status, "run": run, "committed_at": outcome.committed_at}
        level = logging.INFO if self._all.take(now) else logging.DEBUG
        if level == logging.DEBUG:
            self._bulk_since = self._bulk_since if self._bulk else now
            self._bulk_last = now
            self._bulk[status] += 1
        text = f"committed ({status}, run {run})"
        if outcome.ended:
            text = f"committed as {status}: {outcome.status.question} (run {run})"
        self.say(level, outcome.candidate, text, now, **more)

    def failed(self, outcome: Outcome, wait: float, level: int, now: float) -> None:
        """A commit failed; the next attempt is in `wait` seconds."""
        text = f"{outcome.cause}; next attempt in {wait:.0f} s"
        self.say(level, outcome.candidate, text, now, error=outcome.cause)

    def warned(self, outcome: Outcome, now: float) -> None:
        """Log new warnings of a workspace, and the end of those that occurred more than once."""
        candidate = outcome.candidate
        key = candidate.key
        before = self._warned.pop(key, {})
        times = {text: before.get(text, 0) + 1 for text in outcome.warnings}
        for text in (text for text in times if text not in before):
            self.say(logging.WARNING, candidate, text, now, error=text)
        for text, count in before.items():
            if text not in times and count > 1:  # once only is an event, such as a torn line that was moved aside
                self.say(logging.INFO, candidate, f"resolved: {text}", now)
        if times:
            self._warned[key] = times
            _forget_oldest(self._warned)

    def say(self, level: int, candidate: Candidate, text: str, now: float, **more: Any) -> None:
        """Log a line about a workspace; over its rate limit, only count it."""
        key = candidate.key
        if level > logging.DEBUG and not self._may_say(key, now):
            self._left_out[key] += 1
            level = logging.DEBUG
        elif level >= logging.WARNING and not self._warnings.take(now):
            self._unwarned_since = self._unwarned_since if self._unwarned else now
            self._unwarned += 1
            level = logging.DEBUG
        name = f"{candidate.root.key}: {candidate.name}" if self.many_roots else candidate.name
        if level > logging.DEBUG and (count := self._left_out.pop(key, 0)):
            text += f" ({counted(count, 'earlier line')} suppressed)"
        log.log(level, "%s: %s", name, text, extra={"root": key[0], "workspace": key[1], **more})

    def turned(self, now: float) -> None:
        """Log a summary of commits without their own line, every few seconds or when they stop."""
        count = self._bulk.total()
        if count and (now - self._bulk_last >= _QUIET_SECONDS or now - self._bulk_since >= _SUMMARY_SECONDS):
            kinds = ", ".join(f"{number:,} {status}" for status, number in self._bulk.most_common(8))
            log.info("%s more committed (%s)", f"{count:,}", kinds)
            self._bulk.clear()
        if self._unwarned and now - self._unwarned_since >= _WARNINGS_SECONDS:
            warnings = counted(self._unwarned, "workspace warning")
            log.warning("%s suppressed; see agentic-watch status", warnings)
            self._unwarned = 0

    def forget(self, candidate: Candidate) -> None:
        """The workspace is gone."""
        self._warned.pop(candidate.key, None)

    def _may_say(self, key: Key, now: float) -> bool:
        allowance = self._each.pop(key, None) or RateLimiter(_ONE_BURST, _ONE_PER_SECOND)
        self._each[key] = allowance  # newest last
        if _forget_oldest(self._each):
            for gone in self._left_out.keys() - self._each.keys():
                del self._left_out[gone]
        return allowance.take(now)


def _forget_oldest(kept: dict[Key, Any]) -> bool:
    if len(kept) <= _REMEMBERED:
        return False
    del kept[next(iter(kept))]
    return True
