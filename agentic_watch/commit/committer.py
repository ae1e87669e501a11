"""Write what is missing, in order: line, row, marker, each durable before the next is begun."""

from __future__ import annotations

from collections.abc import Iterable

from agentic_watch.commit.batch import Batch
from agentic_watch.commit.examine import HOST, examine, insert_rows
from agentic_watch.commit.overlap import Overlap
from agentic_watch.commit.plan import Outcome, Verdict, decide
from agentic_watch.commit.together import append_lines, is_worth_it, start_markers
from agentic_watch.commit.work import Work, failed
from agentic_watch.config import Config
from agentic_watch.history import rows
from agentic_watch.history.store import History
from agentic_watch.workspace import instant, journal, layout, record, report, status
from agentic_watch.workspace.errors import WorkspaceError
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.place import Place, open_place


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
        """Commit many workspaces together; safe to call twice and from several processes.

        A group of any size goes through in batches: the writes and syncs of a batch overlap, its rows share one
        transaction, and each of its workspaces is held locked until its marker is down. A failing one is in its
        outcome and stops no other. `force` commits an unfinished status too.
        """
        done: list[Outcome] = []
        batch, marking = Batch(), Batch()
        try:
            for candidate in candidates:
                prepared = self._prepare(candidate, force)
                if isinstance(prepared, Outcome):
                    done.append(prepared)
                    continue
                batch.add(prepared)
                if batch.is_full:
                    done += self._advance(batch, marking)
                    batch, marking = Batch(), batch
            done += self._advance(batch, marking)
            done += self._advance(Batch(), batch)
        finally:
            self._overlap.wait()  # no thread may still use a descriptor that is closed here
            batch.close()
            marking.close()
        return done

    def judge(self, candidate: Candidate) -> Outcome:
        """What `commit` would do now; reads only, takes no lock, changes nothing."""
        if problem := layout.name_problem(candidate.name):
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

    def _prepare(self, candidate: Candidate, force: bool) -> Work | Outcome:
        """Open, lock, read and decide. An Outcome means that there is nothing to write."""
        try:
            place = open_place(candidate.root.path, candidate.name)
        except WorkspaceError as error:
            return failed(candidate, error)
        if problem := layout.name_problem(candidate.name):
            place.close()
            return Outcome(candidate, Verdict.FAILED, problem)
        prepared: Work | Outcome | None = None
        try:
            prepared = self._lock_and_examine(candidate, place, force)
        except WorkspaceError as error:
            prepared = failed(candidate, error)
        finally:
            if not isinstance(prepared, Work):
                place.close()
        return prepared

    def _lock_and_examine(self, candidate: Candidate, place: Place, force: bool) -> Work | Outcome:
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
        try:
            examine(work, self.history, repair=work.finished)
            self._plan(work)
        except BaseException:
            if work.journal is not None:
                work.journal.close()
            raise
        return work

    def _read_status(self, candidate: Candidate, place: Place) -> Work:
        found = status.read(place.directory, place.meta, candidate.root, self.config.limits)
        return Work(candidate, place, self.config.limits, found.status, found.signature, list(found.warnings))

    def _is_unfinished(self, work: Work) -> bool:
        return work.status.status not in self.config.finished

    def _plan(self, work: Work) -> None:
        """Decide what is missing, and make the line and the row while nothing has been written."""
        if not work.finished:
            return
        work.plan = plan = decide(work.marked, work.row, work.line, instant.now_text())
        if not plan.append:
            return
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
        if plan.insert:
            work.hold(rows.from_record(made, work.candidate.root.key, HOST))

    def _advance(self, batch: Batch, marking: Batch) -> list[Outcome]:
        """Write a batch's lines and rows and begin its markers; gives what became of the batch before it.

        That one's markers were being written while this one was prepared.
        """
        self._overlap.wait()
        outcomes = marking.finish()
        together = is_worth_it(batch.writing())
        append_lines(batch.writing(), self._overlap, together=together)
        insert_rows(batch.sound(), self.history)
        start_markers(batch.writing(), self._overlap, together=together)
        return outcomes
