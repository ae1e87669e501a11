"""Checks the records of every workspace on disk against the history."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from agentic_watch import counted
from agentic_watch.answers.check.check_result import STUCK_SECONDS, CheckResult, Subject
from agentic_watch.answers.check.record_comparison import (
    OnDisk,
    Rows,
    Told,
    WorkspaceRecords,
    contradictions,
    disagreements,
    dispatches_of,
    missing_lines,
    named,
    older_lines,
    read_records,
    rows_of,
)
from agentic_watch.config import KNOWN_STATUSES, Root
from agentic_watch.exchange.pruning import in_no_archive
from agentic_watch.history import HistoryError, opening, pruned
from agentic_watch.history.columns import commit_id
from agentic_watch.scan import RootUnavailable, ScanError, scan
from agentic_watch.service import service_user
from agentic_watch.service.root_access import open_for
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.layout import META_JOURNAL, name_problem
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError

_NAME = "records"
_GROUP = 500
_LINES_AT_ONCE = 10_000
_UNDER_WAY_SECONDS = 0.2
_WORD_AT_MOST = 60
_CORRECT = "its dispatcher must correct it (`agentic-watch dispatch schema status` is the format), or remove it"
_COMPARE = "agentic-watch show names the difference; to be recorded, a dispatch needs a new updated_at or runs"
_RENAME = "rename it, or add it to the root's ignore"
_NO_RECORDS = (
    "they cannot be recovered into a new history; check --repair moves a torn last line aside; remove others from the "
    "file once nobody needs them"
)
REPAIR = "agentic-watch check --repair"


@dataclass(slots=True)
class _Look:
    """The state of one check: `elsewhere` are commits whose lines or markers have another name or root than their row,
    `missing` the results for lines that may be among these, `older` the lines older than the last prune, by commit_id,
    with the place of each."""

    subject: Subject
    pruned_before: str
    elsewhere: set[Told] = field(default_factory=set)
    missing: list[CheckResult] = field(default_factory=list)
    older: dict[str, str] = field(default_factory=dict)


def records(subject: Subject) -> Iterator[CheckResult]:
    """Report workspaces with missing or contradicting records, and those that have been failing for over an hour."""
    seen = wrong = 0
    try:
        with opening.reading(subject.config.history) as connection:
            look = _Look(subject, pruned.before(connection))
        for root in subject.config.roots:
            # A missing root is reported by the check of the roots.
            with contextlib.suppress(RootUnavailable), contextlib.closing(scan(root)) as found:
                while group := list(islice(found, _GROUP)):
                    seen += len(group)
                    for finding in _look_twice(look, root, group):
                        wrong += 1
                        yield finding
    except HistoryError:
        yield CheckResult(_NAME, None, f"{subject.config.history}: cannot be compared with the workspaces")
        return
    for finding in look.missing:
        if finding.missing_line is not None and (finding.workspace, *finding.missing_line) not in look.elsewhere:
            wrong += 1
            yield finding
    yield from _older(look)
    if not wrong:
        yield CheckResult(_NAME, True, f"{counted(seen, 'workspace')}: all records agree")


def _older(look: _Look) -> Iterator[CheckResult]:
    """Report lines that were either pruned or never in the history."""
    left = in_no_archive(look.subject.config.history, look.older.keys()) if look.older else []
    if left:
        first, verb = look.older[left[0]], "is" if len(left) == 1 else "are"
        text = (
            f"{counted(len(left), 'journal line')} (the first in {first}) {verb} older than what was pruned (before "
            f"{look.pruned_before[:19]}Z), and neither in the history nor in an archive beside it"
        )
        step = (
            "if no other archive has them, nor one from before a rename-root: "
            f"agentic-watch import --as ROOT WORKSPACE/{META_JOURNAL}"
        )
        yield CheckResult(_NAME, None, text, step)


def _look_twice(look: _Look, root: Root, group: Sequence[Candidate | ScanError]) -> Iterator[CheckResult]:
    """Problems found by two checks in a row: a commit may happen between reading the history and the disk."""
    first = _look_at_all(look, root, group)
    if not first:
        return
    time.sleep(_UNDER_WAY_SECONDS)
    again = _look_at_all(look, root, [one for one in group if one.name in first])
    for name, findings in again.items():
        staying = [finding for finding in findings if finding in first[name]]
        look.missing += [finding for finding in staying if finding.missing_line is not None]
        yield from (finding for finding in staying if finding.missing_line is None)


def _look_at_all(look: _Look, root: Root, group: Sequence[Candidate | ScanError]) -> dict[str, list[CheckResult]]:
    """The problems of each workspace."""
    rows = rows_of(look.subject.config.history, root, [one.name for one in group if not name_problem(one.name)])
    found: dict[str, list[CheckResult]] = {}
    read: list[WorkspaceRecords] = []
    for one in group:
        try:
            there = _read(look.subject, one)
        except _Wrong as wrong:
            found[one.name] = [CheckResult(_NAME, wrong.ok, str(wrong), wrong.step, root.key, one.name)]
            continue
        read += [there] if there is not None else []
        if sum(one.size for one in read) > _LINES_AT_ONCE:
            found |= _compare(look, root, read, rows)
            read = []
    return found | _compare(look, root, read, rows)


def _compare(
    look: _Look, root: Root, read: Sequence[WorkspaceRecords], rows: Mapping[str, Rows]
) -> dict[str, list[CheckResult]]:
    told = {told for one in read for told in one.elsewhere(rows.get(one.name, {}))}
    known = dispatches_of(look.subject.config.history, told)
    look.elsewhere |= known.keys()
    found = {}
    for one in read:
        here = rows.get(one.name, {})
        disk = one.on_disk(known, here)
        for key in older_lines(disk, here, look.pruned_before):
            look.older[commit_id(root.key, one.name, *key)] = f"{root.key}/{one.name}"
        if findings := list(_findings(look, root, one, disk, here)):
            found[one.name] = findings
    return found


def _findings(look: _Look, root: Root, one: WorkspaceRecords, disk: OnDisk, rows: Rows) -> Iterator[CheckResult]:
    where = f"{root.key}/{one.name}"
    texts = [(text, REPAIR) for text in disagreements(disk, rows, look.pruned_before, look.subject.patience)]
    texts += [(text, _COMPARE) for text in contradictions(disk, rows)]
    texts += [(warning, _NO_RECORDS) for warning in one.warnings]
    for text, step in texts:
        yield CheckResult(_NAME, False, f"{where}: {text}", step, root.key, one.name)
    word = one.status.status
    if word not in KNOWN_STATUSES | look.subject.config.finished:
        word = word[:_WORD_AT_MOST]
        text = f"{where}: its status {word!r} is neither finished nor known, so it is not committed"
        step = f'if it is an end, add "{word}" to finished in [commit]'
        ok = False if one.waited > STUCK_SECONDS else None  # it may be an intermediate status
        yield CheckResult(_NAME, ok, text, step, root.key, one.name)
    for key in missing_lines(disk, rows):
        text = f"{where}: {named(key)} has a history row and no journal line"
        yield CheckResult(_NAME, False, text, REPAIR, root.key, one.name, missing_line=key)


class _Wrong(Exception):
    """A workspace cannot be read, to be fixed by `step`; `ok` is None when that is unknown to this user."""

    def __init__(self, text: str, step: str, ok: bool | None = False) -> None:
        super().__init__(text)
        self.step = step
        self.ok = ok


def _read(subject: Subject, found: Candidate | ScanError) -> WorkspaceRecords | None:
    """Read the records of a workspace; None when it is gone, or when its error is too recent. Raises _Wrong."""
    where = f"{found.root.key}/{found.name}"
    if problem := name_problem(found.name):
        if isinstance(found, ScanError) or subject.now - found.changed_at > STUCK_SECONDS:
            raise _Wrong(f"{where}: {problem}", _RENAME)
        return None
    if isinstance(found, ScanError):
        raise _out_of_sight(subject, found, f"{where}: {found.cause}; its subdirectories are skipped")
    try:
        return read_records(subject.config, found, subject.now)
    except Missing:
        return None
    except WorkspaceError as error:
        if error.transient:
            raise _out_of_sight(subject, found, f"{where}: {error}") from error
        if subject.now - found.changed_at > STUCK_SECONDS:
            raise _Wrong(f"{where}: {error}", _CORRECT) from error
        return None


def _out_of_sight(subject: Subject, found: Candidate | ScanError, text: str) -> _Wrong:
    """A problem if the service's user cannot read it either; unknown if only this user cannot."""
    if not service_user.can_be_asked(subject.account):
        return _Wrong(f"{text} (by this user)", "", ok=None)
    return _Wrong(text, f"fix its permissions: {open_for(subject.account.name, found.root.path)}")
