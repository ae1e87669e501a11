"""`agentic-watch commit`: commit named workspaces now."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import click

from agentic_watch.answers import committing
from agentic_watch.answers.committing import CommitAnswer
from agentic_watch.answers.documents import SCHEMA
from agentic_watch.cli import logs, messages
from agentic_watch.cli.exit_status import EXIT_FAILED
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json_lines
from agentic_watch.commit import Committer, Outcome, Verdict
from agentic_watch.config import Config
from agentic_watch.history.store import History
from agentic_watch.workspace.find import UnknownWorkspace, find, here
from agentic_watch.workspace.layout import Candidate

_BUSY_SECONDS = 2.0
_BUSY_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of one argument; `lines` are for stderr, `error` is why not all was done, "" when it was."""

    answer: CommitAnswer
    lines: list[str]
    error: str


@click.command("commit")
@click.argument("workspaces", metavar="WORKSPACE...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Commit an unfinished dispatch too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a workspace.")
@click.pass_obj
def command(state: State, workspaces: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Commit each WORKSPACE (a path, or its name below a root) if that has not been done."""
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
        messages.tell(logging.WARNING, notice, "warning: ")
    if as_json:
        print_json_lines(_document(result) for result in results)
    for result in results:
        if not as_json and result.answer["success"]:
            _print(result.answer)
        for line in result.lines:
            level = logging.ERROR if line.startswith("failed:") else logging.WARNING
            messages.tell(level, clean(line), workspace=result.answer["workspace"])
    if any(result.error for result in results):
        click.get_current_context().exit(EXIT_FAILED)


def _document(result: _Result) -> dict[str, Any]:
    error = {"error": result.error} if result.error else {}
    return {"schema": SCHEMA, **result.answer, **error}


def _print(answer: CommitAnswer) -> None:
    done = "skipped, committed" if answer["skipped"] else "committed"
    click.echo(f"{answer['workspace']}: {done} at {answer['committed_at']}")


def _commit(committer: Committer, config: Config, given: str, force: bool) -> _Result:
    try:
        candidate = find(config.roots, given, here())
    except UnknownWorkspace as error:
        return _Result(committing.commit_answer(clean(given), None), [f"failed: {error}"], clean(str(error)))
    outcome = _when_free(committer, candidate, force)
    answer = committing.commit_answer(clean(candidate.name), outcome)
    # A commit without its row is safe, and the next run adds the row; but not all was done.
    cause = committing.failure(outcome) or outcome.history_error
    return _Result(answer, _messages(outcome), clean(cause))


def _when_free(committer: Committer, candidate: Candidate, force: bool) -> Outcome:
    """Commit it, and while somebody else is at work on it try again for a moment."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while (outcome := committer.commit(candidate, force=force)).verdict is Verdict.BUSY and time.monotonic() < deadline:
        time.sleep(_BUSY_PAUSE_SECONDS)
    return outcome


def _messages(outcome: Outcome) -> list[str]:
    if cause := committing.failure(outcome):
        hint = "; --force commits it as it is" if outcome.verdict is Verdict.UNFINISHED else ""
        return [f"failed: {cause}{hint}"]
    return [f"warning: {doubt}" for doubt in committing.doubts(outcome)]
