"""`agentic-watch import`: adds dispatches from other sources to this host's history."""

from __future__ import annotations

from typing import Any

import click

from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.cli import logs, messages
from agentic_watch.cli.exit_status import EXIT_FAILED, Interrupted, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.messages import progress
from agentic_watch.cli.output import clean, print_json
from agentic_watch.config import Config
from agentic_watch.exchange.importing import Imported, import_file
from agentic_watch.history import HistoryError
from agentic_watch.history.store import History
from agentic_watch.workspace.jsontext import as_text


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--as", "as_root", metavar="ROOT", help="Root for records without one (a core-agent store).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, files: tuple[str, ...], as_root: str | None, as_json: bool) -> None:
    """Import the dispatches of each FILE into this history; duplicates are skipped.

    FILE is an export or an archive of `prune` (- is stdin), another host's history, or a core-agent store. The format
    is detected, and the file is only read.

    \b
    Examples:
      agentic-watch import host-a.jsonl host-b/history.db
      ssh host-c agentic-watch export | agentic-watch import -
    """
    config = state.config_to_read()
    logs.set_up(config, state.verbosity, quieter=True)
    history = History(config.history)
    results: list[Imported] = []
    try:
        history.open()
        for path in files:
            _import(path, config, history, as_root, results)
    except HistoryError as error:
        raise Refused(f"{error}; imported {_sum(results):,} before, run it again for the rest") from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted: imported {_sum(results):,}; run it again for the rest") from error
    finally:
        history.close()
    if as_json:
        print_json({"schema": SCHEMA, "files": [as_text(_document(result)) for result in results]})
    _tell(results, as_json=as_json)
    if any(result.error or result.invalid for result in results):
        click.get_current_context().exit(EXIT_FAILED)


def _import(path: str, config: Config, history: History, root: str | None, results: list[Imported]) -> None:
    with progress(clean(path), 0) as tell:
        results.append(Imported(path))
        import_file(results[-1], config, history, root, tell)


def _document(result: Imported) -> dict[str, Any]:
    counts = {f"{name}_count": getattr(result, name) for name in ("read", "imported", "skipped", "invalid")}
    failures = [{"error": fault} for fault in result.faults]
    return {"path": result.path, "kind": result.kind or None, **counts, "failures": failures, "error": result.error}


def _sum(results: list[Imported]) -> int:
    return sum(result.imported for result in results)


def _tell(results: list[Imported], *, as_json: bool) -> None:
    for result in results:
        if not as_json and not (result.error and not result.read):
            click.echo(
                clean(
                    f"{result.path}: {result.kind}: {result.imported:,} imported, {result.skipped:,} skipped, "
                    f"{result.invalid:,} invalid"
                )
            )
        for fault in result.faults:
            messages.tell(messages.ERROR, fault, "failed: ")
        if result.invalid > len(result.faults):
            messages.tell(messages.ERROR, f"{result.path}: and {result.invalid - len(result.faults)} more", "failed: ")
        if result.error:
            messages.tell(messages.ERROR, result.error, "failed: ")
