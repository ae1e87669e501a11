"""`agentic-watch config`: write a configuration file, check one, and show each effective value and its origin."""

import json
import os
import shlex

import click

from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.answers.check.configuration_check import lacking
from agentic_watch.cli import messages
from agentic_watch.cli.exit_status import Misconfigured, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json
from agentic_watch.config import (
    Config,
    ConfigError,
    NoRootsError,
    Overrides,
    effective_values,
    find_file,
    new_file_path,
    parse,
    to_document,
)
from agentic_watch.config.paths import ETC_FILE
from agentic_watch.history import HistoryRefused
from agentic_watch.host.extras import how_to_add
from agentic_watch.host.new_file import new_file

HEADER = """\
# agentic-watch: what to watch, and where the history is.
# config.example.toml explains every key; `agentic-watch config show` prints each effective value and its origin.

"""
VALUE_WIDTH = 40


@click.group("config")
def command() -> None:
    """Write the configuration file, check it, or show the effective configuration."""


@command.command()
@click.option("--root", "roots", metavar="DIR", multiple=True, help="Root directory to watch; repeatable.")
@click.option("--history", metavar="FILE", help="The history (SQLite file).")
@click.option("--config", "file", metavar="FILE", help="The file to write.")
@click.pass_obj
def init(state: State, roots: tuple[str, ...], history: str | None, file: str | None) -> None:
    """Write a configuration file that watches the given roots (or $CORE_WORKSPACE/workspace).

    Without --config or $AGENTIC_WATCH_CONFIG it is /etc/agentic-watch/config.toml for root, for others
    agentic-watch/config.toml below $XDG_CONFIG_HOME or ~/.config. An existing file is left as it is.

    \b
    Examples:
      agentic-watch config init --root /srv/agents
      agentic-watch config init --config ./mine.toml
    """
    given = state.overrides
    given = given._replace(
        roots=roots or given.roots,
        history=given.history if history is None else history,
        config=given.config if file is None else file,
    )
    path = new_file_path(given, os.environ, os.getuid())
    if os.path.lexists(path):
        raise _exists(path)
    _create(path, _content(path, given))
    click.echo(path)
    named = f" --config {shlex.quote(path)}" if given.config is not None else ""
    # Files committed by root belong to root, and a service with its own user could not continue with them.
    step = "service install" if path == ETC_FILE else "--once"
    messages.tell(messages.INFO, f"next: agentic-watch{named} {step}")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def show(state: State, as_json: bool) -> None:
    """Show each effective value and where it comes from.

    \b
    Examples:
      agentic-watch config show
      agentic-watch config show --json
    """
    effective = state.config()
    if as_json:
        print_json(
            {
                "schema": SCHEMA,
                "file": effective.file,
                "values": to_document(effective),
                "origins": dict(effective.origins),
            }
        )
        return
    for line in _table(effective):
        click.echo(line)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def check(state: State, as_json: bool) -> None:
    """Validate the configuration; list every problem (exit status 78).

    `systemctl reload` runs this first: a reload rejects an invalid file. An extra that the configuration asks for and
    this installation lacks is a warning (exit status 0): recording goes on without it.

    \b
    Examples:
      agentic-watch config check
      agentic-watch config check --config ./new.toml
    """
    try:
        config = state.committing()
    except (ConfigError, HistoryRefused) as error:
        if not as_json:
            raise
        problems = error.problems if isinstance(error, ConfigError) else [str(error)]
        failures = [{"error": clean(line)} for line in problems]
        print_json({"schema": SCHEMA, "ok": False, "file": _file(state), "failures": failures, "warnings": []})
        click.get_current_context().exit(Misconfigured.exit_code)
    if as_json:
        warnings = [{"error": f"{text}. {how_to_add(extra)}"} for text, extra in lacking(config)]
        print_json({"schema": SCHEMA, "ok": True, "file": config.file, "failures": [], "warnings": warnings})
        return
    for text, extra in lacking(config):
        messages.tell(messages.WARNING, f"{text}. {how_to_add(extra)}", "warning: ")
    roots = ", ".join(root.key for root in config.roots)
    click.echo(f"{config.file or 'no file'}: nothing wrong; roots: {roots}; history: {config.history}")


def _file(state: State) -> str | None:
    """The file of an invalid configuration, if there is one."""
    try:
        found = find_file(state.overrides, os.environ)
    except ConfigError:
        return None
    return found[0] if found else None


def _content(path: str, overrides: Overrides) -> str:
    """The text of a file equivalent to the flags. Raises ConfigError and NoRootsError."""
    import tomli_w

    if not _has_roots(overrides):
        raise NoRootsError
    checked = parse("", path, overrides, os.environ)
    # tomli_w would write short roots as one inline list, to which no [[roots]] table can be added.
    tables = ["[[roots]]\n" + tomli_w.dumps({"path": _literal(root.path)}) for root in checked.roots]
    if overrides.history is not None:
        tables.append(tomli_w.dumps({"history": {"path": _literal(checked.history)}}))
    text = HEADER + "\n".join(tables)
    # The new file must be valid without the flags.
    parse(text, path, Overrides(), os.environ)
    return text


def _has_roots(overrides: Overrides) -> bool:
    base = os.environ.get("CORE_WORKSPACE")
    return bool(overrides.roots) or bool(base and os.path.isdir(os.path.join(base, "workspace")))


def _literal(path: str) -> str:
    # A dollar sign in the file would begin a variable.
    return path.replace("$", "$$")


def _create(path: str, text: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        # Atomically: a partial file would be rejected by the next start, and block the next init.
        with new_file(path, 0o644) as file:
            file.write(text.encode())
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise _unwritable(path, error) from error


def _exists(path: str) -> Refused:
    return Refused(f"{path}: already exists; edit it, or choose another file with --config FILE")


def _unwritable(path: str, error: OSError) -> Refused:
    return Refused(f"{path}: cannot be written: {error.strerror}; choose another file with --config FILE")


def _table(effective: Config) -> list[str]:
    rows = [
        (key, json.dumps(value, ensure_ascii=False), effective.origins[key])
        for key, value in effective_values(effective).items()
    ]
    keys = max(len(key) for key, _, _ in rows)
    values = min(VALUE_WIDTH, max(len(value) for _, value, _ in rows))
    return [f"{key:<{keys}} = {value:<{values}}  # {origin}" for key, value, origin in rows]
