"""`dispatch -- COMMAND`: begins a run, runs the command in the foreground, judges its result, and finishes the run.

Little is loaded while the command runs, because many of these may wait for hours.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple

from agentic_watch.dispatch import workspace_to_use
from agentic_watch.dispatch.agent_names import runs_under
from agentic_watch.dispatch.begin_and_finish import finish
from agentic_watch.dispatch.foreground_process import CannotRun, Foreground
from agentic_watch.dispatch.run_types import DispatchError, End, Overtaken, Run
from agentic_watch.workspace.layout import META_STATUS, STATUS

WORKSPACE_VARIABLE = "AGENTIC_WATCH_WORKSPACE"
"""The workspace's directory, for the command's own `agentic-watch dispatch finish`."""
RUN_VARIABLE = "AGENTIC_WATCH_RUN"
STARTED_VARIABLE = "AGENTIC_WATCH_STARTED_AT"
"""Identify the run, so that the command cannot finish another one."""
BLOCKED_STATUS = 75
"""EX_TEMPFAIL of sysexits.h: the exit status of a command that is blocked, not failed."""
_COMMAND_AT_MOST = 4000
"""Maximum length of a command line in a report, since it may include a long prompt."""
_TIMED_OUT = 124
"""Exit status of timeout(1) after a time-out."""
_END_NOTHING = frozenset(
    {
        *(signal.SIGCHLD, signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
        *(signal.SIGURG, signal.SIGWINCH),
        signal.SIGSTKFLT,  # "unused", says signal(7); 128 + 16 is what 400 of HTTP leaves in eight bits
    }
)


class Order(NamedTuple):
    """What to run and how to judge it: `reports` and `usages` are files that the command writes. `log` keeps its output
    in `.meta/agent.log`, `patch` its changes in `.meta/changes.patch`."""

    command: tuple[str, ...]
    reports: tuple[str, ...] = ()
    blocked_status: int = BLOCKED_STATUS
    usages: tuple[str, ...] = ()
    log: bool = False
    patch: bool = False


class Ended(NamedTuple):
    """The result: `code` is the exit status or the negative signal, `cause` why it failed, `problems` one line each.

    `started` is False when the command could not be started. Without a `run` nothing was recorded.
    """

    code: int
    run: Run | None
    status: str
    cause: str = ""
    started: bool = True
    problems: tuple[str, ...] = ()


def dispatch(order: Order, begin: Callable[[], Run | None]) -> Ended:
    """Run a command as a dispatch started by `begin`. Raises the errors of `begin` before anything is run.

    If `begin` returns None, the command runs unrecorded. After the start nothing is raised: the exit status is the
    result, and write errors become problems.
    """
    with Foreground() as foreground:
        run = begin()
        workspace = workspace_to_use.opened(run.root, run.name) if run else None
        problems: list[str] = []
        copy = None
        if run and order.log:
            from agentic_watch.dispatch import output_copy

            copy = output_copy.of_run(run, problems)
        environ = {**os.environ, **(_variables(run) if run else {})}
        through = (copy.file_actions, copy.start) if copy else ()
        try:
            code = foreground.run(order.command, environ, *through)
        except CannotRun as error:
            ended = Ended(error.code, run, "failed", f"{order.command[0]}: {error}", started=False)
        else:
            status, cause = _judged(code, foreground.stopped_by, order)
            ended = Ended(code, run, status, cause)
        if copy is not None and (problem := copy.stop()):
            problems.append(problem)
        if run is not None:
            if workspace is not None:
                run = run._replace(name=workspace_to_use.name_now(workspace, run.root) or run.name)
            ended = _finished(ended, run, order, foreground.interrupted, problems)
        if copy is not None:
            copy.finish(foreground.interrupted)
        return ended


def refuse_if_taken(run: Run) -> None:
    """Raise DispatchError if a run was already in progress there."""
    if not run.begun:
        raise DispatchError(
            f"{run.path}: run {run.runs} is in progress there; use another workspace, or if its process is gone: "
            f"agentic-watch dispatch finish {run.path} --status failed"
        )


def _variables(run: Run) -> dict[str, str]:
    return {WORKSPACE_VARIABLE: run.path, RUN_VARIABLE: str(run.runs), STARTED_VARIABLE: run.started_at}


def _judged(code: int, stopped_by: int, order: Order) -> tuple[str, str]:
    """(status, cause) from the exit status or negative signal, and the signal that asked the command to stop."""
    if code == 0:
        return ("failed", f"stopped by {_signal_name(stopped_by)}") if stopped_by else ("completed", "")
    if code == order.blocked_status:
        return "blocked", ""
    return "failed", _cause_of(code, order.command)


def _cause_of(code: int, command: Sequence[str]) -> str:
    """`exit status 3`, with the signal that it means in a shell, or `killed by SIGTERM`."""
    if code < 0:
        return f"killed by {_signal_name(-code)}"
    if code == _TIMED_OUT and runs_under("timeout", command):
        return "timed out"
    name = _signal_name(code - 128) if code - 128 not in _END_NOTHING else ""
    return f"exit status {code} ({name} in a shell)" if name.startswith("SIG") else f"exit status {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _finished(ended: Ended, run: Run, order: Order, interrupted: Callable[[], bool], problems: list[str]) -> Ended:
    import shlex

    from agentic_watch.dispatch import run_report  # not while the command runs

    found = run_report.changed(run, interrupted, problems, order.usages)
    if order.patch and ended.started:
        run_report.write_patch(run, interrupted, problems, order.usages)
    report = run_report.report_of(
        run, order.reports, passed=ended.status == "completed", changed=found, problems=problems
    )
    report.setdefault("command", shlex.join(order.command)[:_COMMAND_AT_MOST])
    if order.usages and ended.started:
        stopped = ended.code < 0 or (ended.code == 0 and ended.status != "completed")
        given = (ended.status, ended.cause)
        from agentic_watch.dispatch.agents.agent_verdict import with_usage

        status, cause = with_usage(run, order.usages, report, given, problems, stopped=stopped)
        ended = ended._replace(status=status, cause=cause)
    end = End(ended.status, question=ended.cause, branch=found.branch, report=report)
    try:
        finish(run, end, unless_finished=True)
    except Overtaken as error:
        problems.append(str(error))
        ended = ended._replace(run=None)
    except DispatchError as error:
        problems.append(str(error))
        if said := _without_report(run, end):
            problems.append(said)
            ended = ended._replace(run=None)
    return ended._replace(problems=tuple(dict.fromkeys(problems)))


def _without_report(run: Run, end: End) -> str:
    """Record the end without the report, which may fit on a full disk and matters more.

    Returns the message if that fails too, else "".
    """
    try:
        finish(run, end._replace(report=None), unless_finished=True)
    except DispatchError:
        # A removed workspace cannot be finished later.
        is_there = any(os.path.lexists(os.path.join(run.path, name)) for name in (META_STATUS, STATUS))
        step = f"; agentic-watch dispatch finish {run.path} --status {end.status}" if is_there else ""
        return f"{run.path}: the end is not recorded{step}"
    return ""
