"""What must be done and true before old commits go: the journals are taken in, and whoever gets copies has them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agentic_watch.commit.committer import Committer
from agentic_watch.commit.outcome import Verdict
from agentic_watch.config import Config, Root
from agentic_watch.exchange.pruning import Old
from agentic_watch.fleet import outbox
from agentic_watch.fleet.delivered import delivered
from agentic_watch.fleet.push_state import StateError
from agentic_watch.history import pruned, queries
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.inventory.rescan import Counts, rescan
from agentic_watch.scan import RootUnavailable, ScanError, scan
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.workspace_errors import Fault


@dataclass(frozen=True, slots=True)
class TakenIn:
    """How many rows came from journals, and each place whose journals could not be read, in one line."""

    recovered_rows: int
    unread: tuple[str, ...]


def take_in(config: Config, history: History, on_scanned: Callable[[int], None]) -> TakenIn:
    """Insert each line that the journals of the roots have and the history lacks; nothing else is written.

    What is pruned later and was in no row would never become one. Raises HistoryError, HistoryRefused.
    """
    committer, last_seen = Committer(config, history), LastSeen(history)
    recovered, unread = 0, []
    scanned = 0
    try:
        for root in config.roots:
            counts = Counts()
            try:
                for found in rescan(root, last_seen, config.finished, counts):
                    on_scanned(scanned + counts.scanned)
                    if isinstance(found, ScanError):
                        unread.append(f"{root.path}/{found.name}: {found.cause}; its subdirectories are skipped")
                    elif found is not None:
                        rows, cause = _recover(committer, found)
                        recovered += rows
                        unread += [f"{root.path}/{found.name}: {cause}"] if cause else []
            except RootUnavailable as error:
                unread.append(_away(root, error))
            scanned += counts.scanned
    finally:
        committer.close()
    return TakenIn(recovered, tuple(unread))


def _recover(committer: Committer, candidate: Candidate) -> tuple[int, str]:
    """(rows from a workspace's journal, why it could not be read). Raises HistoryError."""
    outcome = committer.judge(candidate, recover=True)
    if outcome.history_error:
        raise HistoryError(outcome.history_error)
    # What lies in the workspace is no line that could become a row.
    failed = outcome.verdict is Verdict.FAILED and outcome.fault is not Fault.WORKSPACE
    return outcome.recovered_rows, outcome.cause if failed else ""


def away(config: Config) -> list[str]:
    """Each root that cannot be looked into, in one line."""
    return [text for root in config.roots if (text := _cause(root))]


def _cause(root: Root) -> str:
    try:
        with contextlib.closing(scan(root)) as found:
            next(found, None)
    except RootUnavailable as error:
        return _away(root, error)
    return ""


def _away(root: Root, error: RootUnavailable) -> str:
    return f"{root.path}: is away ({error.cause}); what only its journals hold would never become a row"


def undelivered(config: Config, found: Old) -> Iterator[str]:
    """Each [[push]] target that lacks commits which are to go, in one line. Raises HistoryError, HistoryRefused."""
    try:
        targets = delivered(config.history, config.push)
    except StateError as error:
        yield from (f"[[push]] {target.name}: what it has cannot be known ({error})" for target in config.push)
        return
    for one in targets:
        only, statuses = outbox.with_status(one.target.statuses)
        older = pruned.older("d", "?1")
        sql = f"SELECT count(*) FROM dispatch_history AS d WHERE {older} AND d.id > ?2 AND d.id <= ?3{only}"
        with queries.reading(config.history) as connection:
            (count,) = connection.execute(sql, (found.before, one.last_id, found.last_id, *statuses)).fetchone()
        if count:
            text = f"[[push]] {one.target.name}: lacks {count:,} of the commits that are to go"
            yield f"{text}; `agentic-watch push` sends them"
