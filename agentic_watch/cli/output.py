"""Output of commands: JSON, CSV or text, with control characters escaped."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def clean(text: str) -> str:
    """The text with everything unprintable (controls, newlines, lone surrogates) as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def print_content(data: bytes) -> None:
    """Print a file's content to stdout: byte for byte, but cleaned on a terminal."""
    if not on_terminal():
        click.echo(data, nl=False)
        return
    text = data.decode("utf-8", "replace")
    for line in text.removesuffix("\n").split("\n") if text else ():
        click.echo(clean(line.removesuffix("\r").expandtabs()))


def print_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def print_csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Print rows as CSV (RFC 4180) with a header; None is an empty field, booleans are true and false."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text)
    for values in itertools.chain([columns], ([csv_cell(row[name]) for name in columns] for row in rows)):
        writer.writerow(values)
        click.echo(text.getvalue(), nl=False)
        text.seek(0)
        text.truncate()


def csv_cell(value: Any) -> Any:
    """A value as a CSV field.

    A text that a spreadsheet would take for a formula gets an apostrophe prefix, since agents write the texts
    (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA) else text


def print_json_lines(documents: Iterable[Any]) -> None:
    """Print one JSON object per line to stdout."""
    for document in documents:
        click.echo(json.dumps(document, ensure_ascii=False))


def on_terminal() -> bool:
    """Whether stdout is a terminal: only there are local times, bars and colours."""
    return sys.stdout.isatty()


def coloured(text: str, colour: str) -> str:
    """The text in a colour on a terminal, unless $NO_COLOR is set (https://no-color.org)."""
    return click.style(text, fg=colour) if on_terminal() and not os.environ.get("NO_COLOR") else text


def line_width() -> int | None:
    """Width of the terminal (or $COLUMNS); None without a terminal, where the width is not limited."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        import shutil  # late: imports three compression modules

        return shutil.get_terminal_size().columns
    return None


def stderr_is_journal() -> bool:
    """Whether stderr is the journal's own stream ($JOURNAL_STREAM, systemd.exec(5))."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        info = os.fstat(2)
    except OSError:
        return False
    return stream == f"{info.st_dev}:{info.st_ino}"
