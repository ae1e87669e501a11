"""Commits workspaces: opens them, decides what each lacks, sends them through the steps in batches."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from agentic_watch.commit import batches
from agentic_watch.commit.batches import Batch, Pipeline
from agentic_watch.commit.journal_search import insert_now
from agentic_watch.commit.judging import CommitState, HistoryState, find, look_up
from agentic_watch.commit.moved_workspaces import record_removed, record_removed_run
from agentic_watch.commit.open_workspace import OpenWorkspace, open_and_lock, open_to_look, sighting_of
from agentic_watch.commit.outcome import Outcome, Verdict, failed
from agentic_watch.commit.sightings import Sightings
from agentic_watch.commit.steps import Prepared, WorkspaceCommit, look_only, prepare
from agentic_watch.config import Config
from agentic_watch.history.rows import HELD_BYTES
from agentic_watch.history.store import History
from agentic_watch.host.processes import give_back_large_blocks
from agentic_watch.host.threads import ThreadPool
from agentic_watch.workspace.candidate import Candidate, Key
from agentic_watch.workspace.place import Opener
from agentic_watch.workspace.redactor import redactor
from agentic_watch.workspace.workspace_errors import WorkspaceError

_READ_BYTES = 1 << 20
"""Reports that are read, and made lines of, before whoever gives the candidates is asked for another one."""
_AT_LEAST = 6
"""Places to give way that are passed in any case, so that journals of a few lines are read at once."""
_PAUSED_AT_MOST = 2
"""Each is open and locked, and holds what the history and the journal say of one workspace."""


class _Begun(NamedTuple):
    """A workspace in the middle of `finding` what is there of its commit; `status_files` is the signature of its status
    when that was read."""

    workspace: OpenWorkspace
    known: HistoryState
    finding: Generator[None, None, CommitState]
    status_files: bytes = b""


class Committer:
    """Commits workspaces under one configuration into one history. Used from one thread."""

    def __init__(self, config: Config, history: History) -> None:
        self.config = config
        self.history = history
        history.is_same = redactor(config.limits.redact).is_same
        self._overlap = ThreadPool()
        self._paused: dict[Key, _Begun] = {}
        self._changed_meanwhile: set[Key] = set()
        self._sightings = Sightings()

    def commit(self, candidate: Candidate, *, force: bool = False) -> Outcome:
        """Commit one workspace: a group of one."""
        return self.commit_group([candidate], force=force)[0]

    def commit_group(self, candidates: Iterable[Candidate], *, force: bool = False) -> list[Outcome]:
        """Commit many workspaces: `commit_each`, to its end."""
        return list(self.commit_each(candidates, force=force))

    def commit_each(
        self, candidates: Iterable[Candidate], *, force: bool = False, journal_seconds: float = math.inf
    ) -> Iterator[Outcome]:
        """Commit many workspaces together; gives what became of each when its batch is done, in no order.

        Safe to call twice and from several processes. However many there are, they go through in batches: the writes
        and syncs of a batch overlap, its rows share one transaction, and each of its workspaces is held locked until
        its marker is down. A failing one is in its outcome and stops no other. `force` commits an unfinished
        status too. A journal that is not read when `journal_seconds` are over is read on when its workspace is given
        again: one at its limits takes seconds, and nobody else should wait for it.
        A finish that was seen and replaced since is committed before what is there now.
        """
        until = time.monotonic() + journal_seconds
        waiting = candidates
        while waiting:
            again: list[Candidate] = []
            for outcome in self._commit_once(waiting, force, until):
                if self._is_more(outcome):
                    again.append(outcome.candidate._replace(end=None) if outcome.ended else outcome.candidate)
                yield outcome
            waiting = again

    def _is_more(self, outcome: Outcome) -> bool:
        """Forget a finish that is recorded; whether its workspace has another one, or says something else by now."""
        is_changed = outcome.candidate.key in self._changed_meanwhile
        self._changed_meanwhile.discard(outcome.candidate.key)
        if outcome.verdict not in (Verdict.COMMITTED, Verdict.SKIPPED) or outcome.status is None or outcome.is_gone:
            return is_changed and not outcome.is_gone
        self._sightings.discard(outcome.candidate, (outcome.status.updated_at.ns, outcome.status.runs))
        return outcome.is_replaced or is_changed

    def look_ahead(self, candidate: Candidate) -> list[str]:
        """Read a status that is to be committed later: if it is finished, it is not lost when it is replaced or removed
        before that. Gives a line for each workspace that lost one since there is no room for all."""
        workspace = open_to_look(candidate, self.config)
        if not isinstance(workspace, Outcome):
            try:
                if (seen := sighting_of(workspace)) is not None:
                    self._sightings.keep(candidate, seen)
            except WorkspaceError:
                pass  # it went away; its commit says so
            finally:
                workspace.close()
        return [
            f"{name}: finished, and may be replaced before it is committed: too much of it to be kept in memory"
            for name in self._sightings.take_losses()
        ]

    def use(self, config: Config) -> None:
        """Go on under another configuration; long journals are read anew."""
        self._let_go()
        self.config = config
        self.history.is_same = redactor(config.limits.redact).is_same
        self._sightings.keep_roots({root.key for root in config.roots})

    def _commit_once(self, candidates: Iterable[Candidate], force: bool, until: float) -> Iterator[Outcome]:
        """One way through the batches, for one commit of each workspace."""
        opener = Opener()
        locked: list[OpenWorkspace] = []
        to_read = 0
        pipeline = Pipeline(self._overlap, self.history)
        try:
            for candidate in candidates:
                if self._paused and (begun := self._paused.pop(candidate.key, None)) is not None:
                    yield from self._go_on(begun, until, pipeline)
                    continue
                opened = open_and_lock(candidate, opener, self.config, self._sightings, force=force)
                if isinstance(opened, Outcome):
                    yield self._record_removed(opened) if opened.is_gone else opened
                    continue
                locked.append(opened)
                to_read += opened.report_bytes if opened.finished else 0
                if len(locked) >= batches.most() or to_read > _READ_BYTES:
                    to_read = 0
                    yield from self._write(locked, pipeline, until)
            if locked:
                yield from self._write(locked, pipeline, until)
            yield from pipeline.drain()
        finally:
            pipeline.close()
            for workspace in locked:
                workspace.close()
            opener.close()

    def _record_removed(self, gone: Outcome) -> Outcome:
        """What becomes of a workspace that is not there, with the finishes that were seen in it."""
        candidate = gone.candidate
        seen = self._sightings.of(candidate)
        if not seen:
            limits = self.config.limits
            return gone if candidate.end is None else record_removed_run(gone, candidate.end, self.history, limits)
        outcome = record_removed(candidate, seen, self.history, self.config.limits)
        # When its whole root is away it may come back: what was seen is kept for its lines.
        if outcome.is_gone and os.path.isdir(candidate.root.path):
            for one in seen:
                self._sightings.discard(candidate, one.identity)
        return outcome

    def judge(self, candidate: Candidate, *, recover: bool = False) -> Outcome:
        """What `commit` would do now; reads only, takes no lock, changes nothing; with `recover` inserts the rows that
        the journal has and the history lacks."""
        workspace = open_to_look(candidate, self.config)
        if isinstance(workspace, Outcome):
            return workspace
        try:
            known, found = HistoryState(), CommitState()
            if workspace.place.meta is not None:
                (known,) = look_up([workspace], self.history)
                found = _read_on(find(workspace, known, self.history, repair=False), math.inf) or found
            if recover and not found.history_error:
                found = replace(found, history_error=insert_now(found.lacking.take(), self.history))
            return WorkspaceCommit(workspace, known, found, look_only(workspace, found)).outcome()
        except WorkspaceError as error:
            return failed(candidate, error)
        finally:
            workspace.close()

    def _let_go(self) -> None:
        """Forget what was read of long journals, and give the locks back."""
        for begun in self._paused.values():
            begun.workspace.close()
        self._paused.clear()

    def close(self) -> None:
        """End the writing threads. The history belongs to the caller."""
        self._let_go()
        self._overlap.close()

    def _write(self, locked: list[OpenWorkspace], pipeline: Pipeline, until: float) -> list[Outcome]:
        """Decide what each of these lacks and hand them on, no more at once than may be held in memory."""
        done: list[Outcome] = []
        planned: Batch = []
        weight = 0
        give_back_large_blocks()
        try:
            for known in look_up(locked, self.history):
                finding = find(locked[0], known, self.history, repair=locked[0].finished)
                outcome = self._plan(_Begun(locked[0], known, finding), until)
                del locked[0]  # what is planned is closed with its batch
                if isinstance(outcome, Outcome):
                    done.append(outcome)
                    continue
                planned.append(outcome)
                weight += outcome.weight
                if weight > HELD_BYTES:
                    full, planned, weight = planned, [], 0
                    done += pipeline.put(full)
            full, planned = planned, []
            return done + pipeline.put(full) if full else done
        except BaseException:
            batches.close(planned)
            raise

    def _plan(self, begun: _Begun, until: float) -> WorkspaceCommit | Outcome:
        """Decide what is missing, and make the line and the row while nothing has been written."""
        workspace, known = begun.workspace, begun.known
        found = CommitState()
        try:
            read = _read_on(begun.finding, until)
            if read is None:
                return self._pause(begun)
            found = read
            return WorkspaceCommit(workspace, known, found, prepare(workspace, found))
        except WorkspaceError as error:
            # What was found so far becomes rows all the same.
            commit = WorkspaceCommit(workspace, known, found, Prepared())
            commit.error = error
            return commit

    def _pause(self, begun: _Begun) -> Outcome:
        """Keep it for later; when too many wait for the rest of their journals, it has to begin anew then."""
        candidate = begun.workspace.candidate
        if len(self._paused) < _PAUSED_AT_MOST:
            seen = begun.status_files or begun.workspace.status_files(as_read=True)
            self._paused[candidate.key] = begun._replace(status_files=seen)
        else:
            begun.workspace.close()
        return Outcome(candidate, Verdict.READING, "has a long journal, which is being read")

    def _go_on(self, begun: _Begun, until: float, pipeline: Pipeline) -> list[Outcome]:
        """Read a long journal on; when it is at its end, write what is missing of what the status said at its begin."""
        workspace = begun.workspace
        try:
            planned = self._plan(begun, until)
            if isinstance(planned, Outcome):
                return [planned]
            # What it says now was told meanwhile, and nobody tells of it again.
            if begun.status_files != workspace.status_files():
                self._changed_meanwhile.add(workspace.candidate.key)
        except BaseException:
            workspace.close()
            raise
        return pipeline.put([planned])


def _read_on(finding: Generator[None, None, CommitState], until: float) -> CommitState | None:
    """Go on until then (time.monotonic); None when it is not at its end, and the same generator goes on later.

    Raises what it raises.
    """
    passed = 0
    try:
        while passed < _AT_LEAST or time.monotonic() < until:
            next(finding)
            passed += 1
    except StopIteration as end:
        found: CommitState = end.value
        return found
    return None
