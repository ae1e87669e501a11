"""Commits workspaces: opens them, decides what each lacks, and writes them in batches."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

from agentic_watch.commit import batches
from agentic_watch.commit.batches import Batch, Pipeline
from agentic_watch.commit.journal_search import insert_now
from agentic_watch.commit.judging import CommitState, find, look_up
from agentic_watch.commit.moved_workspaces import record_removed, record_removed_run
from agentic_watch.commit.open_workspace import OpenWorkspace, all_answer, open_and_lock, open_to_look, sighting_of
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

NOT_KEPT = "too many or too large finishes to keep in memory: one is lost if it is replaced before its commit"
"""The warning for what `look_ahead` returns."""
_READ_BYTES = 1 << 20
"""Size of reports that are read and turned into lines before the next candidate is taken."""
_AT_LEAST = 6
"""Yields that are ignored, so that short journals are read at once."""
_PAUSED_AT_MOST = 2
"""Paused journal searches. Each keeps a workspace open and locked, and its results in memory."""


class _Begun(NamedTuple):
    """A workspace whose `finding` (judging.find) is in progress; `status_files` is the signature of its status when it
    was read."""

    workspace: OpenWorkspace
    finding: Generator[None, None, CommitState]
    status_files: bytes = b""


class Committer:
    """Commits workspaces under one configuration into one history. Used from one thread.

    `is_left_alone` is OpenWorkspace's.
    """

    def __init__(
        self, config: Config, history: History, is_left_alone: Callable[[Candidate], bool] = all_answer
    ) -> None:
        self.config = config
        self._is_left_alone = is_left_alone
        self.history = history
        history.is_same = redactor(config.limits.redact).is_same
        self._overlap = ThreadPool()
        self._paused: dict[Key, _Begun] = {}
        self._changed_meanwhile: set[Key] = set()
        self._sightings = Sightings()

    def commit(self, candidate: Candidate, *, force: bool = False) -> Outcome:
        """Commit one workspace."""
        return self.commit_group([candidate], force=force)[0]

    def commit_group(self, candidates: Iterable[Candidate], *, force: bool = False) -> list[Outcome]:
        """Commit many workspaces; the list of all results of `commit_each`."""
        return list(self.commit_each(candidates, force=force))

    def commit_each(
        self, candidates: Iterable[Candidate], *, force: bool = False, journal_seconds: float = math.inf
    ) -> Iterator[Outcome]:
        """Commit many workspaces; yields the outcome of each when its batch is complete, in any order.

        Idempotent, and safe in several processes at once. Workspaces are committed in batches: the writes and syncs of
        a batch overlap, its rows share one transaction, and each workspace stays locked until its marker is written. A
        failure is reported in its outcome and does not stop the others. `force` commits an unfinished status too. A
        journal that is not read completely within `journal_seconds` is continued when its workspace is given again: one
        at its limits takes seconds, and must not delay others.

        A finish that was seen and has been replaced since is committed before the current one.
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
        """Forget a recorded finish; returns whether its workspace has another one, or a changed status."""
        is_changed = outcome.candidate.key in self._changed_meanwhile
        self._changed_meanwhile.discard(outcome.candidate.key)
        if outcome.verdict not in (Verdict.COMMITTED, Verdict.SKIPPED) or outcome.status is None or outcome.is_gone:
            return is_changed and not outcome.is_gone
        self._sightings.discard(outcome.candidate, (outcome.status.updated_at.ns, outcome.status.runs))
        return outcome.is_replaced or is_changed

    def look_ahead(self, candidate: Candidate) -> list[Candidate]:
        """Read a status that will be committed later, and keep it if it is finished, in case it is replaced or removed
        before. Returns the workspaces whose finish was dropped because memory is bounded (NOT_KEPT)."""
        workspace = open_to_look(candidate, self.config)
        if not isinstance(workspace, Outcome):
            try:
                if (seen := sighting_of(workspace)) is not None:
                    self._sightings.keep(candidate, seen)
            except WorkspaceError:
                pass  # it vanished, which its commit reports
            finally:
                workspace.close()
        roots = {root.key: root for root in self.config.roots}
        return [Candidate(roots[root], name) for root, name in self._sightings.take_losses()]

    def use(self, config: Config) -> None:
        """Switch to another configuration; paused journal searches start again."""
        self._let_go()
        self.config = config
        self.history.is_same = redactor(config.limits.redact).is_same
        self._sightings.keep_roots({root.key for root in config.roots})

    def _commit_once(self, candidates: Iterable[Candidate], force: bool, until: float) -> Iterator[Outcome]:
        """Commit each workspace once, in batches."""
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
                opened.is_left_alone = self._is_left_alone
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
        """Record the finishes that were seen in a workspace that no longer exists."""
        candidate = gone.candidate
        seen = self._sightings.of(candidate)
        if not seen:
            limits = self.config.limits
            return gone if candidate.end is None else record_removed_run(gone, candidate.end, self.history, limits)
        outcome = record_removed(candidate, seen, self.history, self.config.limits)
        # If the whole root is missing it may come back: keep the finishes, so that their lines can be written.
        if outcome.is_gone and os.path.isdir(candidate.root.path):
            for one in seen:
                self._sightings.discard(candidate, one.identity)
        return outcome

    def judge(self, candidate: Candidate, *, recover: bool = False) -> Outcome:
        """What `commit` would do now. Takes no lock and writes nothing, except with `recover`: rows that the journal
        has and the history lacks are inserted."""
        workspace = open_to_look(candidate, self.config)
        if isinstance(workspace, Outcome):
            return workspace
        try:
            found = CommitState()
            if workspace.place.meta is not None:
                (known,) = look_up([workspace], self.history)
                found = _read_on(find(workspace, known, self.history, repair=False), math.inf) or found
            if recover and not found.journal.error:
                found.journal.error = insert_now(found.journal.lacking.take(), self.history)
            return WorkspaceCommit(workspace, found, look_only(workspace, found)).outcome()
        except WorkspaceError as error:
            return failed(candidate, error)
        finally:
            workspace.close()

    def _let_go(self) -> None:
        """Drop the paused journal searches, which releases their locks."""
        for begun in self._paused.values():
            begun.workspace.close()
        self._paused.clear()

    def close(self) -> None:
        """Stop the writing threads. The caller closes the history."""
        self._let_go()
        self._overlap.close()

    def _write(self, locked: list[OpenWorkspace], pipeline: Pipeline, until: float) -> list[Outcome]:
        """Decide what each workspace lacks and pass it to the pipeline, within the limit of memory."""
        done: list[Outcome] = []
        planned: Batch = []
        weight = 0
        give_back_large_blocks()
        try:
            for known in look_up(locked, self.history):
                finding = find(locked[0], known, self.history, repair=locked[0].finished)
                outcome = self._plan(_Begun(locked[0], finding), until)
                del locked[0]  # from here on its batch closes it
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
        """Decide what is missing, and make line and row before anything is written."""
        workspace = begun.workspace
        found = CommitState()
        try:
            read = _read_on(begun.finding, until)
            if read is None:
                return self._pause(begun)
            found = read
            return WorkspaceCommit(workspace, found, prepare(workspace, found))
        except WorkspaceError as error:
            # Rows recovered until the error are inserted all the same.
            commit = WorkspaceCommit(workspace, found, Prepared())
            commit.error = error
            return commit

    def _pause(self, begun: _Begun) -> Outcome:
        """Pause a journal search; over the limit it is dropped and starts again later."""
        candidate = begun.workspace.candidate
        if len(self._paused) < _PAUSED_AT_MOST:
            seen = begun.status_files or begun.workspace.status_files(as_read=True)
            self._paused[candidate.key] = begun._replace(status_files=seen)
        else:
            begun.workspace.close()
        return Outcome(candidate, Verdict.READING, "its long journal is being read")

    def _go_on(self, begun: _Begun, until: float, pipeline: Pipeline) -> list[Outcome]:
        """Continue a long journal; when it is complete, write what is missing for the status read at its begin."""
        workspace = begun.workspace
        try:
            planned = self._plan(begun, until)
            if isinstance(planned, Outcome):
                return [planned]
            # The status changed meanwhile, and no further event will announce that.
            if begun.status_files != workspace.status_files():
                self._changed_meanwhile.add(workspace.candidate.key)
        except BaseException:
            workspace.close()
            raise
        return pipeline.put([planned])


def _read_on(finding: Generator[None, None, CommitState], until: float) -> CommitState | None:
    """Advance the generator until `until` (time.monotonic); None when it is not finished, to be continued later.

    Raises what the generator raises.
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
