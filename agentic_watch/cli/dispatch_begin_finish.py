"""`agentic-watch dispatch begin`, `finish` and `schema`: for agents that `dispatch` cannot run itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from agentic_watch.cli import messages
from agentic_watch.cli.dispatch_common import (
    begin_run,
    committing_first,
    reports_option,
    say_without_daemon,
    usage_option,
    work_of,
    work_options,
)
from agentic_watch.cli.exit_status import Refused
from agentic_watch.cli.global_options import State, Whole
from agentic_watch.cli.output import clean, print_json
from agentic_watch.dispatch import run_report
from agentic_watch.dispatch.agent_names import process_of
from agentic_watch.dispatch.begin_and_finish import Newest, finish, newest_run
from agentic_watch.dispatch.git_facts import Since
from agentic_watch.dispatch.run_types import DispatchError, End, Overtaken, Run
from agentic_watch.dispatch.workspace_to_use import choose_existing
from agentic_watch.dispatch.wrapped_command import RUN_VARIABLE, STARTED_VARIABLE, WORKSPACE_VARIABLE
from agentic_watch.workspace.candidate import here
from agentic_watch.workspace.jsontext import load_object
from agentic_watch.workspace.workspace_errors import WorkspaceError

_INPUT_AT_MOST = 16 << 20
_VALUES_AT_MOST = 2_000_000
_INPUT_KEYS = ("status", "question", "pr_url", "branch", "report")
_UNSUCCESSFUL = frozenset({"failed", "rejected", "blocked"})


@click.command("begin")
@work_options
@click.option(
    "--pid",
    type=Whole(0),
    metavar="N",
    help="PID to watch; if it exits before `finish`, the run is a ghost (default: the nearest parent that runs "
    "the agent named by --agent, for its hooks; 0: none).",
)
@click.option("--process-id", default="", metavar="TEXT", help="Your own id for the process.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def _begin(state: State, /, as_json: bool, pid: int | None, process_id: str, **options: Any) -> None:
    """Record the start of a run, and print its workspace directory.

    A run in progress is left unchanged, unless the same process was given another task (another --process-id where
    both have one): then that run is failed, "interrupted", and a new one begins. After a finished run, `runs` is
    incremented.

    \b
    Examples:
      agentic-watch dispatch begin --task 'Fix the login page' --agent codex:gpt-5
      agentic-watch dispatch begin --workspace acme/site/login --pid $$ --json
    """
    work = work_of(options, pid=process_of(options["agent"] or "") if pid is None else pid, process_id=process_id)
    try:
        run = begin_run(state, options["workspace"], work)
    except DispatchError as error:
        raise Refused(str(error)) from error
    if as_json:
        print_json({**_document(run), "started_at": run.started_at, "begun": run.begun})
    else:
        click.echo(clean(run.path))
        if state.verbosity > 0:
            messages.tell(messages.INFO, f"{run.path}: {'begun' if run.begun else 'goes on'}, run {run.runs}")


@click.command("finish")
@click.argument("workspace", required=False, envvar=WORKSPACE_VARIABLE)
@click.option("--status", metavar="STATUS", help="Final status (default: completed).")
@click.option("--question", metavar="TEXT", help="What it asks, or why it failed.")
@click.option("--pr", "pr_url", metavar="URL", help="Pull request.")
@click.option("--run", "number", type=Whole(1), metavar="N", help="Only if this is its newest run.")
@click.option("--process-id", metavar="TEXT", help="Only if its newest run began with this process id.")
@click.option("--branch", metavar="NAME", help="Branch (default: the one checked out here).")
@reports_option
@usage_option
@click.option("--patch", is_flag=True, help="Write what was changed since `begin` to .meta/changes.patch.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read status, question, pr_url, branch and report as JSON.")
@click.option("--unless-finished", is_flag=True, help="Leave a finished run unchanged.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def _finish(state: State, /, workspace: str | None, from_stdin: bool, as_json: bool, **options: Any) -> None:
    """Record the end of a run.

    WORKSPACE is a path, or a name below a root (default: $AGENTIC_WATCH_WORKSPACE). Finishing again with the same
    result changes nothing; another result (completed, later merged) is recorded, too.

    \b
    Examples:
      agentic-watch dispatch finish --status failed --question 'rate limit'
      agentic-watch dispatch finish --report ruff.sarif acme/site/login
    """
    if not workspace:
        raise click.UsageError(f"which workspace? Give its path or name, or set ${WORKSPACE_VARIABLE}")
    given = {"status": "completed"} | (_input() if from_stdin else {})
    given |= {key: options[key] for key in _INPUT_KEYS if options.get(key) is not None}
    try:
        run, written = _write_end(state, workspace, given, options)
    except DispatchError as error:
        raise Refused(str(error)) from error
    if as_json:
        print_json({**_document(run), "status": given["status"], "written": written})
    else:
        click.echo(clean(f"{run.path}: {given['status'] if written else 'already finished'}, run {run.runs}"))
    if written and not (RUN_VARIABLE in os.environ and os.environ.get(WORKSPACE_VARIABLE) == run.path):
        say_without_daemon(state, run)  # otherwise the parent `dispatch` reports it


def _write_end(state: State, workspace: str, given: dict[str, Any], options: dict[str, Any]) -> tuple[Run, bool]:
    """Assemble the report and finish the given run; returns the run, and whether anything was written."""
    config = state.config()
    root, name = choose_existing(config.roots, workspace, here())
    newest = newest_run(root, name, here())
    run, finished = _meant(newest, workspace, options), newest.finished
    report = given.pop("report", None)
    problems: list[str] = []
    usages = options["usages"]
    if options["reports"] or usages or not finished:
        changed = Since() if finished else run_report.changed(run, lambda: False, problems, usages)
        passed = given["status"] not in _UNSUCCESSFUL
        whole = run_report.report_of(run, options["reports"], passed=passed, changed=changed, problems=problems)
        report = run_report.merged([whole, report or {}])
        if usages:
            given |= _by_usage(run, usages, report, given, problems)
        given.setdefault("branch", changed.branch)
    if options["patch"] and not finished:
        run_report.write_patch(run, lambda: False, problems, usages)
    end = End(**given, report=report)
    written = committing_first(
        state, lambda: finish(run, end, unless_finished=options["unless_finished"], finished=config.finished)
    )
    for problem in problems:
        messages.tell(messages.WARNING, problem, "warning: ")
    return run, written


def _meant(newest: Newest, workspace: str, options: dict[str, Any]) -> Run:
    """The run to finish: the one in the options, or in the environment set by `dispatch`, else the newest. Raises
    Overtaken when another process began the newest."""
    run, process_id = newest.run, options["process_id"]
    if process_id is not None and process_id != newest.process_id:
        raise Overtaken(
            f"{run.path}: run {run.runs} was begun with process id {newest.process_id!r}; the end of "
            f"{process_id!r} is not written"
        )
    number, ours = options["number"], os.environ.get(RUN_VARIABLE, "")
    its = os.environ.get(WORKSPACE_VARIABLE) or workspace
    if ours.isdecimal() and its in (workspace, run.path, run.name) and number in (None, int(ours)):
        return run._replace(runs=int(ours), started_at=os.environ.get(STARTED_VARIABLE) or run.started_at)
    return run._replace(runs=number) if number else run


def _by_usage(
    run: Run, usages: Sequence[str], report: dict[str, Any], given: dict[str, Any], problems: list[str]
) -> dict[str, str]:
    """Status and question from the agent program's result; a failure reported by the caller is kept.

    Except the question of an error, for which the program knows the cause.
    """
    said = given["status"] in _UNSUCCESSFUL
    ended = ("failed" if said else "completed", given.get("question", ""))
    from agentic_watch.dispatch.agents.agent_verdict import with_usage

    status, question = with_usage(run, usages, report, ended, problems, stopped=bool(said and ended[1]))
    return {"status": given["status"] if said or status == ended[0] else status, "question": question}


def _input() -> dict[str, Any]:
    """Parse stdin. It is not trusted: wrong keys and types are usage errors."""
    try:
        document = load_object(sys.stdin.buffer.read(_INPUT_AT_MOST), "stdin", _VALUES_AT_MOST)
    except WorkspaceError as error:
        raise click.UsageError(str(error)) from error
    for key, value in document.items():
        if key not in _INPUT_KEYS:
            raise click.UsageError(f"stdin: unknown key {clean(key)!r}; known: {', '.join(_INPUT_KEYS)}")
        if value is not None and not isinstance(value, dict if key == "report" else str):
            raise click.UsageError(f"stdin: {key} is not {'an object' if key == 'report' else 'a string'}")
    return {key: value for key, value in document.items() if value is not None}


@click.command("schema")
@click.argument("kind", type=click.Choice(["status", "report"]))
def _schema(kind: Any) -> None:
    """Print the JSON Schema of status or report files.

    \b
    Examples:
      agentic-watch dispatch schema status
      agentic-watch dispatch schema report > report.json
    """
    from agentic_watch.dispatch.status_writer import text_of

    click.echo(text_of(kind), nl=False)


def _document(run: Run) -> dict[str, Any]:
    return {"schema": 1, "root": run.root.key, "workspace": run.name, "path": run.path, "runs": run.runs}


COMMANDS: dict[str, click.Command] = {"begin": _begin, "finish": _finish, "schema": _schema}
