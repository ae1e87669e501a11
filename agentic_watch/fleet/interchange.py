"""The interchange format of commits, used by export, import, archives, dead letters and HTTP.

One JSON object per line: the keys of a journal record, and host_id, commit_id, host, root, moved_to and "schema": 1.
With kept files also `kept_files`: a list of name, bytes, kept_from, and the content as `text`, or as `zlib` (base64) if
it is not text.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentic_watch.history import rows
from agentic_watch.history.columns import FINDING_COLUMNS, HISTORY_COLUMNS, report_of
from agentic_watch.history.rows import Row
from agentic_watch.workspace import record
from agentic_watch.workspace import report as reports
from agentic_watch.workspace.jsontext import dump
from agentic_watch.workspace.kept_part import FILES_AT_MOST, LARGEST, KeptFile, expanded, kept_file
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.status import fields
from agentic_watch.workspace.workspace_errors import Malformed

SCHEMA = 1
_RECORD = (
    *("agent", "branch", "committed_at", "issue", "org", "pr_url", "process_id", "question", "repo", "runs"),
    *("started_at", "status", "task", "updated_at", "workspace"),
)
_PLACE = ("host", "root", "moved_to")
_SHORT = 64
_LONGEST_NAME = 2_100
_CHANGES = ("files_changed", "insertions", "deletions")


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of the history: the columns of `dispatch_history` by name, its findings in order, and its kept
    files."""

    columns: Mapping[str, Any]
    findings: Sequence[tuple[Any, ...]] = ()
    kept: Sequence[KeptFile] = ()

    @property
    def id(self) -> int:
        """Its id in this host's history; 0 for a commit from elsewhere."""
        number: int = self.columns.get("id", 0)
        return number

    @property
    def commit_id(self) -> str:
        """Its globally unique id."""
        text: str = self.columns["commit_id"]
        return text


def document(commit: Commit, host_id: str) -> dict[str, Any]:
    """The object of one commit."""
    columns = commit.columns
    found: dict[str, Any] = {key: columns[key] for key in _RECORD}
    report = report_of(columns["report"])
    large = {
        "report": report,
        # A line of another writer may have findings and changes without a report.
        "findings": reports.findings(report) or [_finding(item) for item in commit.findings],
        "changes": reports.changes(report) or {key: columns[key] for key in _CHANGES if columns[key] is not None},
    }
    found |= {key: value for key, value in large.items() if value}
    whose = {"host_id": host_id, "commit_id": commit.commit_id} | {key: columns[key] for key in _PLACE}
    kept = {"kept_files": [_of_kept(file) for file in commit.kept]} if commit.kept else {}
    return {**found, **whose, **kept, "schema": SCHEMA}


def line(found: Mapping[str, Any]) -> str:
    """The object as one line with sorted keys, without a newline."""
    return dump(found)


_SAID = "ifnull(report, '{}')"
_PLAIN = f"""
    json_valid({_SAID}) AND json_type({_SAID}) = 'object' AND instr({_SAID}, '\\u') = 0
    AND ifnull(json_type({_SAID}, '$.findings'), 'array') = 'array'
    AND NOT EXISTS (SELECT 1 FROM json_each({_SAID}, '$.findings') WHERE type <> 'object')
    AND (findings_count = 0 OR json_array_length({_SAID}, '$.findings') > 0)
    AND ifnull(json_type({_SAID}, '$.changes'), 'object') = 'object'
    AND (json_extract({_SAID}, '$.changes') <> '{{}}' OR coalesce({", ".join(_CHANGES)}) IS NULL)"""
"""Whether `document` needs nothing but the report, and no text in that may contain half of a surrogate pair."""
_LARGE = {
    "report": f"iif({_SAID} <> '{{}}', json(report), NULL)",
    "findings": f"iif(json_array_length({_SAID}, '$.findings') > 0, json_extract({_SAID}, '$.findings'), NULL)",
    "changes": f"nullif(json_extract({_SAID}, '$.changes'), '{{}}')",
}


def line_in_sql(host_id: str) -> str:
    """SQL expression for the line of a row without kept files, which takes a fifth of the time.

    NULL for rows that need `document`.
    """
    small = {key: f"json_quote({key})" for key in (*_RECORD, *_PLACE, "commit_id")}
    small |= {"host_id": f"json_quote('{host_id}')", "schema": f"{SCHEMA}"}
    form, values = [], []
    for key, value in sorted((small | _LARGE).items()):
        form.append("%s" if key in _LARGE else f'"{key}":%s,')
        values.append(f"""ifnull('"{key}":' || {value} || ',', '')""" if key in _LARGE else value)
    # One function call instead of ||, which copies the preceding text for each part; the last key is always present.
    return f"iif({_PLAIN}, printf('{{{''.join(form)[:-1]}}}', {', '.join(values)}), NULL)"


def row(found: Mapping[str, Any]) -> Row:
    """The history row of an object. Raises Malformed, or KeyError when `root` or `host` is missing."""
    moved_to = fields(dict(found), "commit", ("moved_to",))["moved_to"] or None
    made = rows.from_record(record.from_object(dict(found)), found["root"], found["host"], moved_to)
    return made._replace(kept=_kept(found["kept_files"])) if found.get("kept_files") else made


def commit(found: Mapping[str, Any], number: int = 0) -> Commit:
    """Convert an object back to its commit; `number` is its id in the history, if any. Raises like `row`."""
    made = row(found)
    columns = dict(zip(HISTORY_COLUMNS, made.values, strict=True))
    return Commit(
        {**columns, "id": number, "commit_id": found["commit_id"], "moved_to": made.moved_to}, made.findings, made.kept
    )


def _finding(values: Sequence[Any]) -> dict[str, Any]:
    return {key: value for key, value in zip(FINDING_COLUMNS, values, strict=True) if value is not None}


def _of_kept(file: KeptFile) -> dict[str, Any]:
    whole: dict[str, Any] = {"name": file.name, "bytes": file.size, "kept_from": file.kept_from}
    data = file.data
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return {**whole, "zlib": base64.b64encode(file.content).decode("ascii")}
    if len(dump({"": text})) > 2 * len(data) + _SHORT:  # controls take six characters each
        return {**whole, "zlib": base64.b64encode(file.content).decode("ascii")}
    return {**whole, "text": text}


def _kept(given: Any) -> tuple[KeptFile, ...]:
    """The kept files of an untrusted object. Raises Malformed."""
    if not isinstance(given, list) or len(given) > FILES_AT_MOST or not all(isinstance(one, dict) for one in given):
        raise Malformed("commit", f"kept_files is no list of at most {FILES_AT_MOST} objects")
    found = tuple(map(_kept_file, given))
    if len({file.name for file in found}) < len(found):
        raise Malformed("commit", "kept_files has a name twice")
    return found


def _kept_file(given: Mapping[str, Any]) -> KeptFile:
    name, size, kept_from = (given.get(key) for key in ("name", "bytes", "kept_from"))
    if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME or name_problem(name):
        raise Malformed("commit", "kept_files has an invalid name")
    if type(size) is not int or type(kept_from) is not int or not 0 <= kept_from <= size < 2**63:
        raise Malformed("commit", "kept_files has invalid sizes")
    return kept_file(name, size, kept_from, _content(given))


def _content(given: Mapping[str, Any]) -> bytes:
    text, packed = given.get("text"), given.get("zlib")
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")[:LARGEST]
    try:
        return expanded(base64.b64decode(packed, validate=True))  # type: ignore[arg-type]
    except (ValueError, TypeError, zlib.error):
        raise Malformed("commit", "kept_files has neither text nor zlib in base64") from None
