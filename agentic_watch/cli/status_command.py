"""`agentic-watch status`: what is on disk now, and whether the daemon is well."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from agentic_watch.answers.standing import Standing
from agentic_watch.answers.workspaces_now import workspaces_now
from agentic_watch.cli import logs
from agentic_watch.cli.exit_status import EXIT_FAILED
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, human_duration, print_json, print_table, shorten
from agentic_watch.config import Config
from agentic_watch.daemon.instance import DaemonState, look
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History
from agentic_watch.workspace import instant

_SHOWN = 20
_ERROR_WIDTH = 100
_WIDEST = 40


@dataclass(slots=True)
class _Now:
    """What `status` tells. `failures` are what could not be looked into, one line each."""

    config: Config
    running: bool = False
    daemon: DaemonState | None = None
    standings: list[Standing] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def those(self, test: Callable[[Standing], bool]) -> list[Standing]:
        """The workspaces of which `test` holds."""
        return [standing for standing in self.standings if test(standing)]


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, as_json: bool) -> None:
    """Show what is on disk now, and whether the daemon is well. Changes nothing."""
    config = state.config()
    logs.set_up(config, state.verbosity, quieter=True)
    now = _look(config)
    lists = _lists(now)
    if as_json:
        print_json(_document(now, lists))
    else:
        _print(now, lists, time.time())
    for failure in now.failures:
        click.echo(clean(f"failed: {failure}"), err=True)
    if now.failures:
        click.get_current_context().exit(EXIT_FAILED)


def _look(config: Config) -> _Now:
    now = _Now(config)
    try:
        now.running, now.daemon = look(config.history)
    except OSError as error:
        now.failures.append(f"{error.filename or config.history}: {error.strerror}; whether a daemon runs is not known")
    history = History(config.history, read_only=True)
    try:
        history.open()
    except HistoryError as error:
        now.failures.append(f"{error}; what is committed is not known")
    try:
        for standing in workspaces_now(config, history):
            if standing.workspace or not standing.last_error:
                now.standings.append(standing)
            else:
                now.failures.append(f"{standing.root}: {standing.last_error}; mount or make it, or configure another")
    finally:
        history.close()
    return now


def _lists(now: _Now) -> dict[str, list[Standing]]:
    """What needs a look, by why. One workspace can be in several lists."""
    return {
        "running": now.those(lambda s: s.status == "running" and not s.ghost),
        "backlog": now.those(lambda s: s.status in now.config.finished and not s.committed),
        "failing": now.those(lambda s: bool(s.fail_count or s.last_error)),
        "ghosts": now.those(lambda s: s.ghost),
    }


def _counts(standings: Iterable[Standing]) -> dict[str, int]:
    """Workspaces by status, the most frequent first; "unreadable" has none that can be read."""
    counted = Counter(standing.status or "unreadable" for standing in standings)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _document(now: _Now, lists: dict[str, list[Standing]]) -> dict[str, Any]:
    daemon = dataclasses.asdict(now.daemon) if now.daemon else {}
    listed = {name: [_item(standing) for standing in standings] for name, standings in lists.items()}
    return {
        "daemon": {"running": now.running, **daemon},
        "counts": {clean(name): count for name, count in _counts(now.standings).items()},
        **listed,
        "roots": _roots(now),
        "failures": [clean(failure) for failure in now.failures],
    }


def _roots(now: _Now) -> list[dict[str, Any]]:
    """The configured roots, how many workspaces lie below each, and how the running daemon watches it, if it does."""
    watched = {root.root: root for root in now.daemon.roots} if now.daemon and now.running else {}
    counted = Counter(standing.root for standing in now.standings)
    return [
        {
            "root": root.key,
            "path": root.path,
            "workspaces": counted[root.key],
            "watching": watched[root.key].watching if root.key in watched else None,
            "watches": watched[root.key].watches if root.key in watched else None,
        }
        for root in now.config.roots
    ]


def _item(standing: Standing) -> dict[str, Any]:
    item = dataclasses.asdict(standing)
    # A name need not be UTF-8.
    item["workspace"] = clean(standing.workspace)
    if standing.last_error is not None:
        item["last_error"] = clean(standing.last_error)
    item["next_attempt_at"] = _time(standing.next_attempt_at)
    return item


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else instant.now_text(seconds)


def _print(now: _Now, lists: dict[str, list[Standing]], seconds: float) -> None:
    for line in _daemon_lines(now.running, now.daemon):
        click.echo(clean(line))
    counts = [f"{count} {clean(shorten(name, _WIDEST))}" for name, count in _counts(now.standings).items()]
    more = [f"{len(counts) - _SHOWN} other statuses"] if len(counts) > _SHOWN else []
    listed = ", ".join(counts[:_SHOWN] + more)
    click.echo(f"workspaces: {len(now.standings)}{f' ({listed})' if listed else ''}")
    for title, headers, cells in (
        ("running", ("WORKSPACE", "AGENT", "PID", "RUN", "UPDATED"), _running),
        ("backlog", ("WORKSPACE", "STATUS", "AGENT", "RUN", "UPDATED"), _finished),
        ("failing", ("WORKSPACE", "FAILURES", "NEXT ATTEMPT", "ERROR"), lambda s: _failing(s, seconds)),
        ("ghosts", ("WORKSPACE", "AGENT", "PID", "RUN", "UPDATED"), _running),
    ):
        _section(title, headers, [cells(standing) for standing in lists[title][:_SHOWN]], len(lists[title]))


def _section(title: str, headers: Sequence[str], rows: list[tuple[Any, ...]], total: int) -> None:
    click.echo(f"{title}: {total}{_TITLES[title] if total else ''}")
    print_table([f"  {headers[0]}", *headers[1:]], [(f"  {row[0]}", *row[1:]) for row in rows])
    if total > len(rows):
        click.echo(f"  and {total - len(rows)} more; --json lists all")


_TITLES = {
    "running": "",
    "backlog": " finished, not committed yet",
    "failing": " tried again at the time shown",
    "ghosts": " running by their status, but their process is gone",
}


def _running(standing: Standing) -> tuple[Any, ...]:
    return standing.workspace, shorten(standing.agent, _WIDEST), standing.pid or "", standing.runs, standing.updated_at


def _finished(standing: Standing) -> tuple[Any, ...]:
    status, agent = shorten(standing.status, _WIDEST), shorten(standing.agent, _WIDEST)
    return standing.workspace, status, agent, standing.runs, standing.updated_at


def _failing(standing: Standing, now: float) -> tuple[Any, ...]:
    due = standing.next_attempt_at
    when = "" if due is None else f"in {human_duration(int((due - now) * 1000))}" if due > now else "now"
    return standing.workspace, standing.fail_count, when, shorten(standing.last_error or "", _ERROR_WIDTH)


def _daemon_lines(running: bool, daemon: DaemonState | None) -> list[str]:
    if daemon is None:
        return ["daemon: running, has not said how it is" if running else "daemon: not running"]
    if not running:
        return [f"daemon: not running, last seen {daemon.updated_at} (pid {daemon.pid}, {daemon.phase})"]
    lines = [
        f"daemon: {daemon.phase}, pid {daemon.pid}, version {daemon.version}, since {daemon.started_at}, "
        f"as of {daemon.updated_at}",
        f"  {daemon.pending} pending, {daemon.failing} failing, {daemon.committed} committed since the start; "
        f"last scan {daemon.last_scan_at or 'not yet'}; {daemon.overflows} event queue overflows",
    ]
    for root in daemon.roots:
        detail = f" ({root.detail})" if root.detail else ""
        lines.append(f"  {root.root}: {root.watching}, {root.watches} watches{detail}")
    if daemon.history_error:
        lines.append(f"  history: {daemon.history_error}")
    return lines
