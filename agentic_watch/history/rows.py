"""From a record to the history's rows: the derived columns are made here, and nowhere else."""

from __future__ import annotations

import json
import sys
from typing import Any, NamedTuple

from agentic_watch.history.columns import FINDING_COLUMNS, HISTORY_COLUMNS, model_of, usage_values
from agentic_watch.host import digests
from agentic_watch.workspace import report as reports
from agentic_watch.workspace.jsontext import dump
from agentic_watch.workspace.kept_file import KeptFile
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.unwritten_end import is_unwritten

_REPORT = HISTORY_COLUMNS.index("report")
_ROW_BYTES = 1000
_FINDING_BYTES = 150
_INT64 = range(-(2**63), 2**63)
_NUMBERS = frozenset({"line", "column"})


class Row(NamedTuple):
    """A `dispatch_history` row (values in HISTORY_COLUMNS' order), its findings, where its workspace was seen last
    (None: where it was committed), and what is kept of its files; ready to insert. One that `is_recovered` from a line
    is not made beside a row of that dispatch under the same name in another root."""

    values: tuple[Any, ...]
    findings: tuple[tuple[Any, ...], ...]
    moved_to: str | None = None
    is_recovered: bool = False
    kept: tuple[KeptFile, ...] = ()

    @property
    def report(self) -> str | None:
        """The report's JSON text."""
        text: str | None = self.values[_REPORT]
        return text

    @property
    def weight(self) -> int:
        """About how many bytes it takes in memory: a finding of `{}` is a tuple, one of text shares the report's."""
        kept = sum(len(file.content) for file in self.kept)
        return _ROW_BYTES + 2 * sys.getsizeof(self.report) + _FINDING_BYTES * len(self.findings) + kept


def commit_id(root: str, workspace: str, updated_utc: str, runs: int) -> str:
    """What names one commit everywhere: made of its identity, so that each host and each try gives the same."""
    identity = "\0".join((root, workspace, updated_utc, str(runs))).encode(errors="surrogateescape")
    digits = digests.sha256(identity).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


def from_record(record: Record, root: str, host: str, moved_to: str | None = None) -> Row:
    """Make the row of one commit; `root` is the root's key (its name, else its path)."""
    report = _with_files(record)
    changes = record.changes
    updated_utc = record.updated_at.utc()
    values = (
        root,
        record.workspace,
        record.repo,
        record.org,
        record.task,
        record.agent,
        model_of(record.agent, report),
        record.branch,
        record.status,
        record.question,
        record.issue,
        record.runs,
        record.process_id,
        record.pr_url,
        record.started_at.text,
        record.updated_at.text,
        record.committed_at,
        None if record.started_at.is_zero else record.started_at.utc(),
        updated_utc,
        _duration_ms(record),
        *(_flag(report.get(key)) for key in ("passed", "build_passed", "test_passed", "lint_passed")),
        *(_whole(changes.get(key)) for key in ("files_changed", "insertions", "deletions")),
        len(record.findings),
        dump(report) if report else None,
        host,
        commit_id(root, record.workspace, updated_utc, record.runs),
        *usage_values(report),
    )
    return Row(values, tuple(finding_values(item) for item in record.findings), moved_to)


def _with_files(record: Record) -> dict[str, Any]:
    """The report, and where a line names changed files without one, those: they have no column, and are searched."""
    if "files" in record.changes and not reports.changes(record.report):
        return {**record.report, "changes": record.changes}
    return record.report


def _duration_ms(record: Record) -> int | None:
    if record.started_at.is_zero or is_unwritten(record.status, record.question):
        return None
    duration = (record.updated_at.ns - record.started_at.ns) // 1_000_000
    return duration if duration >= 0 else None


def _flag(value: Any) -> int | None:
    return int(value) if isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    return None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, (bool, int, float)) else None


def finding_values(item: dict[str, Any]) -> tuple[Any, ...]:
    """The values of one finding, in FINDING_COLUMNS' order; what does not fit a column is None."""
    return tuple(_whole(item.get(key)) if key in _NUMBERS else _text(item.get(key)) for key in FINDING_COLUMNS)
