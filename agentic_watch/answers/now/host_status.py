"""The status of this host: daemon, counts of workspaces, and workspaces that need attention."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agentic_watch.answers import answer_shape
from agentic_watch.answers.now.workspaces_now import WorkspaceSnapshot, workspaces_now
from agentic_watch.config import KNOWN_STATUSES, Config
from agentic_watch.daemon.daemon_presence import file_of
from agentic_watch.daemon.daemon_state import DaemonState, Liveness, pulse
from agentic_watch.history import HistoryError
from agentic_watch.history.store import History
from agentic_watch.workspace import instant

UNREADABLE = "unreadable"
"""Counts workspaces without a readable status."""

_FOR_PROGRAMS = ("beat", "counted")
"""Internal fields of the daemon's state: a monotonic clock, and counters that `metrics` exports."""

_RUNS = {Liveness.RUNNING: True, Liveness.STALE: True, Liveness.STOPPED: False, Liveness.UNKNOWN: None}


@dataclass(frozen=True, slots=True)
class Lists:
    """Workspaces that need attention, by reason, oldest first; one can be in several lists.

    `backlog` is None when the history is not available.
    """

    running: tuple[WorkspaceSnapshot, ...]
    backlog: tuple[WorkspaceSnapshot, ...] | None
    failing: tuple[WorkspaceSnapshot, ...]
    ghosts: tuple[WorkspaceSnapshot, ...]


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A host at the time `at` (seconds since the epoch).

    `missing` maps the key of each unreadable root to the cause; `failures` are one line each.
    """

    config: Config
    at: float
    pulse: Liveness
    daemon: DaemonState | None
    standings: tuple[WorkspaceSnapshot, ...]
    lists: Lists
    missing: dict[str, str]
    failures: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of workspaces by status, most frequent first."""
        return _ranked(standing.status or UNREADABLE for standing in self.standings)

    @property
    def unknown(self) -> dict[str, list[WorkspaceSnapshot]]:
        """Workspaces by status for statuses that are neither finished nor known, and so never committed."""
        found: dict[str, list[WorkspaceSnapshot]] = {}
        known = KNOWN_STATUSES | self.config.finished | {""}
        for standing in self.standings:
            if standing.status not in known:
                found.setdefault(standing.status, []).append(standing)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    @property
    def pools(self) -> dict[str, int]:
        """Number of running dispatches by agent (`base[:model]`), most first."""
        return _ranked(standing.agent for standing in self.lists.running)


def _ranked(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items(), key=lambda item: (-item[1], item[0])))


def host_status(config: Config) -> HostStatus:
    """Read the whole status; changes nothing. Raises HistoryRefused."""
    beat, daemon = pulse(config.history)
    failures = []
    if beat is Liveness.UNKNOWN:
        failures.append(f"{file_of(config.history)}: this user may not read it; whether a daemon runs is unknown")
    standings, missing = [], {}

    def on_lost(error: HistoryError) -> None:
        failures.append(f"{error}; committed or not is unknown")

    history = History(config.history, read_only=True)
    for standing in workspaces_now(config, history, on_lost):
        if standing.workspace or not standing.last_error:
            standings.append(standing)
        else:
            missing[standing.root] = standing.last_error
    for root, cause in missing.items():
        hangs = cause.endswith("does not answer")
        step = "check its server, or unmount it" if hangs else "mount or create it, or configure another one"
        failures.append(f"{root}: {cause}; {step}")
    return HostStatus(
        config=config,
        at=time.time(),
        pulse=beat,
        daemon=daemon,
        standings=tuple(standings),
        lists=_lists(standings, config.finished),
        missing=missing,
        failures=tuple(failures),
    )


def _lists(standings: list[WorkspaceSnapshot], finished: frozenset[str]) -> Lists:
    unknown = any(standing.committed is None for standing in standings)
    waiting = [s for s in standings if s.status in finished and not s.committed]
    return Lists(
        running=_oldest_first(s for s in standings if s.status == "running" and not s.ghost),
        backlog=None if unknown else _oldest_first(waiting),
        failing=_oldest_first(s for s in standings if s.fail_count or s.last_error),
        ghosts=_oldest_first(s for s in standings if s.ghost),
    )


def _oldest_first(standings: Iterable[WorkspaceSnapshot]) -> tuple[WorkspaceSnapshot, ...]:
    """Workspaces of unknown age come last."""
    aged = [(since_utc(standing) or "~", standing.workspace, standing.root, standing) for standing in standings]
    return tuple(standing for *_, standing in sorted(aged, key=lambda item: item[:3]))


def since_utc(standing: WorkspaceSnapshot) -> str | None:
    """Start of its current state: a finished dispatch's last update, any other's start."""
    if standing.status == "running" or not standing.updated_at:
        return standing.started_utc or standing.updated_utc
    return standing.updated_utc


def age_seconds(standing: WorkspaceSnapshot, now: float) -> int | None:
    """Age of its current state in seconds; None when unknown."""
    since = since_utc(standing)
    return None if since is None else int(now - instant.parse(since).ns / 1e9)


def document(now: HostStatus) -> dict[str, Any]:
    """The JSON document of `status`."""
    listed = {
        name: None if items is None else [_item(standing, now.at) for standing in items]
        for name, items in ((field.name, getattr(now.lists, field.name)) for field in dataclasses.fields(Lists))
    }
    return {
        "schema": answer_shape.SCHEMA,
        "daemon": _daemon(now),
        "counts": now.counts,
        "pools": now.pools,
        **listed,
        "roots": _roots(now),
        "failures": [{"root": None, "workspace": None, "error": error} for error in now.failures],
    }


def _daemon(now: HostStatus) -> dict[str, Any]:
    runs = _RUNS[now.pulse]
    stale = {"stale": now.pulse is Liveness.STALE} if runs else {}
    said = dataclasses.asdict(now.daemon) if now.daemon else {}
    return {"running": runs, **stale, **{name: value for name, value in said.items() if name not in _FOR_PROGRAMS}}


def _roots(now: HostStatus) -> list[dict[str, Any]]:
    """The configured roots, the number of workspaces in each, and how a running daemon watches it."""
    running = _RUNS[now.pulse] and now.daemon is not None
    watched = {root.root: root for root in now.daemon.roots} if now.daemon and running else {}
    counted = Counter(standing.root for standing in now.standings)
    return [
        {
            "root": root.key,
            "path": root.path,
            "workspaces_count": None if root.key in now.missing else counted[root.key],
            "watching": watched[root.key].watching if root.key in watched else None,
            "watches_count": watched[root.key].watches if root.key in watched else None,
            "error": now.missing.get(root.key),
        }
        for root in now.config.roots
    ]


def _item(standing: WorkspaceSnapshot, now: float) -> dict[str, Any]:
    due = standing.next_attempt_at
    item = answer_shape.absent_as_null(standing._asdict())
    item["error"] = item.pop("last_error")
    item["started_utc"], item["updated_utc"] = standing.started_utc, standing.updated_utc
    item["age_seconds"] = age_seconds(standing, now)
    item["next_attempt_at"] = None if due is None else instant.now_text(due)
    return item
