"""One dispatch of a fleet, whole: what every host's commits tell of it. Its workspace is on another machine's disk."""

from __future__ import annotations

import re
from typing import Any

from agentic_watch.answers.past import kept_content
from agentic_watch.answers.past.kept_content import NOTHING_KEPT, Kept
from agentic_watch.answers.past.one_dispatch import NoSuchDispatch, Shown, plain
from agentic_watch.answers.past.outcomes import Outcomes
from agentic_watch.answers.past.source import Source
from agentic_watch.history.columns import FINDING_COLUMNS
from agentic_watch.history.history_errors import HistoryError

_COMMIT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def fleet_dispatch(asked: Source, given: str) -> Shown:
    """What a fleet knows of a workspace, by its name, or of a commit_id. Raises NoSuchDispatch and HistoryError."""
    rows = _commits(asked, given)
    chosen = rows[-1]
    if _COMMIT_ID.fullmatch(given.lower()):
        chosen = next(row for row in rows if row["commit_id"] == given.lower())
    commits = [{name: value for name, value in row.items() if name != "report"} for row in rows]
    return Shown(
        root=chosen["root"],
        workspace=chosen["workspace"],
        dispatch=plain(chosen),
        commits=tuple(map(plain, commits)),
        findings=tuple(_findings(asked, chosen)),
        on_disk=None,
        state=None,
        kept=_kept(asked, chosen),
    )


def _kept(asked: Source, row: dict[str, Any]) -> Kept:
    """What is kept of its files; nothing where a fleet's tables are older, or hidden from this role."""
    try:
        return kept_content.kept(asked, row, failed=Outcomes().of(row["status"]) == "failed")
    except HistoryError:
        return NOTHING_KEPT


def _commits(asked: Source, given: str) -> list[dict[str, Any]]:
    """Every commit of the one workspace that is meant, oldest first."""
    table = asked.dialect.commits
    column = "commit_id" if _COMMIT_ID.fullmatch(given.lower()) else "workspace"
    value = given.lower() if column == "commit_id" else given.strip("/")
    sql = f"SELECT DISTINCT d.host_id, d.host, d.root, d.workspace FROM {table} AS d WHERE d.{column} = ?"
    found = list(asked.rows(sql, (value,)))
    if not found:
        raise NoSuchDispatch(f"{given}: no host of the fleet has a workspace of this name, or a commit of this id")
    if len(found) > 1:
        where = ", ".join(sorted(f"{host}:{root}" for _, host, root, _ in found))
        raise NoSuchDispatch(f"{given}: is in several places ({where}); give the id of one commit")
    ((host_id, _, root, workspace),) = found
    where = "d.host_id = ? AND d.root = ? AND d.workspace = ?"
    sql = f"SELECT d.* FROM {table} AS d WHERE {where} ORDER BY d.updated_utc, d.runs"
    return list(asked.named(sql, (host_id, root, workspace)))


def _findings(asked: Source, row: dict[str, Any]) -> list[dict[str, Any]]:
    columns = ", ".join(f'f."{name}"' for name in FINDING_COLUMNS)
    sql = f"SELECT {columns} FROM {asked.dialect.findings} AS f WHERE f.host_id = ? AND f.commit_id = ? ORDER BY f.n"
    return list(asked.named(sql, (row["host_id"], row["commit_id"])))
