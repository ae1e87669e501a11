"""What commands print: JSON or aligned text, clean of control characters."""

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
    """The text with everything that is not printable (controls, newlines, lone surrogates) written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def print_content(data: bytes) -> None:
    """A file's content on stdout: byte for byte, but on a terminal as clean text, line by line."""
    if not on_terminal():
        click.echo(data, nl=False)
        return
    text = data.decode("utf-8", "replace")
    for line in text.removesuffix("\n").split("\n") if text else ():
        click.echo(clean(line.removesuffix("\r").expandtabs()))


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def print_csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Rows as RFC 4180 on stdout, below a header; None is an empty field, true and false are written so."""
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
    """A value as a field of CSV.

    A text that a spreadsheet would take for a formula gets an apostrophe before it: agents write the texts, and people
    open the file (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA) else text


def print_json_lines(documents: Iterable[Any]) -> None:
    """One JSON object a line on stdout."""
    for document in documents:
        click.echo(json.dumps(document, ensure_ascii=False))


def on_terminal() -> bool:
    """Whether a person looks at stdout: there are local times, bars and colours only for them."""
    return sys.stdout.isatty()


def coloured(text: str, colour: str) -> str:
    """The text in a colour on a terminal, unless $NO_COLOR is set (https://no-color.org)."""
    return click.style(text, fg=colour) if on_terminal() and not os.environ.get("NO_COLOR") else text


def line_width() -> int | None:
    """Columns of the terminal (or $COLUMNS); None when stdout is not one, where nothing needs to fit."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        import shutil  # and with it three kinds of compression

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
