"""What lies on the disk and in the history at one moment, as another program reads it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from agentic_watch.config import FINISHED
from agentic_watch.workspace import instant

ZERO = "0001-01-01T00:00:00Z"
_ZERO_UTC = instant.parse(ZERO).utc()

Where = tuple[str, str]
"""(root's key, name): where a workspace is, or was when it was committed."""
Key = tuple[str, int]
"""(`updated_utc`, runs)."""
Said = tuple[str, str]
"""(status, question)."""


class Dispatch(NamedTuple):
    """What makes a finish the same wherever its directory goes."""

    utc: str
    runs: int
    started_at: str
    org: str
    repo: str
    task: str
    agent: str
    branch: str

    @property
    def key(self) -> Key:
        return self.utc, self.runs

    def __repr__(self) -> str:
        told = (self.task, self.branch, self.agent, self.org, self.repo, self.started_at[:16])
        return f"<{self.utc} run {self.runs}: {', '.join(text for text in told if text)}>"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Dispatch:
        """That of a status or of a journal line."""
        texts = (document.get(name) or "" for name in ("org", "repo", "task", "agent", "branch"))
        utc = instant.parse(document.get("updated_at") or ZERO).utc()
        return cls(utc, document.get("runs", 0), document.get("started_at") or ZERO, *texts)


class Line(NamedTuple):
    """One record of a journal."""

    name: str
    dispatch: Dispatch
    said: Said
    committed_at: str


class Mark(NamedTuple):
    """A marker."""

    name: str
    key: Key
    committed_at: str


class Row(NamedTuple):
    """One row of `dispatch_history`; `all` is the whole of it, but for its number. `seen_at` is where `moved_to` says
    that it is, as far as that is below a root."""

    where: Where
    dispatch: Dispatch
    said: Said
    committed_at: str
    moved_to: str | None
    host: str
    all: str
    seen_at: Where | None = None

    def __repr__(self) -> str:
        return f"Row{self[:6]}"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A directory with a status or a journal. `dispatch` and `said` are those of a finished status."""

    has_status: bool = False
    dispatch: Dispatch | None = None
    said: Said = ("", "")
    journal: bytes = b""
    lines: tuple[Line, ...] = ()
    mark: Mark | None = None
    marker: bytes = b""

    @property
    def whole(self) -> bytes:
        """The journal without the piece of a line at its end."""
        return self.journal[: self.journal.rfind(b"\n") + 1]

    @property
    def has_broken_lines(self) -> bool:
        """Whether a whole line of the journal is no record: another program wrote on after half a line."""
        return self.whole.count(b"\n") > len(self.lines)

    def names(self, dispatch: Dispatch) -> set[str]:
        """The names under which the journal holds a dispatch."""
        return {line.name for line in self.lines if line.dispatch == dispatch}

    def is_marked(self, dispatch: Dispatch) -> bool:
        """Whether the marker is that of a dispatch: of the line that was written with it, else of its time and run."""
        if self.mark is None or self.mark.key != dispatch.key:
            return False
        name, key, committed_at = self.mark
        beside = (line for line in self.lines if (line.name, line.committed_at) == (name, committed_at))
        its = [line.dispatch for line in beside if line.dispatch.key == key]
        return dispatch in its or not its


@dataclass(frozen=True, slots=True)
class Records:
    """All of one moment. `rows` by (where, key)."""

    workspaces: Mapping[Where, Workspace] = field(default_factory=dict)
    rows: Mapping[tuple[Where, Key], Row] = field(default_factory=dict)
    pruned_before: str = ""

    def at(self, where: Where) -> Workspace:
        """The workspace there, an empty one when there is none."""
        return self.workspaces.get(where) or Workspace()

    def rows_of(self, dispatch: Dispatch) -> Iterator[Row]:
        """Its rows, under whatever names."""
        return (row for row in self.rows.values() if row.dispatch == dispatch)

    def has_row(self, name: str, dispatch: Dispatch) -> bool:
        """Whether there is a row of this dispatch under this name, of whatever root."""
        return any(row.where[1] == name for row in self.rows_of(dispatch))

    def names_told(self, where: Where, dispatch: Dispatch) -> set[str]:
        """The names under which journal and marker there hold a dispatch."""
        there = self.at(where)
        marked = {there.mark.name} if there.mark is not None and there.is_marked(dispatch) else set()
        return there.names(dispatch) | marked

    def rows_told(self, where: Where, dispatch: Dispatch) -> Iterator[Row]:
        """The rows of a dispatch that is found there: made under a name by which journal or marker hold it, made there,
        or of what is there now."""
        names = self.names_told(where, dispatch)
        return (row for row in self.rows_of(dispatch) if row.where[1] in names or where in (row.where, row.seen_at))

    def is_recorded(self, where: Where, dispatch: Dispatch) -> bool:
        """Whether a dispatch that is found there has its row, there or where a copy's line came from."""
        places = [where, *self._homes(where, dispatch)]
        return any(True for place in places for _ in self.rows_told(place, dispatch))

    def _homes(self, where: Where, dispatch: Dispatch) -> Iterator[Where]:
        """The workspaces that lines there name, and that have these lines."""
        for line in self.at(where).lines:
            for place, there in self.workspaces.items():
                is_named = line.name != where[1] and place[1] == line.name and there.has_status
                if line.dispatch == dispatch and is_named and line in there.lines:
                    yield place

    def is_elsewhere(self, where: Where, dispatch: Dispatch) -> bool:
        """Whether journal or marker there name a row of another place."""
        names = self.names_told(where, dispatch)
        return any(row.where != where and row.where[1] in names for row in self.rows_of(dispatch))

    def has_own_row(self, where: Where, dispatch: Dispatch) -> bool:
        """Whether there is a row of this dispatch that was committed there."""
        row = self.rows.get((where, dispatch.key))
        return row is not None and row.dispatch == dispatch

    def names_in_force(self, where: Where, dispatch: Dispatch, after: Records) -> set[str]:
        """The names under which the journal there holds a dispatch, but for those whose row another dispatch has, or
        has got back by now: that of a workspace's own line goes first."""
        rows = ((name, after.rows.get(((where[0], name), dispatch.key))) for name in self.at(where).names(dispatch))
        return {name for name, row in rows if row is None or row.dispatch == dispatch or after.has_row(name, dispatch)}

    def is_old(self, dispatch: Dispatch, committed_at: str) -> bool:
        """Whether a row of it would have been pruned."""
        return age(dispatch.utc, committed_at) < self.pruned_before

    def was_done(self, where: Where, dispatch: Dispatch, *, by_marker: bool = True) -> bool:
        """Whether a line or a marker tells of a dispatch that would have been pruned."""
        there = self.at(where)
        tells = [line.committed_at for line in there.lines if line.dispatch == dispatch]
        if by_marker and there.mark is not None and there.is_marked(dispatch):
            tells.append(there.mark.committed_at)
        return any(self.is_old(dispatch, committed_at) for committed_at in tells)


def age(utc: str, committed_at: str) -> str:
    """The instant by which a commit is pruned: Go's zero time tells none."""
    return instant.parse(committed_at).utc() if utc == _ZERO_UTC else utc


def workspace(directory: Path, layout: str) -> Workspace | None:
    """What a directory holds, None when that is neither a status nor a journal."""
    meta = directory / ".meta"
    status = status_of(directory, layout)
    journal, marker = _bytes(meta / "journal.jsonl"), _bytes(meta / "commit.json")
    if status is None and not journal:
        return None
    dispatch, said = None, ("", "")
    if status is not None and status["status"] in FINISHED:
        dispatch, said = Dispatch.of(status), _said(status)
    return Workspace(status is not None, dispatch, said, journal, tuple(_lines(journal)), _mark(marker), marker)


def status_of(directory: Path, layout: str) -> dict[str, Any] | None:
    """The status that counts in this layout: the newer one, that of `.meta/` in a tie."""
    places = {"meta": (directory / ".meta",), "root": (directory,)}.get(layout, (directory / ".meta", directory))
    found = [json.loads(text) for place in places if (text := _bytes(place / "status.json"))]
    return max(found, key=lambda document: instant.parse(document["updated_at"]).ns) if found else None


def rows(history: Path, roots: Mapping[str, str] | None = None) -> tuple[dict[tuple[Where, Key], Row], str]:
    """All rows, and `pruned_before`. `roots` are their keys by their paths."""
    if not is_made(history):
        return {}, ""
    with contextlib.closing(sqlite3.connect(f"file:{history}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        found = [_row(dict(row), roots or {}) for row in connection.execute("SELECT * FROM dispatch_history")]
        (pruned_before,) = connection.execute("SELECT ifnull(max(pruned_before), '') FROM about").fetchone()
    return {(row.where, row.dispatch.key): row for row in found}, pruned_before


def history_id(history: Path) -> str:
    """Which history a file is, or is a copy of."""
    with contextlib.closing(sqlite3.connect(f"file:{history}?mode=ro", uri=True)) as connection:
        return str(connection.execute("SELECT max(history_id) FROM about").fetchone()[0])


def is_made(history: Path) -> bool:
    """Whether there is a history: its making may have been ended by a kill."""
    if not history.exists():
        return False
    with contextlib.closing(sqlite3.connect(f"file:{history}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("PRAGMA user_version").fetchone()[0])


def archived(lines: Iterable[str], roots: Mapping[str, str]) -> dict[tuple[Where, Key], Row]:
    """The rows of an archive or an export, which has one a line. `roots` as for `rows`."""
    found = [_row({"moved_to": None, "id": 0, **json.loads(line)}, roots) for line in lines]
    return {(row.where, row.dispatch.key): row for row in found}


def _row(columns: dict[str, Any], roots: Mapping[str, str]) -> Row:
    del columns["id"]
    where = columns["root"], columns["workspace"]
    parts = columns["committed_at"], columns["moved_to"], columns["host"], repr(sorted(columns.items()))
    return Row(where, Dispatch.of(columns), _said(columns), *parts, _place(where[0], columns["moved_to"], roots))


def _place(root: str, moved_to: str | None, roots: Mapping[str, str]) -> Where | None:
    """A name below the row's own root, or a path below another one."""
    if moved_to is None or not moved_to.startswith("/"):
        return (root, moved_to) if moved_to is not None else None
    below = ((key, moved_to[len(path) + 1 :]) for path, key in roots.items() if moved_to.startswith(f"{path}/"))
    return next(below, None)


def _said(document: Mapping[str, Any]) -> Said:
    return document["status"], document.get("question") or ""


def _lines(journal: bytes) -> Iterator[Line]:
    """Those that are records; what was appended to half a line is none."""
    for text in journal.split(b"\n"):
        with contextlib.suppress(ValueError):
            found = json.loads(text)
            yield Line(found["workspace"], Dispatch.of(found), _said(found), found["committed_at"])


def _mark(marker: bytes) -> Mark | None:
    with contextlib.suppress(ValueError):
        found = json.loads(marker)
        return Mark(found["workspace"], Dispatch.of(found).key, found["committed_at"])
    return None


def _bytes(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return path.read_bytes()
    return b""
