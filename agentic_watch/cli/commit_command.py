"""`agentic-watch commit`: commit named workspaces now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from agentic_watch.answers.answer_shape import COMMIT_SCHEMA
from agentic_watch.answers.now import commit_answer
from agentic_watch.answers.now.commit_answer import CommitAnswer
from agentic_watch.cli import logs, messages
from agentic_watch.cli.exit_status import EXIT_FAILED, EXIT_UNCOMMITTABLE
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json_lines
from agentic_watch.commit.committer import Committer
from agentic_watch.commit.outcome import Verdict
from agentic_watch.config import Config
from agentic_watch.history.store import History
from agentic_watch.workspace.candidate import UnknownWorkspace, find, here
from agentic_watch.workspace.workspace_errors import Fault


@dataclass(frozen=True, slots=True)
class _Result:
    """The result of one argument: `error` is why it is not complete ("" on success), `doubts` are warnings.

    `code` is the exit status for this argument alone.
    """

    answer: CommitAnswer
    code: int = 0
    error: str = ""
    hint: str = ""
    doubts: tuple[str, ...] = ()


@click.command("commit")
@click.argument("workspaces", metavar="WORKSPACE...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Also commit an unfinished dispatch.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per workspace.")
@click.pass_obj
def command(state: State, workspaces: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Commit each WORKSPACE (a path, or its name below a root) unless already committed.

    \b
    Examples:
      agentic-watch commit acme/billing/task-101
      agentic-watch commit --force --json ./task-7
    """
    config = state.committing()
    logs.set_up(config, state.verbosity, quieter=True)
    history = History(config.history)
    committer = Committer(config, history)
    try:
        results = [_commit(committer, config, given, force) for given in workspaces]
    finally:
        committer.close()
        history.close()
    for notice in history.notices:
        messages.tell(messages.WARNING, notice, "warning: ")
    if as_json:
        print_json_lines(_document(result) for result in results)
    for result in results:
        _tell(result, as_json=as_json)
    if codes := {result.code for result in results if result.code}:
        click.get_current_context().exit(EXIT_FAILED if EXIT_FAILED in codes else EXIT_UNCOMMITTABLE)


def _tell(result: _Result, *, as_json: bool) -> None:
    name = result.answer["workspace"]
    if not result.answer["success"]:
        messages.tell(messages.ERROR, f"{result.error}{result.hint}", "failed: ", workspace=name)
    elif not as_json:
        done = "skipped, committed" if result.answer["skipped"] else "committed"
        click.echo(f"{name}: {done} at {result.answer['committed_at']}")
    for doubt in result.doubts:
        messages.tell(messages.WARNING, doubt, "warning: ", workspace=name)


def _document(result: _Result) -> dict[str, Any]:
    error = {"error": result.error} if result.error else {}
    return {"schema": COMMIT_SCHEMA, **result.answer, **error}


def _commit(committer: Committer, config: Config, given: str, force: bool) -> _Result:
    try:
        candidate = find(config.roots, given, here())
    except UnknownWorkspace as error:
        return _Result(commit_answer.answer(clean(given), None), EXIT_FAILED, clean(str(error)))
    outcome = commit_answer.when_free(committer, candidate, force=force)
    answer = commit_answer.answer(clean(candidate.name), outcome)
    if cause := commit_answer.failure(outcome):
        unfinished = outcome.verdict is Verdict.UNFINISHED
        code = EXIT_UNCOMMITTABLE if outcome.fault is Fault.WORKSPACE and not unfinished else EXIT_FAILED
        return _Result(answer, code, clean(cause), "; --force commits it as it is" if unfinished else "")
    # A commit without its row is safe, because the next run adds it, but it is not complete.
    code = EXIT_FAILED if outcome.history_error else 0
    return _Result(answer, code, clean(outcome.history_error), doubts=tuple(commit_answer.doubts(outcome)))
