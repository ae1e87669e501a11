"""What a command says beside its data: on stderr, as people, the journal or a reader of JSON lines want it.

How far long work is: a bar with rate and rest on stderr, when that is a terminal.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click

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
    from agentic_watch.cli.output import stderr_is_journal

    return _Form.name == "json" or (_Form.name == "auto" and stderr_is_journal())


@contextlib.contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """What is called with how much is done, of `length` in all (0: not known)."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    started = time.monotonic()

    def rate(position: int | None) -> str:
        seconds = time.monotonic() - started
        return f"{position / seconds:,.0f}/s" if position and seconds else ""

    bar = click.progressbar(
        length=length or None, label=label, file=sys.stderr, show_pos=True, show_eta=True, item_show_func=rate
    )
    with bar:

        def tell(position: int) -> None:
            bar.length = max(length, position) or None
            bar.update(position - bar.pos, position)

        yield tell
