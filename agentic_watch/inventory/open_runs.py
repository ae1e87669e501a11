"""Tracks open runs (without a final status) across restarts, and decides which are recorded as ghosts."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.config import Config, Root
from agentic_watch.history import open_runs_table as table
from agentic_watch.history.open_runs_table import PROCESS_GONE, REMOVED, OpenRun
from agentic_watch.history.store import History
from agentic_watch.history.workspaces_table import WorkspaceRow
from agentic_watch.host import digests, processes
from agentic_watch.host.processes import Here
from agentic_watch.inventory.ghosts import UNENDED, is_ghost, is_over, is_process, named_at, was_here
from agentic_watch.workspace import signatures, status
from agentic_watch.workspace.candidate import Candidate, Key
from agentic_watch.workspace.ghost_record import GhostRun
from agentic_watch.workspace.record import dispatch_of
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Malformed

AT_ONCE = 256
_LONGEST_TEXT = 4000


@dataclass(slots=True)
class _Changes:
    """Pending writes: runs that were read; directory, dispatch and run of every workspace that was read; observed
    processes, recorded ends, and workspaces to forget."""

    read: dict[Key, OpenRun] = field(default_factory=dict)
    places: dict[Key, tuple[str, str, int]] = field(default_factory=dict)
    noticed: dict[Key, OpenRun] = field(default_factory=dict)
    recorded: dict[Key, Status] = field(default_factory=dict)
    forgotten: set[Key] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.places) + len(self.noticed) + len(self.recorded) + len(self.forgotten)


class OpenRuns:
    """Used from one thread. `here` identifies the current boot and namespaces.

    With `waits` (the daemon), `after_seconds` counts from the time when the process was found gone; without (`--once`),
    from the time when it was last known to run.
    """

    def __init__(
        self, history: History, config: Config | None, *, waits: bool = False, here: Callable[[], Here] = processes.here
    ) -> None:
        self._history = history
        self._waits = waits
        self._here = here
        self._changes = _Changes()
        self._has_any = True
        self.use(config)

    def use(self, config: Config | None) -> None:
        """Switch to another configuration; with None, no run is tracked or recorded."""
        self._config = config if config is not None and config.ghosts.record != "never" else None

    @property
    def is_dirty(self) -> bool:
        """Whether there is something to write."""
        return bool(self._changes)

    def note(self, outcome: Outcome, now: float) -> None:
        """Record the outcome of a workspace; `now` is in seconds since the epoch."""
        key, said = outcome.candidate.key, outcome.status
        if self._config is None or outcome.verdict in (Verdict.FAILED, Verdict.BUSY, Verdict.READING):
            return
        if outcome.ended and outcome.is_gone:
            self._changes.forgotten.add(key)
        elif outcome.ended and outcome.candidate.end is not None:
            self._changes.recorded[key] = outcome.candidate.end.said
        elif said is not None and not outcome.is_gone:
            self._changes.forgotten.discard(key)
            is_open = outcome.verdict is Verdict.UNFINISHED and said.status in UNENDED and is_process(said.pid)
            if is_open or self._has_any or self._changes.read:
                self._changes.places[key] = outcome.directory, _digest(said), said.runs
            if is_open:
                self._changes.read[key] = self._run(outcome, said, now)
            else:
                self._changes.read.pop(key, None)

    def _run(self, outcome: Outcome, said: Status, now: float) -> OpenRun:
        here, began = self._here(), processes.began(said.pid)
        written = signatures.changed_at(outcome.signature[: 2 * len(signatures.ABSENT)]) or now
        is_another = began is not None and (
            began == processes.NOT_SHOWN
            or processes.wall_time(began) > written + processes.SLACK_SECONDS
            or processes.is_of_kernel(said.pid)
        )
        if is_another:  # or possibly another: the pid was reused since, or is not valid for a dispatch
            began = None
        word = said.updated_at.ns / 1e9
        word = word if not said.updated_at.is_zero and word <= now else now
        boot, since = here.boot, word if began is None else now
        if began is None and max(word, written) < here.booted_at and processes.began(said.pid) is None:
            boot, since = table.EARLIER_BOOT, here.booted_at
        return OpenRun(
            root=outcome.candidate.root.key,
            workspace=outcome.candidate.name,
            pid=said.pid,
            updated_utc=said.updated_at.utc(),
            runs=said.runs,
            said=_as_json(said),
            dispatch=_digest(said),
            directory=outcome.directory,
            boot=boot,
            namespaces=here.namespaces,
            began=began,
            since=since,
        )

    def write(self, connection: sqlite3.Connection) -> None:
        """Write the collected changes within the caller's transaction."""
        changes = self._changes
        self._has_any = bool(changes.read) or not table.is_empty(connection)
        if self._has_any:
            for key, place in changes.places.items():
                _write_run(connection, key, place, changes.read.get(key))
            table.set_gone(connection, changes.noticed.values())
            recorded = ((*key, said.updated_at.utc(), said.runs) for key, said in changes.recorded.items())
            table.set_recorded(connection, recorded)
            table.delete(connection, changes.forgotten)

    def clear(self) -> None:
        """Drop the collected changes, which are written or cannot be."""
        self._changes = _Changes()

    # --- finding ghosts

    def judged(self, root: Root, state: WorkspaceRow, run: OpenRun | None, began: int | None) -> Candidate | None:
        """The workspace of a running dispatch, if it must be recorded as a ghost now or its run is not known yet.

        `began` is the start of the process with its pid (processes.began).
        """
        if self._config is None:
            return None
        if run is None or run.identity != (state.pid, state.updated_utc, state.runs):
            return Candidate(root, state.workspace)
        here, now = self._here(), time.time()
        if run.recorded or not self._is_over(run, here, began):
            return None
        run = self._noticed(run, PROCESS_GONE, here, now)
        if now < run.since + self._config.ghosts.after_seconds or (said := _from_json(run.said)) is None:
            return None
        if self._has_end(run, said):  # committed with --force
            self._changes.recorded[run.key] = said
            return None
        return Candidate(root, state.workspace, end=GhostRun(said))

    def _is_over(self, run: OpenRun, here: Here, began: int | None) -> bool:
        assert self._config is not None
        known = is_over(run, here, began)
        if known is not None or self._config.ghosts.record == "seen":
            return bool(known)
        if began is None or (said := _from_json(run.said)) is None:
            return began is None
        return is_ghost(said.status, said.pid, named_at(said.started_at, said.updated_at))

    def _noticed(self, run: OpenRun, gone: int, here: Here, now: float) -> OpenRun:
        """The run with the current observation, which is stored if it is new."""
        if run.gone == gone and run.since <= now:  # the clock was not set back since
            return run
        since = now if self._waits else min(run.since, now)
        if run.boot not in ("", here.boot):
            since = max(since, here.booted_at)
        run = run._replace(gone=gone, since=since)
        self._changes.noticed[run.key] = run
        return run

    def removed(self, root: Root, is_meant: Callable[[str], bool]) -> Iterator[Candidate | None]:
        """Yield the workspaces that were removed while they ran and must be recorded now, and None as a point to pause.
        Only names for which `is_meant` is true. Raises HistoryError."""
        last = ""
        while self._config is not None and (some := table.vanished(self._history, root.key, last, AT_ONCE)):
            last = some[-1].workspace
            for run in filter(lambda run: is_meant(run.workspace), some):
                if (end := self._removed_end(run)) is not None:
                    yield Candidate(root, run.workspace, end=end)
            yield None

    def _removed_end(self, run: OpenRun) -> GhostRun | None:
        assert self._config is not None
        here, now, is_new = self._here(), time.time(), run.gone != REMOVED
        if run.recorded or (said := _from_json(run.said)) is None:
            self._changes.forgotten.add(run.key)
            return None
        run = self._noticed(run, REMOVED, here, now)
        if (is_new and self._waits) or now < run.since + self._config.ghosts.after_seconds:
            return None  # it may have been moved, and other roots are still being scanned
        is_known = self._config.ghosts.record == "always" or was_here(run, here)
        is_copied = not said.started_at.is_zero and table.goes_on_elsewhere(self._history, run)
        if not is_known or is_copied or self._has_end(run, said):
            self._changes.forgotten.add(run.key)
            return None
        device = int(run.directory.partition(":")[0]) if run.directory and run.boot == here.boot else None
        return GhostRun(said, is_removed=True, device=device)

    def _has_end(self, run: OpenRun, said: Status) -> bool:
        """Whether its end is recorded, or the workspace was moved and the run continues or ended there."""
        assert self._config is not None
        started = said.started_at.utc_if_set()
        if table.has_end(self._history, run, started):
            return True
        for place in table.places_now(self._history, run):
            for root in self._config.roots:
                here = place.startswith(f"{root.path}/")
                name = place[len(root.path) + 1 :] if here else place
                if (here or root.key == run.root) and table.goes_on_at(
                    self._history, run._replace(root=root.key), name, started
                ):
                    return True
        return False


def _write_run(connection: sqlite3.Connection, key: Key, place: tuple[str, str, int], read: OpenRun | None) -> None:
    """Store what was read of one workspace, replacing what was known under this and former names."""
    directory, dispatch, runs = place
    before = table.get(connection, key)
    former = [
        run
        for run in (table.in_directory(connection, directory) if directory else ())
        if run.key != key and (run.dispatch, run.runs) == (dispatch, runs)
    ]
    if read is None and before is not None:
        said = _from_json(before.said)
        if said is not None and not said.started_at.is_zero:  # else another run of this process may look the same
            table.settle_copies(connection, before)
        table.delete(connection, [key])
    elif read is not None:
        moved = former[0]._replace(root=key[0], workspace=key[1]) if former else None
        table.put(connection, [_merged(before or moved, read)])
    table.delete(connection, [run.key for run in former])


def _merged(before: OpenRun | None, read: OpenRun) -> OpenRun:
    """Merge what is known of a run with a new reading of its workspace.

    An unchanged status names the same process, even if its pid was reused. A new status of the same run with the same
    pid keeps the observation that the process was seen alive.
    """
    if before is None:
        return read
    as_before = read._replace(boot=before.boot, namespaces=before.namespaces, began=before.began)
    if before.identity == read.identity:
        gone = 0 if before.gone == REMOVED else before.gone
        since = before.since if gone else max(before.since, read.since)
        is_news = read.began is not None and (
            (before.began is None and before.boot in (read.boot, table.EARLIER_BOOT))
            or before.namespaces != read.namespaces
        )
        return (read if is_news else as_before)._replace(recorded=before.recorded, gone=gone, since=since)
    is_same_run = (before.pid, before.runs, before.dispatch) == (read.pid, read.runs, read.dispatch)
    is_from_here = (before.boot, before.namespaces) == (read.boot, read.namespaces)
    if read.began is None and before.began is not None and is_same_run and is_from_here:
        return as_before._replace(since=max(before.since, read.since))
    return read


def _digest(said: Status) -> str:
    """A digest of the fields that do not change during a dispatch; its task may be a megabyte."""
    found: str = digests.blake2b(json.dumps(dispatch_of(said)).encode(), digest_size=16).hexdigest()
    return found


def _as_json(said: Status) -> str:
    """A status as JSON, with long texts cut."""
    fields: dict[str, Any] = {name: v[:_LONGEST_TEXT] for name, v in said._asdict().items() if isinstance(v, str)}
    fields |= {"updated_at": said.updated_at.text, "started_at": said.started_at.text}
    return json.dumps(fields | {"issue": said.issue, "pid": said.pid, "runs": said.runs})


def _from_json(text: str) -> Status | None:
    """Parse such JSON; None when it is invalid."""
    with suppress(Malformed):
        return status.parse(text.encode("utf-8", "surrogatepass"), "open_runs")
    return None
