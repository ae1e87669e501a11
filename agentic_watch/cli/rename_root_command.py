"""`agentic-watch rename-root`: renames a root and its dispatches in the history."""

from __future__ import annotations

import click

from agentic_watch import counted
from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.cli import messages
from agentic_watch.cli.exit_status import HistoryHeld, Interrupted, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.messages import progress
from agentic_watch.cli.output import clean, print_json
from agentic_watch.config.paths import BadValueError
from agentic_watch.config.paths import clean as printable
from agentic_watch.daemon.single_instance import HistoryInUse, Instance
from agentic_watch.exchange import ExchangeError
from agentic_watch.exchange.root_renaming import commits_of, refuse_merge, rename_root
from agentic_watch.history import opening
from agentic_watch.history.store import History


@click.command("rename-root")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, old: str, new: str, as_json: bool) -> None:
    """Rename the root OLD in the history to NEW: its `name` in the configuration, or its absolute path.

    For a root that moves, or gets a name after dispatches were committed under its path. Stop the daemon, run this,
    change the configuration, start the daemon. Two roots of the configuration are never merged. If it is interrupted,
    run it again. Rows already pushed to a fleet keep OLD; `check --fleet` says how to remove them.

    \b
    Examples:
      agentic-watch rename-root /srv/agents/workspace agents
      agentic-watch rename-root --json agents build-agents
    """
    config = state.config_to_read()
    _check(old, new)
    history = History(config.history)
    renamed = 0

    def on_progress(count: int) -> None:
        nonlocal renamed
        renamed = count
        tell(count)

    try:
        refuse_merge(config.roots, old, new)
        with opening.reading(config.history):
            pass  # raises if there is no history, which a writer would create
        held = Instance.acquire(config.history)
        try:
            with progress("commits", commits_of(history, old)) as tell:
                done = rename_root(history, old, new, on_progress)
        finally:
            history.close()
            held.release()
    except HistoryInUse as error:
        raise HistoryHeld(f"{error}; stop it before renaming") from error
    except OSError as error:
        raise Refused(f"{error.filename or config.history}: {error.strerror}") from error
    except ExchangeError as error:
        raise Refused(str(error)) from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted: renamed {counted(renamed, 'commit')}; run it again for the rest") from error
    if as_json:
        print_json(
            {"schema": SCHEMA, "old": old, "new": new, "renamed_count": done.renamed, "merged_count": done.merged}
        )
    else:
        both = f"; {done.merged:,} existed under both names" if done.merged else ""
        click.echo(clean(f"{counted(done.renamed, 'commit')} moved from {old} to {new}{both}"))
    if config.push:
        text = (
            "rows already pushed to a fleet keep the old name; agentic-watch check --fleet --repair sends the new ones"
        )
        messages.tell(messages.WARNING, text, "note: ")
    if new not in {root.key for root in config.roots}:
        messages.tell(
            messages.WARNING, f'no root is called {new} yet; set name = "{new}" in its [[roots]] table', "note: "
        )


def _check(old: str, new: str) -> None:
    if old == new:
        raise click.UsageError("OLD and NEW are the same")
    try:
        if not printable(new).strip():
            raise BadValueError("is empty")
    except BadValueError as error:
        raise click.BadParameter(str(error), param_hint="NEW") from error
