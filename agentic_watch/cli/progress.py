"""How far long work is: a bar with rate and rest on stderr, when that is a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click


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
