"""What a command says beside its data: on stderr, as people, the journal or a reader of JSON lines want it."""

from __future__ import annotations

import click

from agentic_watch.cli.standard_streams import stderr_is_journal

ERROR, WARNING, INFO = 40, 30, 20
"""The priorities of `logging`: it is imported when a machine is told something, not at every start."""


class _Form:
    """How messages look: the configured log format, `auto` until one is known."""

    name = "auto"


def choose(form: str) -> None:
    """Say what follows in this log format: auto, text or json."""
    _Form.name = form


def tell(level: int, text: str, prefix: str = "", **where: str) -> None:
    """Say `text`, line by line, with a priority; people see `prefix` before it instead.

    `where` is root and workspace, for a reader of JSON.
    """
    from agentic_watch.cli.output import clean

    lines = text.split("\n")
    if not for_machines():
        lines[0] = prefix + lines[0]
        click.echo("\n".join(map(clean, lines)), err=True)
        return
    import logging

    from agentic_watch.cli.logs import machine_formatter

    formatter = machine_formatter(_Form.name)
    assert formatter is not None
    for line in lines:
        record = logging.LogRecord("agentic_watch", level, "", 0, line, None, None)
        record.__dict__.update(where)
        click.echo(formatter.format(record), err=True)


def for_machines() -> bool:
    """Whether messages go to the journal or to a reader of JSON lines, not to people."""
    return _Form.name == "json" or (_Form.name == "auto" and stderr_is_journal())
