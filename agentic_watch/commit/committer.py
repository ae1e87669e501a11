"""Write what is missing, in order: line, row, marker, each durable before the next is begun."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentic_watch.commit.batch import Batch
from agentic_watch.commit.examine import HELD_BYTES, examine, look_up
from agentic_watch.commit.insertion import HOST
from agentic_watch.commit.pipeline import Pipeline
from agentic_watch.commit.plan import Outcome, Plan, Verdict, decide
from agentic_watch.commit.work import Work, failed
from agentic_watch.config import Config
from agentic_watch.history import rows
from agentic_watch.history.store import History
from agentic_watch.host.threads import Overlap
from agentic_watch.workspace import instant, journal, layout, record, report, status
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.names import name_problem
from agentic_watch.workspace.place import Opener, Place, open_place
from agentic_watch.workspace.workspace_errors import WorkspaceError

_LARGE_LINE = 4_096
"""From this size on a record becomes a row at once: its memory is counted only as one."""


class Committer:
    """Commits workspaces under one configuration into one history. Used from one thread."""

    def __init__(self, config: Config, history: History) -> None:
        self.config = config
        self.history = history
        self._overlap = Overlap()

    def commit(self, candidate: Candidate, *, force: bool = False) -> Outcome:
        """Commit one workspace: a group of one."""
        return self.commit_group([candidate], force=force)[0]

    def commit_group(self, candidates: Iterable[Candidate], *, force: bool = False) -> list[Outcome]:
        """Commit many workspaces: `commit_each`, to its end."""
        return list(self.commit_each(candidates, force=force))

    def commit_each(self, candidates: Iterable[Candidate], *, force: bool = False) -> Iterator[Outcome]:
        """Commit many workspaces together; gives what became of each when its batch is done, in no order.

        Safe to call twice and from several processes. However many there are, they go through in batches: the writes
        and syncs of a batch overlap, its rows share one transaction, and each of its workspaces is held locked until
        its marker is down. A failing one is in its outcome and stops no other. `force` commits an unfinished
        status too.
        """
        opener, locked = Opener(), Batch()
        pipeline = Pipeline(self._overlap, self.history)
        try:
            for candidate in candidates:
                prepared = self._open(candidate, opener, force)
                if isinstance(prepared, Outcome):
                    yield prepared
                    continue
                locked.add(prepared)
                if locked.is_full:
                    yield from self._write(locked, pipeline)
            yield from self._write(locked, pipeline)
            yield from pipeline.drain()
        finally:
            pipeline.close()
            locked.close()
            opener.close()

    def judge(self, candidate: Candidate) -> Outcome:
        """What `commit` would do now; reads only, takes no lock, changes nothing."""
        if problem := name_problem(candidate.name):
            return Outcome(candidate, Verdict.FAILED, problem)
        try:
            place = open_place(candidate.root.path, candidate.name)
        except WorkspaceError as error:
            return failed(candidate, error)
        try:
            work = self._read_status(candidate, place)
        except WorkspaceError as error:
            place.close()
            return failed(candidate, error)
        try:
            work.finished = not self._is_unfinished(work)
            if place.meta is not None:
                look_up([work], self.history)
                examine(work, self.history, repair=False)
            if work.finished:
                work.plan = decide(work.marked, work.row, work.line, instant.now_text())
            return work.outcome()
        except WorkspaceError as error:
            return failed(candidate, error)
        finally:
            work.close()

    def close(self) -> None:
        """End the writing threads. The history belongs to the caller."""
        self._overlap.close()

    def _open(self, candidate: Candidate, opener: Opener, force: bool) -> Work | Outcome:
        """Open, lock and read the status. An Outcome means that there is nothing to write."""
        try:
            place = opener.open(candidate.root.path, candidate.name)
        except WorkspaceError as error:
            return failed(candidate, error)
        if problem := name_problem(candidate.name):
            place.close()
            return Outcome(candidate, Verdict.FAILED, problem)
        opened: Work | Outcome | None = None
        try:
            opened = self._lock_and_read(candidate, place, force)
        except WorkspaceError as error:
            opened = failed(candidate, error)
        finally:
            if not isinstance(opened, Work):
                place.close()
        return opened

    def _lock_and_read(self, candidate: Candidate, place: Place, force: bool) -> Work | Outcome:
        if place.meta is None:
            # `.meta` is made for finished work only, so here the first look comes before the lock.
            work = self._read_status(candidate, place)
            if not force and self._is_unfinished(work):
                work.finished = False
                return work.outcome()
            place.make_meta()
        if not place.lock():
            return Outcome(candidate, Verdict.BUSY, "is held by another process")
        work = self._read_status(candidate, place)
        work.finished = force or not self._is_unfinished(work)
        return work

    def _read_status(self, candidate: Candidate, place: Place) -> Work:
        found = status.read(place.directory, place.meta, candidate.root, self.config.limits)
        return Work(candidate, place, self.config.limits, found.status, found.signature, list(found.warnings))

    def _is_unfinished(self, work: Work) -> bool:
        return work.status.status not in self.config.finished

    def _write(self, locked: Batch, pipeline: Pipeline) -> list[Outcome]:
        """Decide what each of these lacks and hand them on, no more at once than may be held in memory."""
        done: list[Outcome] = []
        look_up(locked.all(), self.history)
        planned, held = Batch(), 0
        try:
            while (work := locked.take()) is not None:
                planned.add(work)
                self._plan(work)
                held += work.weight
                if held > HELD_BYTES:
                    batch, planned, held = planned, Batch(), 0
                    done += pipeline.put(batch)
            batch, planned = planned, Batch()
            done += pipeline.put(batch)
        finally:
            planned.close()
        return done

    def _plan(self, work: Work) -> None:
        """Decide what is missing, and make the line and the row while nothing has been written."""
        try:
            examine(work, self.history, repair=work.finished)
            if work.finished:
                work.plan = decide(work.marked, work.row, work.line, instant.now_text())
                if work.plan.append:
                    self._make_line(work, work.plan)
        except WorkspaceError as error:
            work.error = error

    def _make_line(self, work: Work, plan: Plan) -> None:
        limits = self.config.limits
        content, warning = report.read(work.meta, limits.report_bytes)
        made = record.from_status(work.candidate.name, work.status, content, plan.committed_at)
        work.line_bytes = made.line()
        if not journal.is_readable(work.line_bytes, journal.longest_line(limits)):
            warning = f"{layout.META_REPORT}: makes too long a journal line; committed without the report"
            made = record.from_status(work.candidate.name, work.status, {}, plan.committed_at)
            work.line_bytes = made.line()
        if warning:
            work.warnings.append(warning)
        if plan.insert and len(work.line_bytes) < _LARGE_LINE:
            work.record = made  # its row is made while the line is synced
        elif plan.insert:
            work.hold(rows.from_record(made, work.candidate.root.key, HOST))
