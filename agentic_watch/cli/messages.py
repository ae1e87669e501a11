"""Messages of a command on stderr, as text, for the journal or as JSON lines; and a progress bar with rate and
remaining time on a terminal.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click

ERROR, WARNING, INFO = 40, 30, 20
"""The priorities of `logging`, which is imported only for machine-readable messages, not at every start."""


class _Form:
    """The format of messages: the configured log format, `auto` until it is known."""

    name = "auto"


def choose(form: str) -> None:
    """Use this log format from now on: auto, text or json."""
    _Form.name = form


def tell(level: int, text: str, prefix: str = "", **where: str) -> None:
    """Print `text`, line by line, with a priority, or for people with `prefix`.

    `where` is root and workspace, for JSON lines.
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
    """Whether messages go to the journal or are JSON lines."""
    from agentic_watch.cli.output import stderr_is_journal

    return _Form.name == "json" or (_Form.name == "auto" and stderr_is_journal())


@contextlib.contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """A progress bar: call the result with the amount done, of `length` in all (0: unknown)."""
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
