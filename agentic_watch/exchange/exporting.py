"""The history's commits in the order in which they came, from a cursor on, in the form that an import reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from agentic_watch.exchange import ExchangeError
from agentic_watch.fleet import host_identity, outbox
from agentic_watch.fleet.host_identity import NoHostId
from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.outbox import Largest

_PAGE = Largest(commits=1_000, bytes=16 << 20)
_CURSOR = re.compile(r"(?:([0-9a-f-]{36}):)?(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where a history was exported: its id ("" when not said) and the number of its last commit."""

    history_id: str = ""
    number: int = 0

    def __str__(self) -> str:
        return f"{self.history_id}:{self.number}"


def cursor(text: str) -> Cursor:
    """What `export` printed as its cursor, or the bare number in it. Raises ValueError."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no cursor; take the one that the last export printed")
    return Cursor(match[1] or "", int(match[2]))


@dataclass(frozen=True, slots=True)
class Page:
    """Some commits, and the cursor behind them."""

    commits: tuple[Commit, ...]
    behind: Cursor


def pages(history: str, after: Cursor, *, files: bool = False) -> Iterator[Page]:
    """All commits after a cursor, with `files` what is kept of theirs, some at a time: the history is opened anew for
    each, and held up by none.

    A cursor of another history means from the beginning. Raises HistoryError, HistoryRefused; ExchangeError when the
    history is replaced meanwhile.
    """
    history_id = outbox.identity(history)
    number = after.number if after.history_id in ("", history_id) else 0
    while True:
        batch = outbox.next_batch(history, number, _PAGE, files=files)
        if batch.history_id != history_id:
            raise ExchangeError(f"{history}: was replaced while it was exported; export it again")
        number = batch.last.id
        yield Page(batch.commits, Cursor(history_id, number))
        if batch.is_last:
            return


def total(history: str, after: Cursor) -> int:
    """How many commits `pages` will give. Raises HistoryError and HistoryRefused."""
    of_this = after.history_id in ("", outbox.identity(history))
    return outbox.pending(history, after.number if of_this else 0)


def host_id(history: str) -> str:
    """Whose commits these are: the host's id where one is or can be made, else (a copy) the history's own.

    Raises HistoryError and HistoryRefused.
    """
    if not os.path.exists(os.path.join(os.path.dirname(history), "host_id")):
        return outbox.identity(history)
    try:
        return host_identity.host_id(history)
    except NoHostId as error:
        raise ExchangeError(str(error)) from error
