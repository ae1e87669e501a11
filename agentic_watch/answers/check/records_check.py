"""The records of every workspace that is on disk: read, compared with the history, and repaired when asked."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.answers.check.parity import OnDisk, contradictions, disagreements
from agentic_watch.config import Config, Root
from agentic_watch.history import identities, queries
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History, Key
from agentic_watch.scan import RootUnavailable, Trouble, scan
from agentic_watch.service import service_user
from agentic_watch.service.root_access import open_for
from agentic_watch.workspace import journal, marker, status
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.names import name_problem
from agentic_watch.workspace.place import Opener, Place
from agentic_watch.workspace.workspace_errors import Malformed, Missing, WorkspaceError

_NAME = "records"
_GROUP = 500
_STUCK_SECONDS = 3600.0
_UNDER_WAY_SECONDS = 0.2
_CORRECT = "its dispatcher must correct it (`agentic-watch dispatch schema status` is the format), or take it away"
_COMPARE = "agentic-watch show tells what differs; a dispatch that is to count needs a time or a run of its own"
_RENAME = "rename it, or add it to the root's ignore"
REPAIR = "agentic-watch check --repair"


def records(subject: Subject) -> Iterator[Finding]:
    """Each workspace in which a record lacks what another has, or that cannot be committed for longer than an hour."""
    seen = wrong = 0
    try:
        pruned = pruned_before(subject.config.history)
        for root in subject.config.roots:
            # That a root is not there is for the check of the roots to say.
            with contextlib.suppress(RootUnavailable), contextlib.closing(scan(root)) as found:
                while group := list(islice(found, _GROUP)):
                    seen += len(group)
                    for finding in _look_twice(subject, root, group, pruned):
                        wrong += 1
                        yield finding
    except HistoryError:
        yield Finding(_NAME, None, f"{subject.config.history}: cannot be compared with what lies in the workspaces")
        return
    if not wrong:
        yield Finding(_NAME, True, f"{seen} workspace{'s' if seen != 1 else ''}: all records agree")


def _look_twice(subject: Subject, root: Root, group: Sequence[Candidate | Trouble], pruned: str) -> Iterator[Finding]:
    """What is wrong and stays wrong: a commit may be under way between a look at the history and one at the disk."""
    first = _look_at_all(subject, root, group, pruned)
    if not first:
        return
    time.sleep(_UNDER_WAY_SECONDS)
    again = _look_at_all(subject, root, [one for one in group if one.name in first], pruned)
    for name, findings in again.items():
        yield from (finding for finding in findings if finding in first[name])


def _look_at_all(
    subject: Subject, root: Root, group: Sequence[Candidate | Trouble], pruned: str
) -> dict[str, list[Finding]]:
    """By workspace, what is wrong with it."""
    rows = _rows(subject.config.history, root, [one.name for one in group])
    looks = {one.name: list(_look(subject, one, rows.get(one.name, {}), pruned)) for one in group}
    return {name: findings for name, findings in looks.items() if findings}


def _look(subject: Subject, found: Candidate | Trouble, rows: Mapping[Key, int], pruned: str) -> Iterator[Finding]:
    """What is wrong with one workspace."""
    where = f"{found.root.key}/{found.name}"
    if problem := name_problem(found.name):
        if isinstance(found, Trouble) or subject.now - found.changed_at > _STUCK_SECONDS:
            yield Finding(_NAME, False, f"{where}: {problem}", _RENAME, found.root.key, found.name)
        return
    if isinstance(found, Trouble):
        yield _out_of_sight(subject, found, f"{where}: {found.cause}; what is below it is not seen")
        return
    try:
        disk = _read(subject.config, found, subject.now, rows)
    except Missing:
        return
    except WorkspaceError as error:
        if error.passing:
            yield _out_of_sight(subject, found, f"{where}: {error}")
        elif subject.now - found.changed_at > _STUCK_SECONDS:
            yield Finding(_NAME, False, f"{where}: {error}", _CORRECT, found.root.key, found.name)
        return
    for text in disagreements(disk, rows.keys(), pruned, subject.patience):
        yield Finding(_NAME, False, f"{where}: {text}", REPAIR, found.root.key, found.name)
    for text in contradictions(disk, rows):
        yield Finding(_NAME, False, f"{where}: {text}", _COMPARE, found.root.key, found.name)


def _out_of_sight(subject: Subject, found: Candidate | Trouble, text: str) -> Finding:
    """What the service's user cannot read either needs an operator; what only this user cannot, it cannot know."""
    if not service_user.can_be_asked(subject.account):
        return Finding(_NAME, None, f"{text} (by this user)", "", found.root.key, found.name)
    step = f"mend its permissions: {open_for(subject.account.name, found.root.path)}"
    return Finding(_NAME, False, text, step, found.root.key, found.name)


def _rows(history: str, root: Root, names: Sequence[str]) -> dict[str, dict[Key, int]]:
    """By workspace, the identities of its rows, and what they say. Raises HistoryError."""
    store = History(history, read_only=True)
    try:
        asked = [name for name in names if not name_problem(name)]
        return identities.contents(store, root.key, asked)
    finally:
        store.close()


def pruned_before(history: str) -> str:
    """Up to when rows were pruned, as `updated_utc` is written, "" when none were. Raises HistoryError."""
    try:
        with queries.reading(history) as connection:
            (found,) = connection.execute("SELECT max(pruned_before) FROM about").fetchone()
            return found or ""
    except HistoryError as error:
        if isinstance(error.__cause__, sqlite3.OperationalError) and "no such table" in str(error.__cause__):
            return ""
        raise


def _read(config: Config, candidate: Candidate, now: float, rows: Mapping[Key, int]) -> OnDisk:
    """Raises WorkspaceError."""
    opener = Opener()
    try:
        place = opener.open(candidate.root.path, candidate.name)
        try:
            return _read_place(config, candidate, place, now, rows)
        finally:
            place.close()
    finally:
        opener.close()


def _read_place(config: Config, candidate: Candidate, place: Place, now: float, rows: Mapping[Key, int]) -> OnDisk:
    said = status.read(place.directory, place.meta, candidate.root, config.limits).status
    finished = (said.updated_at.utc(), said.runs) if said.status in config.finished else None
    waited = now - candidate.changed_at
    content = identities.content(said.status, said.task, said.question)
    if place.meta is None:
        return OnDisk(finished, waited, said=content)
    marked = None
    with contextlib.suppress(Malformed):  # the next commit moves it aside
        found = marker.read(place.meta)
        if found is not None:
            key = found.updated_at.utc(), found.runs
            marked = key if found.workspace == candidate.name or key in rows else None
    lines = _lines(config, candidate, place.meta, rows)
    return OnDisk(finished, waited, marked, lines.keys(), content, lines)


def _lines(config: Config, candidate: Candidate, meta: int, rows: Mapping[Key, int]) -> dict[Key, int]:
    """The identities of its own lines, and of those under a former name that its rows confirm; what they say."""
    own: dict[Key, int] = {}
    former: dict[Key, int] = {}
    opened = journal.open_journal(meta, config.limits, append=False)
    try:
        for line in opened.records():
            key = line.updated_at.utc(), line.runs
            if line.workspace == candidate.name or key in rows:
                lines = own if line.workspace == candidate.name else former
                lines.setdefault(key, identities.content(line.status, line.task, line.question))
    finally:
        opened.close()
    return former | own
