"""The record of one finished dispatch: the content of its journal line and history row."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from agentic_watch.config import KNOWN_STATUSES
from agentic_watch.workspace import report as reports
from agentic_watch.workspace.instant import Instant
from agentic_watch.workspace.jsontext import MAX_DEPTH, MAX_VALUES, dump, load_object
from agentic_watch.workspace.layout import META_JOURNAL
from agentic_watch.workspace.redactor import BUILT_IN, Redactor
from agentic_watch.workspace.status import Status, fields
from agentic_watch.workspace.workspace_errors import Malformed

Identity = tuple[int, int]
"""(`updated_at` in nanoseconds, `runs`): identifies a commit of a workspace."""

_REDACTED = ("agent", "branch", "org", "pr_url", "process_id", "question", "repo", "task")
_TEXTS = ("agent", "branch", "org", "pr_url", "process_id", "question", "repo", "status", "task", "workspace")


class Record(NamedTuple):
    """One commit. `committed_at` is UTC in whole seconds; report, findings and changes may be empty."""

    workspace: str
    status: str
    agent: str
    repo: str
    org: str
    task: str
    branch: str
    process_id: str
    question: str
    pr_url: str
    issue: int
    runs: int
    started_at: Instant
    updated_at: Instant
    committed_at: str
    report: dict[str, Any]
    findings: list[dict[str, Any]]
    changes: dict[str, Any]

    @property
    def identity(self) -> Identity:
        """The identity of the commit."""
        return self.updated_at.ns, self.runs

    def line(self) -> bytes:
        """The journal line, newline included: keys sorted, no spaces, UTF-8."""
        document: dict[str, Any] = {key: getattr(self, key) for key in _TEXTS}
        document |= {"issue": self.issue, "runs": self.runs, "committed_at": self.committed_at}
        document |= {"started_at": self.started_at.text, "updated_at": self.updated_at.text}
        large = {key: value for key in ("report", "findings", "changes") if (value := getattr(self, key))}
        if not large:
            return dump(document).encode("utf-8") + b"\n"
        # Encoded in parts: as one text it would take up to eight times its size.
        document |= large
        parts = []
        for is_large, keys in itertools.groupby(sorted(document), large.__contains__):
            if is_large:
                parts += [b'"%s":%s' % (key.encode(), dump(document[key]).encode("utf-8")) for key in keys]
            else:
                parts.append(dump({key: document[key] for key in keys})[1:-1].encode("utf-8"))
        return b"{%s}\n" % b",".join(parts)


def dispatch_of(said: Record | Status) -> tuple[int, str, str, str, str, str]:
    """The fields that stay the same during a dispatch; they distinguish two dispatches with the same identity (Go's
    zero time, a template)."""
    return said.started_at.ns, said.org, said.repo, said.task, said.agent, said.branch


def from_status(
    workspace: str, status: Status, report: dict[str, Any], committed_at: str, without: Redactor = BUILT_IN
) -> Record:
    """Make the record of a finished status (from status.read, already redacted) and of its report, which is redacted
    here."""
    report = without.value(report) if report else {}
    return Record(
        workspace=workspace,
        status=status.status,
        agent=status.agent,
        repo=status.repo,
        org=status.org,
        task=status.task,
        branch=status.branch,
        process_id=status.process_id,
        question=status.question,
        pr_url=status.pr_url,
        issue=status.issue,
        runs=status.runs,
        started_at=status.started_at,
        updated_at=status.updated_at,
        committed_at=committed_at,
        report=report,
        findings=reports.findings(report),
        changes=reports.changes(report),
    )


def redacted(record: Record, without: Redactor) -> Record:
    """Redact a record that others wrote. Workspace, updated_at and runs stay the same."""
    texts = {key: text for key in _REDACTED if (text := getattr(record, key))}
    parts = {key: part for key in ("report", "findings", "changes") if (part := getattr(record, key))}
    changed = {key: value for key, value in without.value(texts).items() if value != texts[key]}
    changed |= {key: value for key, part in parts.items() if (value := without.value(part)) is not part}
    if record.status not in KNOWN_STATUSES:
        changed["status"] = without.text(record.status)
    return record._replace(**changed) if changed else record


def is_same_dispatch(recorded: Record, said: Status, without: Redactor) -> bool:
    """Whether a line and a status belong to the same dispatch, whatever was redacted (`dispatch_of`)."""
    line, status = dispatch_of(recorded), dispatch_of(said)
    return line == status or (
        line[0] == status[0] and all(without.is_same(then, now) for then, now in zip(line[1:], status[1:], strict=True))
    )


LINE_VALUES = 3 * MAX_VALUES
"""A line has the report, and its findings and changes again, so its limit is higher: our own lines must be readable."""


def from_line(line: bytes) -> Record:
    """Parse a journal line, ours or core-agent's. Raises Malformed when it is not a complete record."""
    return from_object(load_object(line, META_JOURNAL, LINE_VALUES, MAX_DEPTH + 1))


def from_object(raw: dict[str, Any]) -> Record:
    """The record of a parsed line. Raises Malformed when it is not complete."""
    report = raw.get("report")
    for name in ("status", "updated_at"):  # the required fields of a status
        if raw.get(name) in (None, ""):
            raise Malformed(META_JOURNAL, f"a line has no {name}")
    found = fields(raw, META_JOURNAL, _TEXTS, ("issue", "runs"), ("started_at", "updated_at", "committed_at"))
    if found["committed_at"].is_zero:
        raise Malformed(META_JOURNAL, "a line has no committed_at")
    found["committed_at"] = found["committed_at"].text
    return Record(
        **found,
        report=report if isinstance(report, dict) else {},
        findings=reports.findings(raw),
        changes=reports.changes(raw),
    )
