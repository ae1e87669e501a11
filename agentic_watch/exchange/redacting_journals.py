"""Secrets out of the journals below the roots. What else holds them, there or elsewhere, is named, since it is not ours
to write: what is it, and what takes them out there?
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
    """How many journals had lines with secrets, and how many lines; `left` are files that hold some still and are not
    ours to write; `failed` and `unfit` are journals that could not be written, by a fault of the host or for what lies
    in their workspace, one line each."""

    journals: int = 0
    lines: int = 0
    left: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)


def redact_journals(
    config: Config, without: Redactor, done: RedactedJournals, on_progress: Callable[[int], None], *, dry_run: bool
) -> None:
    """Take secrets out of each journal; what was done stands in `done`. `on_progress` hears of each workspace."""
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
    """Waits for whoever holds the workspace or its journal, politely and not for ever."""
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
    """The files of a workspace that a rebuild or somebody may read, and that are the dispatcher's or the agent's."""
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
            continue  # what cannot be read is recorded by nobody
        if without.text(text) != text:
            yield label


_TABLES = ("kept_files", "findings", "dispatches")


class Left(NamedTuple):
    """A place, and what its operator does there."""

    where: str
    next_step: str


def out_of_reach(config: Config, without: Redactor, commit_ids: Sequence[str]) -> Iterator[Left]:
    """Each place of this host and of its targets; `commit_ids` are the commits that had secrets."""
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
                yield Left(path, f"delete this archive, or make it anew: {import_it}")
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
        yield Left(f"[[hooks]] {hook.key}", "it was given these records: look where it sent them")
