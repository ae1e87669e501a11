"""A start and a reload try everything now, since the remedy may be their reason. What still fails is one line."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from agentic_watch.workspace.candidate import Candidate

log = logging.getLogger("agentic_watch.daemon")
_NAMED = 5


@dataclass(slots=True)
class _Root:
    """What failed before below one root: what is being tried now, and what has failed again (name → cause)."""

    swept: bool = False
    trying: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


class FreshStart:
    """Which workspaces that failed before have their turn now, whatever their back-off says."""

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = {key: _Root() for key in roots}

    def is_tried_now(self, candidate: Candidate) -> bool:
        """Whether a workspace that failed before is due at once: on the first look over its root."""
        root = self._roots.get(candidate.root.key)
        if root is None or root.swept or candidate.name in root.failed:
            return False
        root.trying.add(candidate.name)
        return True

    def swept(self, key: str) -> None:
        """A root was looked at from end to end."""
        if key in self._roots:
            self._roots[key].swept = True
            self._sum_up(key)

    def took(self, candidate: Candidate, cause: str) -> bool:
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
        if not root.swept or root.trying:
            return
        del self._roots[key]
        if root.failed:
            named = [f"{name} ({cause})" for name, cause in list(root.failed.items())[:_NAMED]]
            more = f", and {len(root.failed) - _NAMED} more" if len(root.failed) > _NAMED else ""
            log.warning(
                "%s: %d that failed before still fail: %s%s; agentic-watch status lists them",
                key,
                len(root.failed),
                "; ".join(named),
                more,
                extra={"root": key},
            )
