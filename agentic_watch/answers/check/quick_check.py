"""`check --quick`, the probe for monitoring: a few checks that take at most 0.3 s on any host, with few imports.

Reports workspaces that have been failing or waiting for too long, by the index; reads only the files of those.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from agentic_watch import counted
from agentic_watch.answers.check.access_checks import ownership, roots_open, roots_there
from agentic_watch.answers.check.check_result import STUCK_SECONDS, Check, CheckResult, Subject
from agentic_watch.answers.check.service_checks import alive
from agentic_watch.config import Root
from agentic_watch.history import HistoryError, opening
from agentic_watch.inventory.ghosts import is_ghost
from agentic_watch.workspace import layout, status
from agentic_watch.workspace.place import open_place
from agentic_watch.workspace.workspace_errors import WorkspaceError

_AT_MOST = 200
_RUNNING_AT_MOST = 20_000
_FAILING = "SELECT workspace, last_error FROM workspaces WHERE root = ? AND fail_count LIMIT ?"
_RUNNING = "SELECT status, pid FROM workspaces WHERE root = ? AND status IN ('running', 'queued') AND pid > 0 LIMIT ?"
_OPEN = "SELECT workspace FROM workspaces WHERE root = ? AND NOT committed AND NOT fail_count LIMIT ?"


def waiting(subject: Subject) -> Iterator[CheckResult]:
    """Workspaces that have been failing for over an hour, and finished ones that wait too long.

    Ghosts are counted but are no problem of this host: the run ended without a final status.
    """
    clean, ghosts = True, 0
    for root in subject.config.roots:
        try:
            with opening.reading(subject.config.history) as connection:
                failing = connection.execute(_FAILING, (root.key, _AT_MOST)).fetchall()
                unfinished = [name for (name,) in connection.execute(_OPEN, (root.key, _AT_MOST))]
                ghosts += sum(is_ghost(*row) for row in connection.execute(_RUNNING, (root.key, _RUNNING_AT_MOST)))
        except HistoryError as error:
            yield CheckResult("waiting", None, str(error))
            return
        for finding in (*_failing(subject, root, failing), *_finished(subject, root, unfinished)):
            clean = False
            yield finding
    if ghosts:
        text = f"{counted(ghosts, 'ghost')} (status says running, process is gone); see agentic-watch status"
        yield CheckResult("waiting", True, text)
    if clean:
        yield CheckResult("waiting", True, "nothing has failed for over an hour, nothing finished waits too long")


def _failing(subject: Subject, root: Root, rows: list[tuple[str, str]]) -> Iterator[CheckResult]:
    for name, error in rows:
        changed = _changed_at(root, name)
        if changed is not None and subject.now - changed > STUCK_SECONDS:
            text = f"{root.key}/{name}: has failed for over an hour: {error}"
            yield CheckResult("waiting", False, text, "agentic-watch show names the cause", root.key, name)


def _finished(subject: Subject, root: Root, names: list[str]) -> Iterator[CheckResult]:
    """Workspaces that are not committed by the index, and whose status is finished now."""
    for name in names:
        changed = _changed_at(root, name)
        if changed is None or subject.now - changed <= subject.patience or not _is_finished(subject, root, name):
            continue
        text = f"{root.key}/{name}: was finished more than {subject.patience:.0f} s ago and is not committed"
        yield CheckResult("waiting", False, text, "agentic-watch commit names the cause", root.key, name)


def _changed_at(root: Root, name: str) -> float | None:
    """When its status was last written (ctime, which an agent cannot set); None when it no longer exists."""
    told = []
    for file in (layout.META_STATUS, layout.STATUS):
        try:
            told.append(os.lstat(os.path.join(root.path, name, file)).st_ctime)
        except OSError:
            continue
    return max(told, default=None)


def _is_finished(subject: Subject, root: Root, name: str) -> bool:
    try:
        place = open_place(root.path, name)
        try:
            said = status.read(place.directory, place.meta, root, subject.config.limits).status
        finally:
            place.close()
    except WorkspaceError:
        return False
    return said.status in subject.config.finished


QUICK: Sequence[Check] = (alive, ownership, roots_there, roots_open, waiting)
