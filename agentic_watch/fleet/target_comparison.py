"""Compares a target with what this host sent, by the count and the XOR of commit_ids per day.

The XOR is computed here, because not every engine supports it. Only days that differ are compared by commit.
"""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agentic_watch.config import Target
from agentic_watch.fleet import credentials, outbox, postgres_connection
from agentic_watch.fleet.one_push import PushContext
from agentic_watch.fleet.postgres_target import PostgresTarget
from agentic_watch.fleet.target_interface import Pace, send_all
from agentic_watch.history import opening

IDS = "SELECT substr(updated_utc, 1, 10), commit_id FROM dispatches WHERE host_id = %s"
IDS_OF_DAYS = (
    "SELECT substr(updated_utc, 1, 10), commit_id, root FROM dispatches "
    "WHERE host_id = %s AND substr(updated_utc, 1, 10) = ANY (%s)"
)

Sums = Mapping[str, tuple[int, int]]
"""Day (`2026-04-14`, by updated_utc) → (number of commits, XOR of their commit_ids)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A day that differs. `missing` are commits that the target lacks; `surplus` counts those that only it has."""

    day: str
    here: int
    there: int
    missing: frozenset[str]
    surplus: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result: the number of this host's commits, and the days that differ. Pruned days are no difference.

    `strange_roots` counts surplus commits by root, for roots that this history does not have.
    """

    commits: int
    differences: tuple[Difference, ...]
    strange_roots: Mapping[str, int]


def compare(target: Target, context: PushContext) -> Comparison:
    """Compare deliveries with the target. Raises Unavailable, Unusable, Poisonous and HistoryError."""
    position = context.state.position(target.name, outbox.identity(context.history))
    last = outbox.confirmed(context.history, position)
    dead = {letter.commit_id for letter in context.state.dead_letters(target.name)}
    delivered = [
        (day, one) for day, one in outbox.delivered_ids(context.history, last, target.statuses) if one not in dead
    ]
    here = sums(delivered)
    with contextlib.closing(postgres_connection.connect(credentials.connection_string(target))) as connection:
        host = uuid.UUID(context.sender.host_id)
        with postgres_connection.bounded(connection, postgres_connection.ANSWER_SECONDS):
            there = sums(connection.cursor().stream(IDS, (host,)))
        days = sorted(day for day in here.keys() | there.keys() if here.get(day) != there.get(day))
        with postgres_connection.bounded(connection, postgres_connection.ANSWER_SECONDS):
            rows = connection.execute(IDS_OF_DAYS, (host, days)).fetchall() if days else []
    found = {(day, str(one)): str(root) for day, one, root in rows}
    ours = {one for _, one in delivered}
    surplus = Counter(root for (_, one), root in found.items() if one not in ours)
    return Comparison(
        len(delivered),
        tuple(_differences(days, delivered, found)),
        _strange(surplus, context.history) if surplus else {},
    )


def _strange(roots: Mapping[str, int], history: str) -> Mapping[str, int]:
    with opening.reading(history) as connection:
        known = {root for (root,) in connection.execute("SELECT DISTINCT root FROM dispatch_history")}
    return {root: count for root, count in roots.items() if root not in known}


def send_again(target: Target, context: PushContext, differences: Iterable[Difference]) -> int:
    """Send missing commits; returns how many the target accepted. Raises like `compare`."""
    wanted = list(differences)
    missing = {one for difference in wanted for one in difference.missing}
    days = [difference.day for difference in wanted]
    commits = list(outbox.of_days(context.history, days, missing, files=target.files))
    sent = 0
    with contextlib.closing(PostgresTarget(credentials.connection_string(target), context.sender)) as delivery:
        for part, refusals in send_all(delivery, commits, Pace()):
            sent += len(part) - len(refusals)
    return sent


def sums(ids: Iterable[tuple[str, object]]) -> Sums:
    """Count and XOR per day. Pure."""
    found: dict[str, tuple[int, int]] = {}
    for day, one in ids:
        count, xor = found.get(day, (0, 0))
        number = one.int if isinstance(one, uuid.UUID) else uuid.UUID(str(one)).int
        found[day] = (count + 1, xor ^ number)
    return found


def _differences(
    days: list[str], delivered: list[tuple[str, str]], found: Iterable[tuple[str, str]]
) -> Iterator[Difference]:
    for day in days:
        here = {one for other, one in delivered if other == day}
        there = {one for other, one in found if other == day}
        yield Difference(day, len(here), len(there), frozenset(here - there), len(there - here))
