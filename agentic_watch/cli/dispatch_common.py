"""Shared by `dispatch` and its subcommands `begin` and `finish`: options, messages, and the commit of an unrecorded
end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from agentic_watch.cli import messages
from agentic_watch.cli.global_options import State, Whole
from agentic_watch.dispatch.agent_names import agent_of
from agentic_watch.dispatch.begin_and_finish import begin
from agentic_watch.dispatch.run_types import Run, Uncommitted, Work
from agentic_watch.dispatch.workspace_to_use import choose
from agentic_watch.workspace.candidate import here
from agentic_watch.workspace.layout import META

_TASK_AT_MOST = 200
_TRIES = 10
_PAUSE_SECONDS = 0.3
T = TypeVar("T")


def work_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that describe a dispatch and its workspace."""
    options = (
        click.option("--task", metavar="TEXT", help="What to do (default: COMMAND, if given)."),
        click.option("--agent", metavar="NAME[:MODEL]", help="Agent, with its model (default: the name of COMMAND)."),
        click.option("--org", metavar="NAME", help="Organisation (default: from git's origin)."),
        click.option("--repo", metavar="NAME", help="Repository (default: from git)."),
        click.option("--branch", metavar="NAME", help="Branch (default: from git)."),
        click.option("--issue", type=Whole(0), metavar="N", help="Issue number."),
        click.option("--workspace", metavar="NAME", help="Workspace to use, created if missing (default: a new one)."),
    )
    for option in reversed(options):
        function = option(function)
    return function


reports_option = click.option(
    "--report", "reports", multiple=True, metavar="FILE", help="Report file (JSON, SARIF or JUnit XML); repeatable."
)


usage_option = click.option(
    "--usage", "usages", multiple=True, metavar="FILE", help="Result file that the agent's program printed; repeatable."
)


def work_of(options: dict[str, Any], words: Sequence[str] = (), **process: Any) -> Work:
    """The Work described by the options, for the current directory; `words` are those of the command, if any."""
    texts: dict[str, Any] = {key: options[key] or "" for key in ("task", "agent", "org", "repo", "branch")}
    if words:
        texts["command"] = "" if texts["task"] else _as_typed(words)
        texts["agent"] = texts["agent"] or agent_of(words)
    return Work(**texts, issue=options["issue"] or 0, directory=here(), **process)


def _as_typed(words: Sequence[str]) -> str:
    import shlex

    return shlex.join(words)[:_TASK_AT_MOST]


def begin_run(state: State, workspace: str | None, work: Work) -> Run:
    """Begin a run in the given workspace, and print what cannot be recorded. Raises DispatchError."""
    config = state.config()
    root, name = choose(config.roots, workspace or "", here())
    run = committing_first(state, lambda: begin(root, work, name, config.finished))
    if run.problem:
        messages.tell(messages.WARNING, run.problem, "warning: ")
    if run.begun:
        _say_unwritable(config.history, run)
    return run


def _say_unwritable(history: str, run: Run) -> None:
    """Warn that the history's owner cannot commit the new run, which might otherwise stay unnoticed for hours."""
    from agentic_watch.host.other_users import cannot_write, other_owner_of

    owner = other_owner_of(history)
    if owner is not None and cannot_write(owner, os.path.join(run.path, META)):
        import shlex

        root = shlex.quote(run.root.path)
        grant = f"u:{owner.name}:rwX"
        messages.tell(
            messages.WARNING,
            f"{run.path}/{META}: {owner.name}, the owner of the history, cannot write there, so this will not be "
            f"recorded; setfacl -R -m {grant} -m d:{grant} {root}",
            "warning: ",
        )


def committing_first(state: State, step: Callable[[], T]) -> T:
    """Do `step`; if an uncommitted end prevents it, commit that in a separate process and try again.

    Retries for a while, because the daemon may hold the workspace. Raises DispatchError when it still fails.
    """
    said = ""
    for _ in range(_TRIES):
        try:
            return step()
        except Uncommitted as error:
            if said:
                time.sleep(_PAUSE_SECONDS)
            said = _commit(state, error.path) or "the commit reported no cause"
    try:
        return step()
    except Uncommitted as error:
        raise error.because(said) from error


def _commit(state: State, path: str) -> str:
    """Run the command `commit`; returns its last line on stderr. A process, so that its memory is freed at its end."""
    import subprocess
    import sys

    given = state.overrides
    options = ["--config", given.config] if given.config else []
    options += [text for root in given.roots for text in ("--root", root)]
    options += ["--history", given.history] if given.history else []
    done = subprocess.run(  # noqa: S603  (ourselves, with the options that we were given)
        [sys.executable, "-m", "agentic_watch", *options, "commit", path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    return done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]


def say_without_daemon(state: State, run: Run) -> None:
    """Print that no daemon will commit this; nothing if unknown."""
    if state.verbosity < 0:
        return
    from agentic_watch.daemon.daemon_presence import is_there

    try:
        running = is_there(state.config().history)
    except OSError:
        return
    if not running:
        messages.tell(messages.INFO, f"{run.name}: no daemon is running; agentic-watch --once commits it")
