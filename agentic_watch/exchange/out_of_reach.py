"""Where secrets of the history may be that `redact` does not write: what is it, and what takes them out there?"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import NamedTuple

from agentic_watch.config import Config
from agentic_watch.exchange.exporting import host_id
from agentic_watch.fleet import push_state
from agentic_watch.history.history_file import connect_read_only
from agentic_watch.workspace.redactor import Redactor

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
        yield Left(f"{path} ({held} dead letters)", f'stop the pusher; sqlite3 {path} "{does}"; {again}')


def _targets(config: Config, commit_ids: Sequence[str]) -> Iterator[Left]:
    ids = ", ".join(f"'{one}'" for one in commit_ids)
    for target in config.push:
        where = f"[[push]] {target.name} ({len(commit_ids)} commits)"
        if target.kind == "postgres":
            which = f"WHERE host_id = '{host_id(config.history)}' AND commit_id IN ({ids})"
            statement = " ".join(f"DELETE FROM {table} {which};" for table in _TABLES)
            yield Left(where, f"{statement} Then agentic-watch check --fleet --repair sends them without secrets")
        else:
            yield Left(where, f"have its operator delete the commits {ids}")
    for hook in config.hooks:
        yield Left(f"[[hooks]] {hook.key}", "it was given these records: look where it sent them")
