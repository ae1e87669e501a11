"""Adds what is missing from what is there, and mends ownership. Never deletes a record."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from agentic_watch.answers.check import fleet_check, history_check, lost_lines, ownership_check
from agentic_watch.answers.check.finding import Check, Finding, Subject, checked
from agentic_watch.commit import Committer
from agentic_watch.config import Config
from agentic_watch.history import workspaces_table
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History, Key
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.names import name_problem
from agentic_watch.workspace.workspace_errors import WorkspaceError


def repair(subject: Subject, checks: Sequence[Check], findings: Sequence[Finding]) -> list[Finding]:
    """Mend what can be, look again, and give the findings with what became of them."""
    wrong = [finding for finding in findings if finding.ok is False]
    refused = [*_mend_ownership(subject, wrong), *_mend_history(subject, wrong), *_mend_records(subject, wrong)]
    refused += _mend_fleet(subject, wrong)
    if not wrong:
        return list(findings)
    still = {_about(finding) for finding in checked(subject, checks) if finding.ok is not True}
    told = [
        replace(finding, repaired=True) if finding in wrong and _about(finding) not in still else finding
        for finding in findings
    ]
    return told + refused


def _about(finding: Finding) -> tuple[str, str, str, str]:
    return finding.check, finding.root, finding.workspace, "" if finding.workspace else finding.text


def _mend_ownership(subject: Subject, wrong: Sequence[Finding]) -> list[Finding]:
    if any(finding.check == "ownership" for finding in wrong):
        try:
            ownership_check.mend(subject)
        except OSError as error:
            return [Finding("ownership", False, f"{error.filename}: cannot be given away: {error.strerror}")]
    return []


def _mend_fleet(subject: Subject, wrong: Sequence[Finding]) -> list[Finding]:
    if any(finding.check == fleet_check.NAME for finding in wrong):
        return fleet_check.mend(subject)
    return []


def _mend_history(subject: Subject, wrong: Sequence[Finding]) -> list[Finding]:
    if any(finding.next_step == history_check.REPAIR and finding.check != "records" for finding in wrong):
        try:
            history_check.mend(subject)
        except HistoryError as error:
            return [Finding("search", False, str(error), "run it as the history's owner")]
    return []


def _mend_records(subject: Subject, wrong: Sequence[Finding]) -> list[Finding]:
    """Have each workspace read as if nothing was known of it: what one record lacks comes from the others."""
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
                refused.append(Finding("records", False, text, "", root, name))
    finally:
        committer.close()
        history.close()
    return refused


def _mend_workspace(config: Config, committer: Committer, candidate: Candidate, missing: Collection[Key]) -> str:
    """Why it could not be repaired, "" when nothing stood in the way."""
    try:
        workspaces_table.remember(committer.history, (), [(candidate.root.key, candidate.name)])
        lost_lines.restore(config, candidate, missing)
        outcome = committer.commit(candidate)
    except (WorkspaceError, HistoryError) as error:
        return str(error)
    return outcome.cause or outcome.history_error
