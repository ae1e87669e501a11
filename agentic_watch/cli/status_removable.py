"""`agentic-watch status --removable`: lists workspaces that can be deleted, or runs a command for each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.answers.now import removable
from agentic_watch.answers.now.removable import NotRemovable, Removable, Wish
from agentic_watch.cli import messages
from agentic_watch.cli.exit_status import EXIT_FAILED, Interrupted, Refused
from agentic_watch.cli.output import clean, print_json
from agentic_watch.config import Config
from agentic_watch.fleet.push_state import StateError


@dataclass(frozen=True, slots=True)
class How:
    """Options: `null` ends each path with NUL, `command` is run for each under its lock (() only lists)."""

    wish: Wish
    null: bool = False
    as_json: bool = False
    command: tuple[str, ...] = ()
    tells_all: bool = False


def print_removable(config: Config, how: How) -> int:
    """Print the paths; returns the exit status."""
    count = _Count()
    rows: list[dict[str, Any]] = []
    try:
        for one, status in _done(config, how, count):
            count.done += not status
            if how.as_json:
                rows.append({**removable.document(one), "exit_status": status})
            elif not status:
                click.echo(os.fsencode(one.path) + (b"\0" if how.null else b"\n"), nl=False)
                sys.stdout.flush()
    except StateError as error:
        raise Refused(str(error)) from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {count.done} done, {count.left} left") from error
    if how.as_json:
        document = {"schema": SCHEMA, "rows_count": len(rows), "left_count": count.left, "rows": rows}
        print_json(document)
    return EXIT_FAILED if count.failed else 0


@dataclass(slots=True)
class _Count:
    """Number of workspaces `done` and `left`, and whether anything `failed`."""

    done: int = 0
    left: int = 0
    failed: bool = False


def _done(config: Config, how: How, count: _Count) -> Iterator[tuple[Removable, int | None]]:
    """Yield each workspace that can be deleted, with the command's exit status."""
    for judged in removable.judge_all(config, how.wish):
        if isinstance(judged, NotRemovable):
            _leave(judged, count, is_told=how.tells_all)
        elif not how.command:
            yield judged, None
        else:
            with removable.judged_under_lock(config, how.wish, judged) as again:
                if isinstance(again, NotRemovable):
                    _leave(again, count, is_told=True)
                    continue
                status = _run(how.command, again.path)
            if status:
                count.failed = True
                text = f"{again.path}: {how.command[0]} ended with {status}"
                messages.tell(messages.ERROR, clean(text), "failed: ", workspace=again.workspace)
            yield again, status


def _leave(one: NotRemovable, count: _Count, *, is_told: bool) -> None:
    if not one.workspace:
        count.failed = True
        messages.tell(messages.ERROR, clean(one.error), "failed: ")
        return
    count.left += 1
    if is_told:
        where = f"{one.root}/{one.workspace}"
        messages.tell(messages.INFO, clean(f"{where}: {one.error}"), "left alone: ", workspace=clean(one.workspace))


def _run(command: Sequence[str], path: str) -> int:
    """Run a command with the path as its last argument and wait for it; its output goes to stderr."""
    try:
        process = subprocess.Popen([*command, path], stdin=subprocess.DEVNULL, stdout=2)  # noqa: S603  an operator's own
    except OSError as error:
        raise Refused(f"{command[0]}: cannot be run: {error.strerror}") from error
    try:
        return process.wait()
    except BaseException:
        process.wait()  # Ctrl-C reached the command too: let it finish
        raise
