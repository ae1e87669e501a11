"""Exports the history's commits in insertion order, after a cursor, in the interchange format."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeVar

from agentic_watch.exchange import ExchangeError
from agentic_watch.fleet import host_identity, outbox
from agentic_watch.fleet.host_identity import NoHostId
from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.outbox import Largest

_PAGE = Largest(commits=1_000, bytes=16 << 20)
T = TypeVar("T")
_CURSOR = re.compile(r"(?:([0-9a-f-]{36}):)?(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position of an export: the history's id ("" if not given) and the id of its last commit."""

    history_id: str = ""
    number: int = 0

    def __str__(self) -> str:
        return f"{self.history_id}:{self.number}"


def cursor(text: str) -> Cursor:
    """Parse a cursor printed by `export`, or only its number. Raises ValueError."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a cursor; use the one that the last export printed")
    return Cursor(match[1] or "", int(match[2]))


Pages = Iterator[tuple[Collection[T], Cursor]]
"""Pages of commits with the cursor after each. The history is reopened for each page, so that no read stays open."""


def commits(history: str, after: Cursor) -> Pages[Commit]:
    """All commits after a cursor.

    A cursor of another history means from the beginning. Raises HistoryError, HistoryRefused; ExchangeError when the
    history is replaced meanwhile.
    """

    def page(number: int) -> tuple[str, dict[int, Commit], bool]:
        batch = outbox.next_batch(history, number, _PAGE)
        return batch.history_id, {commit.id: commit for commit in batch.commits}, batch.is_last

    return _pages(history, after, page)


def lines(history: str, after: Cursor, *, files: bool) -> Pages[str]:
    """The same as interchange lines, with `files` including kept files."""
    whose = host_id(history)
    return _pages(history, after, lambda number: outbox.next_lines(history, number, _PAGE, whose, files=files))


def _pages(history: str, after: Cursor, page: Callable[[int], tuple[str, dict[int, T], bool]]) -> Pages[T]:
    history_id = outbox.identity(history)
    number = after.number if after.history_id in ("", history_id) else 0
    is_last = False
    while not is_last:
        whose, found, is_last = page(number)
        if whose != history_id:
            raise ExchangeError(f"{history}: was replaced while it was exported; export it again")
        number = max(found, default=number)
        yield found.values(), Cursor(history_id, number)


def total(history: str, after: Cursor) -> int:
    """Number of commits after a cursor. Raises HistoryError and HistoryRefused."""
    of_this = after.history_id in ("", outbox.identity(history))
    return outbox.pending(history, after.number if of_this else 0)


def host_id(history: str) -> str:
    """The host's id if it exists or can be created, else (for a copy) the history's id.

    Raises HistoryError and HistoryRefused.
    """
    if not os.path.exists(os.path.join(os.path.dirname(history), "host_id")):
        return outbox.identity(history)
    try:
        return host_identity.host_id(history)
    except NoHostId as error:
        raise ExchangeError(str(error)) from error
