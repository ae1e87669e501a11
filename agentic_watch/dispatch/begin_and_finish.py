"""Begins and finishes runs by writing their status. Safe to call twice and from several processes.

A pure function decides the next status, another one writes it, both under the writer's lock.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from agentic_watch.config import FINISHED, Root
from agentic_watch.dispatch import git_facts, status_writer, workspace_to_use
from agentic_watch.dispatch.run_types import DispatchError, End, Overtaken, Run, Uncommitted, Work
from agentic_watch.dispatch.status_writer import Current
from agentic_watch.host.processes import is_alive
from agentic_watch.workspace import files, instant, layout
from agentic_watch.workspace.place import Place
from agentic_watch.workspace.workspace_errors import WorkspaceError

_RUNNING = "running"
_REPORT_LIMIT = 64 << 20
_WAITING = frozenset({"queued", _RUNNING})
_INTERRUPTED = "interrupted: another prompt came"
START_COMMIT = "start_commit"
"""Our own field in the status: the commit that git had checked out at the start; other readers ignore it."""


def begin(root: str | Root, work: Work, workspace: str = "", finished: Collection[str] = FINISHED) -> Run:
    """Record that `work` runs, in a new workspace below `root` or in the one named `workspace`.

    A run in progress is returned unchanged (`begun` is False), unless the same process was given another prompt: then
    it is recorded as failed, and a new one begins. After a finished run, or one whose process is gone, a new run begins
    and `runs` is incremented. The status is durable when this returns. `finished` are the statuses that are committed.
    Raises Uncommitted when a finished run there is not committed yet, and DispatchError when the status cannot be
    written.
    """
    where = root if isinstance(root, Root) else Root(os.path.abspath(root))
    facts = git_facts.look(work.directory) if work.directory else git_facts.Facts()
    work = work._replace(org=work.org or facts.org, repo=work.repo or facts.repo, branch=work.branch or facts.branch)
    with _said(workspace or where.path):
        if workspace:
            name, place = workspace, workspace_to_use.open_or_make(where, workspace)
        else:
            name, place = workspace_to_use.make_new(where, work)
        with contextlib.closing(place):
            return _begin(where, name, place, work, facts.commit, finished)._replace(problem=facts.problem)


def _begin(root: Root, name: str, place: Place, work: Work, commit: str, finished: Collection[str]) -> Run:
    status_writer.lock(place)
    former = status_writer.current(place, root)
    if former is not None and _goes_on(former):
        run = _run(root, name, former, work.directory, begun=False)
        if not _is_another_prompt(former, work):
            return run
        end = End("failed", question=_INTERRUPTED)
        _write_end(place, run, former, _of_end(former, end), end)
        former = status_writer.current(place, root)
    if former is not None:
        _check_committed(root, name, place, former, finished)
        # The previous run's report is in its journal line, and must not be taken for this run's.
        assert place.meta is not None
        files.remove(place.meta, layout.REPORT)
    now = status_writer.next_instant(former).text
    fields = _of_new_run(former, work) | {"started_at": now, "updated_at": now, START_COMMIT: commit}
    if not commit:
        del fields[START_COMMIT]
    status_writer.replace(place, fields, beside=_beside(place, root, name, former))
    return Run(root, name, fields["runs"], now, True, work.directory, commit)


def _goes_on(former: Current) -> bool:
    """Whether a run is in progress; one without a pid is, until it is finished."""
    status = former.status
    if status.status != _RUNNING:
        return False
    return not status.pid or is_alive(status.pid, status.updated_at.ns)


def _is_another_prompt(former: Current, work: Work) -> bool:
    """Whether the same agent process was given another prompt; only that process can report it."""
    status = former.status
    if work.pid != status.pid:
        return False
    if work.process_id and status.process_id:
        return work.process_id != status.process_id
    return bool(work.task and status.task) and work.task != status.task


def _of_new_run(former: Current | None, work: Work) -> dict[str, Any]:
    """The fields of a new run: missing ones are kept from the previous run, except its question and process."""
    fields: dict[str, Any] = {**former.fields} if former is not None else {}
    given = {key: getattr(work, key) for key in ("task", "agent", "org", "repo", "branch", "issue")}
    fields = {**dict.fromkeys(given, ""), "issue": 0} | fields | {key: value for key, value in given.items() if value}
    runs = former.status.runs + 1 if former is not None else 1
    return fields | {
        "status": _RUNNING,
        "task": fields["task"] or work.command,
        "pid": work.pid,
        "process_id": work.process_id,
        "question": "",
        "runs": runs,
    }


def _beside(place: Place, root: Root, name: str, former: Current | None) -> bool:
    """Whether the status belongs beside `.meta/`: by the root's layout, or where another dispatcher keeps it."""
    if root.layout != "auto":
        return root.layout == "root"
    if former is None or not former.beside:
        return False
    return layout.status_files(place.directory, "", root, name.count("/") + 1) is not None


def finish(run: Run, end: End, *, unless_finished: bool = False, finished: Collection[str] = FINISHED) -> bool:
    """Record the end of `run`: first its report, then its status. Returns whether anything was written.

    Finishing again with the same result changes nothing; another result replaces the status (completed, later merged),
    except with `unless_finished`. Raises Overtaken when another run or dispatch has begun since, Uncommitted when the
    status to replace is not committed yet, and DispatchError for other errors, including a status that is not in
    `finished`, because it would never be committed.
    """
    if end.status not in finished:
        raise DispatchError(f"{run.path}: {_no_end(end.status, finished)}")
    with _said(run.path), contextlib.closing(workspace_to_use.open_existing(run.root, run.name)) as place:
        place.make_meta(workspace_to_use.DIRECTORY_MODE)
        status_writer.lock(place)
        former = status_writer.current(place, run.root)
        if former is None:
            raise DispatchError(f"{run.path}: has no status; no run was begun there")
        if _overtakes(former, run):
            raise Overtaken(
                f"{run.path}: run {former.status.runs}, begun at {former.status.started_at.text}, is another one; the "
                f"end of run {run.runs} is not written: {end.status}{f', {end.question}' if end.question else ''}"
            )
        fields = _of_end(former, end)
        if former.status.status not in _WAITING and (unless_finished or _stands(place, former, fields, end)):
            return False
        _check_committed(run.root, run.name, place, former, finished)
        _write_end(place, run, former, fields, end)
    return True


def _no_end(status: str, finished: Collection[str]) -> str:
    """The error for a status that is not final, with what to do."""
    if status in _WAITING or not status:
        return f"{status or 'an empty status'} is not a final status; give completed, failed, …"
    return (
        f"{status!r} is not a finished status ({', '.join(sorted(finished))}); "
        "give one of these, or add it to finished in [commit]"
    )


def _overtakes(former: Current, run: Run) -> bool:
    """Whether the current status belongs to another run, even with the same number: a dispatcher may restart
    counting."""
    try:
        started_at = instant.parse(run.started_at).ns
    except ValueError:
        return True  # changed by hand
    return (former.status.runs, former.status.started_at.ns) != (run.runs, started_at)


def _of_end(former: Current, end: End) -> dict[str, Any]:
    given = {"branch": end.branch, "pr_url": end.pr_url}
    fields = {**former.fields, "status": end.status} | {key: value for key, value in given.items() if value}
    if end.question or former.fields.get("question"):
        fields["question"] = end.question
    return fields


def _stands(place: Place, former: Current, fields: Mapping[str, Any], end: End) -> bool:
    """Whether status and report already have this content."""
    if fields != former.fields:
        return False
    if end.report is None:
        return True
    assert place.meta is not None
    with contextlib.suppress(WorkspaceError):
        return files.read(place.meta, layout.REPORT, layout.META_REPORT, _REPORT_LIMIT).data == status_writer.to_bytes(
            end.report
        )
    return False


def _write_end(place: Place, run: Run, former: Current, fields: dict[str, Any], end: End) -> None:
    assert place.meta is not None
    if end.report is not None:
        status_writer.replace_whole(place.meta, layout.REPORT, layout.META_REPORT, status_writer.to_bytes(end.report))
    fields["updated_at"] = status_writer.next_instant(former).text
    beside = _beside(place, run.root, run.name, former)
    if end.report is not None and beside:
        files.sync(
            place.meta, layout.META
        )  # only if the status is elsewhere: in one directory its sync covers the report
    status_writer.replace(place, fields, beside=beside)


class Newest(NamedTuple):
    """The newest run of a workspace, whether it is finished, and its process id text, if any."""

    run: Run
    finished: bool
    process_id: str


def newest_run(root: Root, name: str, directory: str = "") -> Newest:
    """The newest run of the workspace `name`. Raises DispatchError when there is none."""
    with _said(os.path.join(root.path, name)), contextlib.closing(workspace_to_use.open_existing(root, name)) as place:
        former = status_writer.current(place, root)
    if former is None:
        raise DispatchError(f"{os.path.join(root.path, name)}: has no status; no run was begun there")
    run = _run(root, name, former, directory, begun=False)
    return Newest(run, former.status.status not in _WAITING, former.status.process_id)


def _run(root: Root, name: str, former: Current, directory: str, *, begun: bool) -> Run:
    commit: Any = former.fields.get(START_COMMIT)
    status = former.status
    return Run(
        root, name, status.runs, status.started_at.text, begun, directory, commit if isinstance(commit, str) else ""
    )


def _check_committed(root: Root, name: str, place: Place, former: Current, finished: Collection[str]) -> None:
    """Raise Uncommitted if a finished status is not committed yet (without a daemon): overwriting it would lose the
    dispatch."""
    if former.status.status not in finished:
        return
    from agentic_watch.workspace import marker

    assert place.meta is not None
    try:
        mark = marker.read(place.meta)
    except WorkspaceError as error:
        if error.transient:
            raise
        mark = None
    if mark is None or mark.identity != (former.status.updated_at.ns, former.status.runs):
        raise Uncommitted(os.path.join(root.path, name), f"run {former.status.runs} ({former.status.status})")


@contextlib.contextmanager
def dispatching(root: str | Root, work: Work, workspace: str = "") -> Iterator[Run]:
    """`begin` before the block and `finish` after it: completed, or failed when it raises, with the cause."""
    run = begin(root, work, workspace)
    if not run.begun:
        raise DispatchError(
            f"{run.path}: run {run.runs} is in progress there; finish it first, or use another workspace"
        )
    try:
        yield run
    except BaseException as error:
        finish(run, End("failed", question=f"{type(error).__name__}: {error}".rstrip(": ")), unless_finished=True)
        raise
    finish(run, End(), unless_finished=True)


@contextlib.contextmanager
def _said(path: str) -> Iterator[None]:
    """Convert file system and workspace errors to one line that names the workspace."""
    try:
        yield
    except WorkspaceError as error:
        raise DispatchError(f"{path}: {error}") from error
    except OSError as error:
        raise DispatchError(f"{error.filename or path}: {error.strerror}; is the root writable for you?") from error
