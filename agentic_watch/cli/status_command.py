"""`agentic-watch status`: the workspaces on disk, lists of those that need attention, and the health of the daemon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from agentic_watch import counted
from agentic_watch.answers.now.host_status import HostStatus, age_seconds, document, host_status
from agentic_watch.answers.now.workspaces_now import WorkspaceSnapshot
from agentic_watch.cli import logs, messages, value_texts
from agentic_watch.cli.exit_status import EXIT_FAILED
from agentic_watch.cli.global_options import Seconds, State
from agentic_watch.cli.output import clean, line_width, print_json
from agentic_watch.cli.table_layout import Column, cut, lay_out
from agentic_watch.cli.value_texts import human_duration, shorten
from agentic_watch.daemon.daemon_presence import file_of
from agentic_watch.daemon.daemon_state import DaemonState, Liveness
from agentic_watch.workspace.jsontext import as_text

_SHOWN = 20
_WIDEST = 40
_ERROR_WIDTH = 100
_INDENT = "  "

_ROOT = Column("ROOT", lambda one: one.root, least=8, path=True, goes=4)
_WORKSPACE = Column("WORKSPACE", lambda one: one.workspace, least=14, path=True)
_STATUS = Column("STATUS", lambda one: shorten(one.status, _WIDEST), least=9)
_AGENT = Column("AGENT", lambda one: shorten(one.agent, _WIDEST), least=8, goes=5)
_PID = Column("PID", lambda one: one.pid or "", number=True, goes=8)
_RUN = Column("RUN", lambda one: one.runs, number=True, goes=9)
_STARTED = Column("STARTED", lambda one: one.started_utc, goes=6, time=True)
_UPDATED = Column("UPDATED", lambda one: one.updated_utc, goes=6, time=True)
_FAILURES = Column("FAILURES", lambda one: one.fail_count, number=True, goes=9)
_ERROR = Column("ERROR", lambda one: cut(one.last_error or "", _ERROR_WIDTH), least=20)


def _sections(now: HostStatus) -> Iterator[tuple[str, str, list[Column]]]:
    """Each list: its name, the meaning of its number, and its columns after AGE, ROOT and WORKSPACE."""
    due = Column("NEXT ATTEMPT", lambda one: _next_attempt(one, now.at), goes=8)
    yield "running", _pools(now), [_AGENT, _PID, _RUN, _STARTED]
    yield "backlog", " (finished, not committed yet)", [_STATUS, _AGENT, _RUN, _UPDATED]
    yield "failing", " (next attempt shown)", [_FAILURES, due, _ERROR]
    yield "ghosts", " (status says running, process is gone)", [_AGENT, _PID, _RUN, _STARTED]


def lines(now: HostStatus, *, utc: bool) -> Iterator[str]:
    """The whole text, line by line."""
    yield from (clean(line) for line in _daemon_lines(now, utc))
    counts = [f"{count} {clean(shorten(name, _WIDEST))}" for name, count in _without_ghosts(now).items()]
    more = [f"{len(counts) - _SHOWN} other statuses"] if len(counts) > _SHOWN else []
    listed = ", ".join(counts[:_SHOWN] + more)
    yield f"workspaces: {len(now.standings)}{f' ({listed})' if listed else ''}"
    yield from (clean(f"  {root}: {cause}") for root, cause in now.missing.items())
    yield from _unknown_statuses(now)
    for name, says, columns in _sections(now):
        standings: tuple[WorkspaceSnapshot, ...] | None = getattr(now.lists, name)
        if standings is None:
            yield f"{name}: unknown, the history is not available"
        else:
            yield f"{name}: {len(standings)}{says if standings else ''}"
            yield from _table(columns, standings, now, utc)


def _without_ghosts(now: HostStatus) -> dict[str, int]:
    """Workspaces by status, with ghosts counted separately."""
    counts, ghosts = dict(now.counts), len(now.lists.ghosts)
    if ghosts:
        for ghost in now.lists.ghosts:
            counts[ghost.status] -= 1
        counts["ghost" if ghosts == 1 else "ghosts"] = ghosts
    return {name: count for name, count in counts.items() if count}


def _unknown_statuses(now: HostStatus) -> Iterator[str]:
    unknown = now.unknown
    if unknown:
        named = ", ".join(f'"{clean(shorten(status, _WIDEST))}"' for status in list(unknown)[:_SHOWN])
        where = [clean(one.workspace) for found in unknown.values() for one in found]
        more = f" and {len(where) - _SHOWN} more" if len(where) > _SHOWN else ""
        yield f"unknown statuses, never committed: {named}; add final ones to finished in [commit]"
        yield f"  {', '.join(where[:_SHOWN])}{more}"


def _table(columns: list[Column], standings: Sequence[WorkspaceSnapshot], now: HostStatus, utc: bool) -> Iterator[str]:
    age = Column("AGE", lambda one: _age(one, now.at), number=True)
    columns = [age, *([_ROOT] if len(now.config.roots) > 1 else []), _WORKSPACE, *columns]
    width = line_width()
    for line in lay_out(columns, standings[:_SHOWN], width and width - len(_INDENT), utc=utc):
        yield _INDENT + line
    if len(standings) > _SHOWN:
        yield f"  and {len(standings) - _SHOWN} more; --json lists all"


def _age(standing: WorkspaceSnapshot, now: float) -> str:
    age = age_seconds(standing, now)
    return "" if age is None else human_duration(max(0, age) * 1000)


def _pools(now: HostStatus) -> str:
    """Running dispatches by agent."""
    pools = [f"{clean(shorten(agent, _WIDEST)) or 'no agent'} {count}" for agent, count in now.pools.items()]
    more = [f"{len(pools) - _SHOWN} other agents"] if len(pools) > _SHOWN else []
    return f" ({', '.join(pools[:_SHOWN] + more)})"


def _next_attempt(standing: WorkspaceSnapshot, now: float) -> str:
    due = standing.next_attempt_at
    return "" if due is None else f"in {human_duration(int((due - now) * 1000))}" if due > now else "now"


def _daemon_lines(now: HostStatus, utc: bool) -> Sequence[str]:
    daemon = now.daemon
    if now.pulse is Liveness.UNKNOWN:
        return [f"daemon: unknown, this user may not read {file_of(now.config.history)}"]
    if now.pulse is Liveness.STOPPED:
        if daemon is None:
            return ["daemon: not running"]
        seen = value_texts.time_text(daemon.updated_at, as_utc=utc)
        return [f"daemon: not running, last seen {seen} (pid {daemon.pid}, {daemon.phase})"]
    if daemon is None:
        return ["daemon: running, no state reported yet"]
    return [*_first_line(now, daemon, utc), *_how_it_is(daemon, utc)]


def _first_line(now: HostStatus, daemon: DaemonState, utc: bool) -> Iterator[str]:
    started, said = (value_texts.time_text(text, as_utc=utc) for text in (daemon.started_at, daemon.updated_at))
    if now.pulse is Liveness.STALE:
        yield (
            f"daemon: stale, pid {daemon.pid}, no heartbeat since {said}; stopped or hung "
            "(systemctl restart agentic-watch, or end that process)"
        )
    else:
        yield f"daemon: {daemon.phase}, pid {daemon.pid}, version {daemon.version}, since {started}, as of {said}"


def _how_it_is(daemon: DaemonState, utc: bool) -> Iterator[str]:
    scan = value_texts.time_text(daemon.last_scan_at, as_utc=utc) or "not yet"
    yield (
        f"  {daemon.pending} pending, {daemon.failing} failing, {daemon.committed} committed since the start; "
        f"last scan {scan}; {daemon.overflows} event queue overflows"
    )
    for root in daemon.roots:
        detail = f" ({root.detail})" if root.detail else ""
        yield f"  {root.root}: {root.watching}, {counted(root.watches, 'watch')}{detail}"
    if daemon.unreadable:
        named = (
            f"{', '.join(daemon.unreadable_names)}{' …' if daemon.unreadable > len(daemon.unreadable_names) else ''}"
        )
        yield f"  unreadable: {daemon.unreadable} (not scanned): {named}"
    if daemon.history_error:
        yield f"  history: {daemon.history_error}"


_OF_REMOVABLE = {"older_than": "--older-than", "undelivered": "--undelivered", "null": "-0", "lock": "--lock"}


@click.command("status")
@click.argument("command", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--removable", is_flag=True, help="List workspaces that can be deleted: all their commits are in the history."
)
@click.option(
    "--older-than",
    type=Seconds(),
    metavar="SPAN",
    help="With --removable: only those last updated and committed longer ago than SPAN: 7d, 2w.",
)
@click.option("--undelivered", is_flag=True, help="With --removable: also those that a [[push]] target lacks.")
@click.option("-0", "--null", is_flag=True, help="With --removable: end each path with NUL, for xargs -0.")
@click.option("--lock", is_flag=True, help="With --removable: run COMMAND PATH for each while it is locked.")
@click.option("--utc", is_flag=True, help="Use UTC for times.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, /, *, utc: bool, as_json: bool, **options: Any) -> None:
    """Show what is on disk now, the longest running first, and whether the daemon is healthy. Changes nothing.

    With --removable, print the paths of workspaces that are finished, and whose every commit is in the history and
    delivered to every [[push]] target. With --lock, each is locked and judged again, COMMAND is run with its path, and
    it is printed when COMMAND ended with 0. Nothing but COMMAND deletes anything.

    \b
    Examples:
      agentic-watch status
      watch -n 10 agentic-watch status
      agentic-watch status --removable --older-than 7d
      agentic-watch status --removable --older-than 7d --lock -- rm -rf
    """
    if options.pop("removable"):
        click.get_current_context().exit(_removable(state, as_json=as_json, **options))
    if options["command"]:
        raise click.UsageError("takes no argument; a COMMAND goes with --removable --lock")
    if given := [name for option, name in _OF_REMOVABLE.items() if options[option] not in (None, False)]:
        raise click.UsageError(f"{given[0]} needs --removable")
    config = state.config()
    logs.set_up(config, state.verbosity, quieter=True)
    now = host_status(config)
    if as_json:
        print_json(as_text(document(now)))
    else:
        for line in lines(now, utc=utc):
            click.echo(line)
    for failure in now.failures:
        messages.tell(messages.ERROR, failure, "failed: ")
    if now.failures:
        click.get_current_context().exit(EXIT_FAILED)


def _removable(
    state: State, *, as_json: bool, older_than: float | None, undelivered: bool, null: bool, lock: bool, command: Any
) -> int:
    from agentic_watch.answers.now.removable import Wish
    from agentic_watch.cli.status_removable import How, print_removable

    if lock != bool(command):
        raise click.UsageError("--lock needs a COMMAND after --, and a COMMAND needs --lock")
    if as_json and null:
        raise click.UsageError("--json and -0 exclude each other")
    config = state.config()
    logs.set_up(config, state.verbosity, quieter=True)
    wish = Wish(older_than, undelivered)
    return print_removable(config, How(wish, null, as_json, tuple(command), tells_all=state.verbosity > 0))
