"""Redacts the journals below the roots, and lists other places that may have secrets but are not ours to change, with
what to do there.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from agentic_watch import counted
from agentic_watch.config import Config, Limits
from agentic_watch.exchange.exporting import host_id
from agentic_watch.fleet import push_state
from agentic_watch.history.history_file import connect_read_only
from agentic_watch.host.retry import every, retry
from agentic_watch.scan import RootUnavailable, ScanError, scan
from agentic_watch.workspace import files, journal_rewrite, layout, marker
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.journal_rewrite import Rewritten
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.redactor import Redactor
from agentic_watch.workspace.workspace_errors import Busy, Missing, WorkspaceError

_PATIENCE_SECONDS = 30.0
_CORRUPT = (f"{layout.JOURNAL}.corrupt-", f"{layout.MARKER}.corrupt-")


@dataclass(slots=True)
class RedactedJournals:
    """Numbers of journals and lines with secrets; `left` are files with secrets that are not ours to change; `failed`
    and `unfit` are journals that could not be written, because of the host or of their workspace's content, one line
    each."""

    journals: int = 0
    lines: int = 0
    left: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)


def redact_journals(
    config: Config, without: Redactor, done: RedactedJournals, on_progress: Callable[[int], None], *, dry_run: bool
) -> None:
    """Redact each journal; the result is in `done`. `on_progress` is called for each workspace."""
    looked = 0
    for root in config.roots:
        try:
            with closing(scan(root)) as found:
                for one in found:
                    if isinstance(one, ScanError):
                        done.failed.append(f"{root.path}/{one.name}: {one.cause}; its subdirectories are skipped")
                        continue
                    _redact(one, config.limits, without, done, dry_run)
                    looked += 1
                    on_progress(looked)
        except RootUnavailable as error:
            done.failed.append(str(error))


def _redact(candidate: Candidate, limits: Limits, without: Redactor, done: RedactedJournals, dry_run: bool) -> None:
    path = os.path.join(candidate.root.path, candidate.name)
    try:
        with closing(open_place(candidate.root.path, candidate.name)) as place:
            rewritten = _rewrite(place, limits, without, dry_run)
            done.lines += rewritten.lines
            done.journals += bool(rewritten.lines)
            if rewritten.torn:
                done.left.append(f"{path}/{layout.META_JOURNAL} (its torn last line)")
            done.left += [f"{path}/{name}" for name in _others_with_secrets(place, limits, without)]
    except Missing:
        return
    except (WorkspaceError, OSError) as error:
        is_unfit = isinstance(error, WorkspaceError) and not error.transient
        (done.unfit if is_unfit else done.failed).append(f"{path}: {error}")


def _rewrite(place: Place, limits: Limits, without: Redactor, dry_run: bool) -> Rewritten:
    """Rewrite one journal, waiting a limited time for processes that hold the workspace or its journal."""
    if place.meta is None:
        return Rewritten()
    meta = place.meta

    def rewrite() -> Rewritten:
        if not dry_run and not place.lock():
            raise Busy(layout.META, "is held by another process")
        marker.remove_temporaries(meta, place.names)
        return journal_rewrite.rewrite(meta, limits, without, dry_run=dry_run)

    return retry(rewrite, lambda error: isinstance(error, Busy), every(0.1, _PATIENCE_SECONDS))


def _others_with_secrets(place: Place, limits: Limits, without: Redactor) -> Iterator[str]:
    """Files with secrets that belong to the dispatcher or the agent, and may be read by a rebuild or by people."""
    wanted = [(place.directory, layout.STATUS, layout.STATUS, limits.status_bytes)]
    if place.meta is not None:
        wanted += [
            (place.meta, layout.STATUS, layout.META_STATUS, limits.status_bytes),
            (place.meta, layout.REPORT, layout.META_REPORT, limits.report_bytes),
        ]
        names, _ = files.names(place.meta, 10_000, layout.META)
        aside = (name for name in sorted(names) if name.startswith(_CORRUPT))
        wanted += [(place.meta, name, f"{layout.META}/{name}", limits.journal_bytes) for name in aside]
    for directory, name, label, limit in wanted:
        try:
            text = files.read(directory, name, label, limit, one_link=False).data.decode("utf-8", "replace")
        except WorkspaceError:
            continue  # unreadable files are never recorded
        if without.text(text) != text:
            yield label


_TABLES = ("kept_files", "findings", "dispatches")


class Left(NamedTuple):
    """A place that may have secrets, and what to do there."""

    where: str
    next_step: str


def out_of_reach(config: Config, without: Redactor, commit_ids: Sequence[str]) -> Iterator[Left]:
    """All such places of this host and of its targets; `commit_ids` are the commits with secrets."""
    yield from _beside(config.history, without)
    yield from _dead_letters(config.history, without)
    if commit_ids:
        yield from _targets(config, commit_ids)


def _beside(history: str, without: Redactor) -> Iterator[Left]:
    directory, base = os.path.split(history)
    with suppress(OSError):
        for name in sorted(os.listdir(directory or ".")):
            path = os.path.join(directory, name)
            if name.startswith(f"{base}.pruned-") and _holds(path, without):
                import_it = f"agentic-watch --history NEW.db import {path}, `redact` and `export` that history"
                yield Left(path, f"delete this archive, or recreate it: {import_it}")
            elif name.startswith((f"{base}.backup-v", f"{base}.corrupt-")):
                yield Left(path, f"delete this old copy of the history: rm {path}")


def _holds(path: str, without: Redactor) -> bool:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return any(without.text(line) != line for line in file)
    return False


def _dead_letters(history: str, without: Redactor) -> Iterator[Left]:
    path = push_state.path_of(history)
    try:
        with closing(connect_read_only(path)) as connection:
            texts = connection.execute("SELECT document || ' ' || cause FROM dead_letters")
            held = sum(without.text(text) != text for (text,) in texts)
    except (OSError, sqlite3.Error):
        return
    if held:
        does = "PRAGMA secure_delete = ON; DELETE FROM dead_letters; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"
        again = "agentic-watch check --fleet --repair sends them again"
        yield Left(f"{path} ({counted(held, 'dead letter')})", f'stop the pusher; sqlite3 {path} "{does}"; {again}')


def _targets(config: Config, commit_ids: Sequence[str]) -> Iterator[Left]:
    ids = ", ".join(f"'{one}'" for one in commit_ids)
    for target in config.push:
        where = f"[[push]] {target.name} ({counted(len(commit_ids), 'commit')})"
        if target.kind == "postgres":
            which = f"WHERE host_id = '{host_id(config.history)}' AND commit_id IN ({ids})"
            statement = " ".join(f"DELETE FROM {table} {which};" for table in _TABLES)
            yield Left(where, f"{statement} Then agentic-watch check --fleet --repair sends them without secrets")
        else:
            yield Left(where, f"have its operator delete the commits {ids}")
    for hook in config.hooks:
        yield Left(f"[[hooks]] {hook.key}", "it received these records: check where it sent them")
