"""`dispatch -- COMMAND`: begin, run the command in the foreground, count and judge, finish.

While the command runs nothing else happens, and little is loaded: twenty of these may wait for hours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from agentic_watch.dispatch.foreground import CannotRun, Foreground, cause_of
from agentic_watch.dispatch.lifecycle import finish
from agentic_watch.dispatch.runs import DispatchError, End, Overtaken, Run
from agentic_watch.dispatch.verdict import changed, report_of, with_usage

WORKSPACE_VARIABLE = "AGENTIC_WATCH_WORKSPACE"
"""Tells the command its workspace's directory, so that it can say more: `agentic-watch dispatch finish`."""
BLOCKED_STATUS = 75
"""EX_TEMPFAIL of sysexits.h: by this exit status a command says that it is blocked rather than failed."""


class Order(NamedTuple):
    """What to run, and how to judge it: `reports` and `usages` are files that the command is to leave behind."""

    command: tuple[str, ...]
    reports: tuple[str, ...] = ()
    blocked_status: int = BLOCKED_STATUS
    usages: tuple[str, ...] = ()


class Ended(NamedTuple):
    """How it went: `code` is the exit status or minus the signal, `cause` why it failed, `problems` one line each.

    `started` is False when the command could not be run at all.
    """

    code: int
    run: Run
    status: str
    cause: str = ""
    started: bool = True
    problems: tuple[str, ...] = ()


def dispatch(order: Order, begin: Callable[[], Run]) -> Ended:
    """Run a command as a dispatch that `begin` begins. Raises what `begin` raises, before anything was run.

    Once the command ran nothing is raised: its exit status is the answer, and what could not be written a problem.
    """
    with Foreground() as foreground:
        run = begin()
        if not run.begun:
            raise DispatchError(
                f"{run.path}: run {run.runs} is going on there; take another workspace, or if its process is no more: "
                f"agentic-watch dispatch finish {run.path} --status failed"
            )
        try:
            code = foreground.run(order.command, {**os.environ, WORKSPACE_VARIABLE: run.path})
        except CannotRun as error:
            ended = Ended(error.code, run, "failed", f"{order.command[0]}: {error}", started=False)
        else:
            ended = _judged(code, run, order)
        return _finished(ended, order, foreground.hurried)


def _judged(code: int, run: Run, order: Order) -> Ended:
    if code == 0:
        return Ended(code, run, "completed")
    if code == order.blocked_status:
        return Ended(code, run, "blocked")
    return Ended(code, run, "failed", cause_of(code))


def _finished(ended: Ended, order: Order, hurried: Callable[[], bool]) -> Ended:
    run = ended.run
    problems: list[str] = []
    branch, changes = changed(run, hurried, problems, order.usages)
    report = report_of(run, order.reports, passed=ended.code == 0, changes=changes, problems=problems)
    if order.usages and ended.started:
        stopped = ended.code < 0 or (ended.code == 0 and ended.status != "completed")
        given = (ended.status, ended.cause)
        status, cause = with_usage(run, order.usages, report, given, problems, stopped=stopped)
        ended = ended._replace(status=status, cause=cause)
    end = End(ended.status, question=ended.cause, branch=branch, report=report)
    try:
        finish(run, end, unless_finished=True)
    except DispatchError as error:
        problems.append(str(error))
        if not isinstance(error, Overtaken):
            problems += _without_report(run, end)
    return ended._replace(problems=tuple(problems))


def _without_report(run: Run, end: End) -> Iterator[str]:
    """How a run ended is worth more than its report, and smaller: a disk that is full for both may take it alone."""
    try:
        finish(run, end._replace(report=None), unless_finished=True)
    except DispatchError:
        yield f"{run.path}: the end is not recorded; agentic-watch dispatch finish {run.path} --status {end.status}"
