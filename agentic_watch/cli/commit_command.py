"""`agentic-watch commit`: commit named workspaces now."""

from __future__ import annotations

import os

import click

from agentic_watch.answers import committing
from agentic_watch.answers.committing import CommitAnswer
from agentic_watch.cli import logs
from agentic_watch.cli.exit_status import EXIT_FAILED
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json_lines
from agentic_watch.commit import Committer, Outcome, Verdict
from agentic_watch.config import Config
from agentic_watch.history.store import History
from agentic_watch.workspace.find import UnknownWorkspace, find


@click.command("commit")
@click.argument("workspaces", metavar="WORKSPACE...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Commit an unfinished dispatch too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a workspace.")
@click.pass_obj
def command(state: State, workspaces: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Commit each WORKSPACE (a path, or its name below a root) if that has not been done."""
    config = state.config()
    logs.set_up(config, state.verbosity, quieter=True)
    history = History(config.history)
    committer = Committer(config, history)
    try:
        results = [_commit(committer, config, given, force) for given in workspaces]
    finally:
        committer.close()
        history.close()
    for notice in history.notices:
        click.echo(f"warning: {notice}", err=True)
    if as_json:
        print_json_lines(document for document, _, _ in results)
    for document, messages, _ in results:
        if not as_json and document["success"]:
            click.echo(
                f"{document['workspace']}: {'skipped, committed' if document['skipped'] else 'committed'} "
                f"at {document['committed_at']}"
            )
        for message in messages:
            click.echo(clean(message), err=True)
    if not all(whole for _, _, whole in results):
        click.get_current_context().exit(EXIT_FAILED)


def _commit(committer: Committer, config: Config, given: str, force: bool) -> tuple[CommitAnswer, list[str], bool]:
    try:
        candidate = find(config.roots, given, os.getcwd())
    except UnknownWorkspace as error:
        return committing.commit_answer(clean(given), None), [f"failed: {error}"], False
    outcome = committer.commit(candidate, force=force)
    answer = committing.commit_answer(clean(candidate.name), outcome)
    # A commit without its row is safe, and the next run adds the row; but not all was done.
    return answer, _messages(outcome), answer["success"] and not outcome.history_error


def _messages(outcome: Outcome) -> list[str]:
    if cause := committing.failure(outcome):
        hint = "; --force commits it as it is" if outcome.verdict is Verdict.UNFINISHED else ""
        return [f"failed: {cause}{hint}"]
    return [f"warning: {doubt}" for doubt in committing.doubts(outcome)]
