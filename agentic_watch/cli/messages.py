"""What a command says beside its data: on stderr, as people, the journal or a reader of JSON lines want it."""

from __future__ import annotations

import click

ERROR, WARNING, INFO = 40, 30, 20
"""The priorities of `logging`: it and what needs it are imported when there is something to say, not at every start."""


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
    import logging

    from agentic_watch.cli.logs import machine_formatter
    from agentic_watch.cli.output import clean

    formatter = machine_formatter(_Form.name)
    lines = text.split("\n")
    if formatter is None:
        lines[0] = prefix + lines[0]
        click.echo("\n".join(map(clean, lines)), err=True)
        return
    for line in lines:
        record = logging.LogRecord("agentic_watch", level, "", 0, line, None, None)
        record.__dict__.update(where)
        click.echo(formatter.format(record), err=True)


def for_machines() -> bool:
    """Whether messages go to the journal or to a reader of JSON lines, not to people."""
    from agentic_watch.cli.logs import machine_formatter

    return machine_formatter(_Form.name) is not None
