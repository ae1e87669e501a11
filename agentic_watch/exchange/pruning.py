"""Prunes old commits from the history: inserts rows that only journals have, checks that push targets have everything,
writes an archive, then deletes. Also reads the archives beside the history.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from agentic_watch.commit.committer import Committer
from agentic_watch.commit.outcome import Verdict
from agentic_watch.config import Config, Root
from agentic_watch.exchange import ExchangeError
from agentic_watch.exchange.exporting import host_id
from agentic_watch.exchange.slices import Slices
from agentic_watch.fleet import outbox
from agentic_watch.fleet.backlog import delivered
from agentic_watch.fleet.outbox import Largest
from agentic_watch.fleet.push_state import StateError
from agentic_watch.history import HistoryError, opening, pruned
from agentic_watch.history.store import History
from agentic_watch.host.new_file import new_file
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.inventory.root_scans import Counts, rescan
from agentic_watch.scan import RootUnavailable, ScanError, scan
from agentic_watch.workspace import instant
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.workspace_errors import Fault

_ID = re.compile(rb'"commit_id":"([0-9a-f-]{36})"')


def default_path(history: str) -> str:
    """Default path of a new archive."""
    return f"{history}.pruned-{instant.stamp()}.jsonl"


def in_no_archive(history: str, commit_ids: Collection[str]) -> list[str]:
    """The commit ids that no readable archive beside the history has."""
    left = dict.fromkeys(commit_ids)
    for path in filter(os.path.isfile, sorted(glob.glob(f"{glob.escape(history)}.pruned-*.jsonl"))):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            for line in file:
                # A report may have such a key too.
                if any(found.decode() in left for found in _ID.findall(line)):
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        left.pop(json.loads(line)["commit_id"], None)
    return list(left)


_PAGE = Largest(commits=2_000, bytes=16 << 20)
_AGE = pruned.age("d")
# Ordered by id: otherwise SQLite sorts all older rows again for each slice.
_IN_ORDER = f"NOT INDEXED WHERE d.id > :after AND d.id <= :last AND {pruned.older('d', ':before')}"


@dataclass(frozen=True, slots=True)
class Old:
    """The commits older than `before` (in the format of `updated_utc`): numbers of commits and findings, first and last
    time ("" for none), and the id of the last one: later commits are kept."""

    before: str
    commits: int
    findings: int
    first: str
    last: str
    last_id: int


def old(history: str, before: str) -> Old:
    """Count older commits. Raises HistoryError and HistoryRefused."""
    with opening.reading(history) as connection:
        commits, findings, first, last, last_id = connection.execute(
            f"SELECT count(*), ifnull(sum(findings_count), 0), min({_AGE}), max({_AGE}), max(id) "
            f"FROM dispatch_history AS d WHERE {pruned.older('d', '?1')}",
            (before,),
        ).fetchone()
    return Old(before, commits, findings, first or "", last or "", last_id or 0)


def archive(history: str, found: Old, path: str, on_progress: Callable[[int], None]) -> None:
    """Write the old commits to a new file of interchange lines, durably, with the history's owner.

    `on_progress` is called with the number of further commits. Raises HistoryError, HistoryRefused, ExchangeError.
    """
    whose = host_id(history)
    try:
        with new_file(path, 0o640) as file:
            _give(file.fileno(), history)
            for lines in _pages(history, found, whose):
                file.writelines(f"{line}\n".encode() for line in lines)
                on_progress(len(lines))
    except FileExistsError as error:
        raise ExchangeError(f"{path}: exists; name another file; nothing was pruned") from error
    except OSError as error:
        raise ExchangeError(f"{path}: cannot be written: {error.strerror}; nothing was pruned") from error


def _give(descriptor: int, history: str) -> None:
    """Give the archive to the history's owner, as root only; others own both already."""
    owner = os.stat(history)
    if os.geteuid() == 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _pages(history: str, found: Old, whose: str) -> Iterator[Collection[str]]:
    """The commits' lines in pages; the history is reopened for each, so that nothing waits for the archive."""
    after, is_last = 0, False
    while not is_last:
        with opening.reading(history) as connection:
            which = {"after": after, "last": found.last_id, "before": found.before}
            lines, is_last = outbox.lines(connection, _IN_ORDER, which, _PAGE, whose, files=True)
        yield lines.values()
        after = max(lines, default=0)


def remove(history: History, found: Old, on_progress: Callable[[int], None]) -> None:
    """Delete the archived commits with their findings and search entries, so that no older line or marker brings them
    back.

    First `pruned_before` is stored, then rows are deleted in slices: each is a transaction, and commits run in between.
    An interrupted prune leaves complete commits, which the next one deletes. `on_progress` is called with the number
    deleted. Raises HistoryError, HistoryRefused.
    """
    with history.transaction() as connection:
        connection.execute("UPDATE about SET pruned_before = max(ifnull(pruned_before, ''), ?)", (found.before,))
    slices, gone = Slices(), 0
    which = {"after": 0, "last": found.last_id, "before": found.before}
    while True:
        with history.reading() as connection:
            sql = f"SELECT max(id) FROM (SELECT d.id FROM dispatch_history AS d {_IN_ORDER} ORDER BY d.id LIMIT :size)"
            (last,) = connection.execute(sql, {**which, "size": slices.size}).fetchone()
        if last is None:
            break
        slices.pause()
        gone += history.rebuilding(partial(_delete, history, {**which, "last": last}, slices))
        which["after"] = last
        on_progress(gone)
    history.make_durable()


def _delete(history: History, which: dict[str, Any], slices: Slices) -> int:
    """Delete one slice; returns the number of rows."""
    with history.transaction(durable=False) as connection, slices.one():
        # Triggers delete findings and search entries, and mark the workspaces to be read again.
        return connection.execute(f"DELETE FROM dispatch_history AS d {_IN_ORDER}", which).rowcount


@dataclass(frozen=True, slots=True)
class TakenIn:
    """The number of rows recovered from journals, and one line for each unreadable place."""

    recovered_rows: int
    unread: tuple[str, ...]


def take_in(config: Config, history: History, on_scanned: Callable[[int], None]) -> TakenIn:
    """Insert the rows that only journals have; writes nothing else.

    Otherwise old lines without a row could never become one after the prune. Raises HistoryError, HistoryRefused.
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
                        count, cause = _recover(committer, found)
                        recovered += count
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
    # The content of the workspace cannot become a row.
    failed = outcome.verdict is Verdict.FAILED and outcome.fault is not Fault.WORKSPACE
    return outcome.recovered_rows, outcome.cause if failed else ""


def away(config: Config) -> list[str]:
    """One line for each root that cannot be read."""
    return [text for root in config.roots if (text := _cause(root))]


def _cause(root: Root) -> str:
    try:
        with contextlib.closing(scan(root)) as found:
            next(found, None)
    except RootUnavailable as error:
        return _away(root, error)
    return ""


def _away(root: Root, error: RootUnavailable) -> str:
    return f"{root.path}: is not available ({error.cause}); its journals may have dispatches that the history lacks"


def undelivered(config: Config, found: Old) -> Iterator[str]:
    """One line for each [[push]] target that lacks commits to prune. Raises HistoryError, HistoryRefused."""
    try:
        targets = delivered(config.history, config.push)
    except StateError as error:
        yield from (f"[[push]] {target.name}: its state is unknown ({error})" for target in config.push)
        return
    for one in targets:
        only, statuses = outbox.with_status(one.target.statuses)
        older = pruned.older("d", "?1")
        sql = f"SELECT count(*) FROM dispatch_history AS d WHERE {older} AND d.id > ?2 AND d.id <= ?3{only}"
        with opening.reading(config.history) as connection:
            (count,) = connection.execute(sql, (found.before, one.last_id, found.last_id, *statuses)).fetchone()
        if count:
            text = f"[[push]] {one.target.name}: lacks {count:,} of the commits to prune"
            yield f"{text}; `agentic-watch push` sends them"
