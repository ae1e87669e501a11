"""`agentic-watch commit`: commit named workspaces now."""

from __future__ import annotations

import os
from typing import Any

import click

from agentic_watch.cli import logs
from agentic_watch.cli.output import clean, print_json_lines
from agentic_watch.cli.state import EXIT_FAILED, State
from agentic_watch.commit import Committer, Outcome, Verdict
from agentic_watch.config import Config
from agentic_watch.history.store import History
from agentic_watch.workspace import layout
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
        print_json_lines(document for document, _ in results)
    for document, message in results:
        if not as_json and document["success"]:
            click.echo(
                f"{document['workspace']}: {'skipped, committed' if document['skipped'] else 'committed'} "
                f"at {document['committed_at']}"
            )
        if message:
            click.echo(clean(message), err=True)
    if not all(document["success"] for document, _ in results):
        click.get_current_context().exit(EXIT_FAILED)


def _commit(committer: Committer, config: Config, given: str, force: bool) -> tuple[dict[str, Any], str]:
    try:
        candidate = find(config.roots, given, os.getcwd())
    except UnknownWorkspace as error:
        return _document(given, "", None), f"failed: {error}"
    outcome = committer.commit(candidate, force=force)
    directory = os.path.join(candidate.root.path, candidate.name)
    message = _message(outcome)
    return _document(candidate.name, directory, outcome), message


def _document(name: str, directory: str, outcome: Outcome | None) -> dict[str, Any]:
    """The original tool's answer."""
    success = outcome is not None and outcome.verdict in (Verdict.COMMITTED, Verdict.SKIPPED)
    return {
        "success": success,
        "workspace": clean(name),
        "journal_path": os.path.join(directory, layout.META_JOURNAL) if success else "",
        "marker_path": os.path.join(directory, layout.META_MARKER) if success else "",
        "committed_at": outcome.committed_at if outcome else "",
        "skipped": outcome is not None and outcome.verdict is Verdict.SKIPPED,
    }


def _message(outcome: Outcome) -> str:
    name = outcome.candidate.name
    if outcome.verdict is Verdict.UNFINISHED and outcome.status is not None:
        return f"failed: {name}: is {outcome.status.status}, which is not finished; --force commits it as it is"
    if outcome.cause:
        return f"failed: {name}: {outcome.cause}"
    if outcome.history_error:
        return f"warning: {name}: no history row yet ({outcome.history_error}); the next run adds it"
    return "\n".join(f"warning: {name}: {warning}" for warning in outcome.warnings)
