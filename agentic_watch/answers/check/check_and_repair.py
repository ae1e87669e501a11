"""All checks in order, and `check --repair`, which rebuilds missing records from existing ones and fixes ownership.

Never deletes a record. Missing journal lines are rewritten from the history's rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from agentic_watch.answers.check import access_checks, history_check
from agentic_watch.answers.check.access_checks import metrics_file, ownership, roots_there, roots_writable
from agentic_watch.answers.check.check_result import Check, CheckResult, Subject, checked
from agentic_watch.answers.check.configuration_check import configuration
from agentic_watch.answers.check.history_check import history
from agentic_watch.answers.check.host_checks import clock, limits, space
from agentic_watch.answers.check.quick_check import waiting
from agentic_watch.answers.check.record_comparison import WorkspaceRecords, dispatch_of, read_place
from agentic_watch.answers.check.records_check import records
from agentic_watch.answers.check.service_checks import daemon, unit_files, units_in_force, users
from agentic_watch.commit.committer import Committer
from agentic_watch.config import Config
from agentic_watch.daemon.daemon_state import Liveness, pulse
from agentic_watch.fleet import interchange
from agentic_watch.fleet.interchange import Commit
from agentic_watch.history import HistoryError, opening, workspaces_table
from agentic_watch.history.columns import FINDING_COLUMNS
from agentic_watch.history.commit_lookup import Key
from agentic_watch.history.rows import HOST
from agentic_watch.history.store import History
from agentic_watch.host.retry import every, wait_until
from agentic_watch.workspace import journal, record
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.layout import META, name_problem
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.workspace_errors import WorkspaceError

ALL: Sequence[Check] = (
    *(configuration, metrics_file, unit_files, units_in_force, users, ownership, roots_there, roots_writable, limits),
    *(space, clock, daemon, history, waiting, records),
)


_OF_THE_HISTORY = ("ownership", "history", "search")
_NOTICE_SECONDS = 10.0
"""Twice the interval at which the daemon tries a history that it cannot use."""


def repair(subject: Subject, checks: Sequence[Check], findings: Sequence[CheckResult]) -> list[CheckResult]:
    """Repair what is possible, check again, and return the results of both checks, with repaired ones marked."""
    wrong = [finding for finding in findings if finding.ok is False]
    refused = [*_mend_ownership(subject, wrong), *_mend_history(subject, wrong), *_mend_records(subject, wrong)]
    refused += _mend_fleet(subject, wrong)
    if not wrong:
        return list(findings)
    if any(finding.check in _OF_THE_HISTORY for finding in wrong):
        _let_the_daemon_notice(subject)
    after = [finding for finding in checked(subject, checks) if finding.ok is not True]
    still, known = {_about(finding) for finding in after}, {_about(finding) for finding in findings}
    told = [
        replace(finding, repaired=True) if finding in wrong and _about(finding) not in still else finding
        for finding in findings
    ]
    return [*told, *(finding for finding in after if _about(finding) not in known), *refused]


def _let_the_daemon_notice(subject: Subject) -> None:
    """Wait until the daemon's state no longer holds an error of the history that was just repaired."""

    def is_told() -> bool:
        how, state = pulse(subject.config.history)
        return how is not Liveness.RUNNING or state is None or not state.history_error

    wait_until(is_told, every(0.1, _NOTICE_SECONDS))


def _about(finding: CheckResult) -> tuple[str, str, str, str]:
    return finding.check, finding.root, finding.workspace, finding.text


def _mend_ownership(subject: Subject, wrong: Sequence[CheckResult]) -> list[CheckResult]:
    if any(finding.check == "ownership" for finding in wrong):
        try:
            access_checks.mend(subject)
        except OSError as error:
            return [CheckResult("ownership", False, f"{error.filename}: cannot be given away: {error.strerror}")]
    return []


def _mend_fleet(subject: Subject, wrong: Sequence[CheckResult]) -> list[CheckResult]:
    if any(finding.check == "fleet" for finding in wrong):
        from agentic_watch.answers.check import fleet_check  # late: a sixth of the imports of `check --quick`

        return fleet_check.mend(subject)
    return []


def _mend_history(subject: Subject, wrong: Sequence[CheckResult]) -> list[CheckResult]:
    if any(finding.next_step == history_check.REPAIR and finding.check != "records" for finding in wrong):
        try:
            history_check.mend(subject)
        except HistoryError as error:
            return [CheckResult("search", False, str(error), "run it as the history's owner")]
    return []


def _mend_records(subject: Subject, wrong: Sequence[CheckResult]) -> list[CheckResult]:
    """Commit each workspace without its index entry, so that missing records are rebuilt from the others."""
    wanted: dict[tuple[str, str], set[Key]] = {}
    for finding in wrong:
        if finding.check == "records" and not name_problem(finding.workspace):
            missing = wanted.setdefault((finding.root, finding.workspace), set())
            missing |= {finding.missing_line} if finding.missing_line is not None else set()
    roots = {root.key: root for root in subject.config.roots}
    history = History(subject.config.history)
    committer = Committer(subject.config, history)
    refused = []
    try:
        for (root, name), missing in wanted.items():
            if cause := _mend_workspace(subject.config, committer, Candidate(roots[root], name), missing):
                text = f"{root}/{name}: could not be repaired: {cause}"
                refused.append(CheckResult("records", False, text, "", root, name))
    finally:
        committer.close()
        history.close()
    return refused


def _mend_workspace(config: Config, committer: Committer, candidate: Candidate, missing: Collection[Key]) -> str:
    """Repair one workspace; returns the error, "" on success."""
    try:
        workspaces_table.remember(committer.history, (), [candidate.key])
        restore(config, candidate, missing)
        outcome = committer.commit(candidate)
    except (WorkspaceError, HistoryError) as error:
        return str(error)
    return outcome.cause or outcome.history_error


# Not for rows of other hosts or moved workspaces: their lines are elsewhere.
_ROWS = "SELECT * FROM dispatch_history WHERE root = ? AND workspace = ? AND host = ? AND moved_to IS NULL ORDER BY id"
_FINDINGS = f"""
SELECT {", ".join(f'"{name}"' for name in FINDING_COLUMNS)} FROM findings WHERE dispatch_id = ? ORDER BY id"""


def restore(config: Config, candidate: Candidate, missing: Collection[Key]) -> None:
    """Append the missing line for each of these rows, and move a torn last line aside.

    Only for rows of dispatches that are still in the workspace. Raises WorkspaceError, HistoryError.
    """
    place = open_place(candidate.root.path, candidate.name)
    try:
        place.make_meta()
        if not place.lock():
            raise WorkspaceError(META, "is held by another process", transient=True)
        there = read_place(config, candidate, place, now=candidate.changed_at)
        if missing or there.warnings:
            _append_missing(config, candidate, place, there, missing)
    finally:
        place.close()


def _append_missing(
    config: Config, candidate: Candidate, place: Place, there: WorkspaceRecords, missing: Collection[Key]
) -> None:
    assert place.meta is not None
    standing = there.on_disk({}, {}).standing
    opened = journal.open_journal(place.meta, config.limits)
    try:
        if opened.descriptor is not None:
            opened.repair_tail()
        for recorded in _recorded(config.history, candidate):
            one = record.redacted(recorded, opened.without)
            key = one.updated_at.utc(), one.runs
            if key in missing and key not in there.own and dispatch_of(one) in standing:
                opened.append(one.line())
        if opened.descriptor is not None:
            opened.sync()
    finally:
        opened.close()


def _recorded(history: str, candidate: Candidate) -> Iterator[Record]:
    """The records that the history has of a workspace, oldest first."""
    with opening.reading(history) as connection:
        cursor = connection.execute(_ROWS, (candidate.root.key, candidate.name, HOST))
        names = [column[0] for column in cursor.description]
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            commit = Commit(row, connection.execute(_FINDINGS, (row["id"],)).fetchall())
            yield record.from_line(interchange.line(interchange.document(commit, host_id="")).encode("utf-8"))
