"""What answers over all time would otherwise count anew: which commits are superseded, and findings by period.

Both are derived, and kept for all rows up to the number `upkeep.judged_to`. While there are later ones, such as
somebody may have inserted by SQL, whoever reads looks at all rows himself, until inserts of ours, or the daemon when it
has nothing else to do, have judged those too. So it is by statements for a whole group, not by triggers, which would
double the time of each insert. Where it fails, rows are inserted all the same.
"""

from __future__ import annotations

import sqlite3

TOOL = "COALESCE(f.tool, '')"
CODED = "COALESCE(NULLIF(f.rule_id, ''), NULLIF(f.code, ''), NULLIF(f.category, ''), '')"
"""A finding's rule within its tool; '' where only its title can tell."""

DAY = "substr({}updated_utc, 1, 10)"
"""The day of a commit in UTC, as an index has it; for `format`, with the table's name and a point."""

_PERIOD = "substr(d.updated_utc, 1, 9)"
_SAME_RUN = (
    "{0}.root = {1}.root AND {0}.workspace = {1}.workspace AND {0}.runs = {1}.runs "
    "AND {0}.started_utc IS {1}.started_utc"
)

# Of a month its days to the 9th, to the 19th, to the 29th, and the rest ("2026-04-1"): an answer about a span looks at
# nine days of findings at most, and one about all time adds up no more than it can in a second.
TABLES = (
    "CREATE TABLE superseded (id INTEGER PRIMARY KEY) STRICT",
    """
CREATE TABLE finding_counts (
    period TEXT NOT NULL,
    org TEXT NOT NULL,
    repo TEXT NOT NULL,
    tool TEXT NOT NULL,
    rule TEXT NOT NULL,
    findings INTEGER NOT NULL,
    dispatches INTEGER NOT NULL,
    last_utc TEXT NOT NULL,
    PRIMARY KEY (period, org, repo, tool, rule)
) STRICT, WITHOUT ROWID""",
)


def _count(sign: str, which: str) -> str:
    """Add the coded findings of some commits to the totals, or take them out."""
    return (
        f"INSERT INTO finding_counts SELECT {_PERIOD}, d.org, d.repo, {TOOL}, {CODED}, {sign}count(*), "
        f"{sign}count(DISTINCT d.id), max(d.updated_utc) FROM dispatch_history AS d JOIN findings AS f "
        f"ON f.dispatch_id = d.id WHERE {which} GROUP BY 1, 2, 3, 4, 5 "
        "ON CONFLICT DO UPDATE SET findings = findings + excluded.findings, "
        "dispatches = dispatches + excluded.dispatches, last_utc = max(last_utc, excluded.last_utc)"
    )


# Of those judged before, only the newest of a run is not superseded yet. A run at a time: a planted journal may hold a
# hundred thousand commits of one, and to look at each two of them would take for ever.
_OLDER = (
    "INSERT OR IGNORE INTO superseded SELECT older.id FROM (SELECT max(new.updated_utc) AS newest, "
    f"(SELECT judged.id FROM dispatch_history AS judged WHERE {_SAME_RUN.format('judged', 'new')} "
    "AND judged.id <= :judged ORDER BY judged.updated_utc DESC LIMIT 1) AS before FROM dispatch_history AS new "
    "WHERE new.id > :judged AND new.id <= :end GROUP BY new.root, new.workspace, new.runs, new.started_utc) AS run "
    "JOIN dispatch_history AS older ON older.id = run.before WHERE older.updated_utc < run.newest RETURNING id"
)
_LATE = (
    "INSERT OR IGNORE INTO superseded SELECT new.id FROM dispatch_history AS new "
    "WHERE new.id > :judged AND new.id <= :end AND EXISTS (SELECT 1 FROM dispatch_history AS newer "
    f"WHERE {_SAME_RUN.format('newer', 'new')} AND newer.updated_utc > new.updated_utc)"
)
_ADD = _count("", "d.id > :judged AND d.id <= :end AND d.id NOT IN (SELECT id FROM superseded)")
_TAKE = _count("-", "d.id = ?")

_REACHED = "SELECT judged_to, (SELECT ifnull(max(id), 0) FROM dispatch_history) FROM upkeep"
_AT_ONCE = 5_000
"""Rows that one insert judges at most: after a repair there may be a million, and a commit waits."""


def judge(connection: sqlite3.Connection, most: int = _AT_ONCE) -> bool:
    """Judge rows that are not yet, within the transaction that the caller holds; False: it failed, and waits."""
    connection.execute("SAVEPOINT judging")
    try:
        _judge(connection, most)
        return True
    except sqlite3.DatabaseError:
        # Answers look at the rows themselves then. A transaction that is gone is the caller's to notice.
        if connection.in_transaction:
            connection.execute("ROLLBACK TO judging")
        return False
    finally:
        if connection.in_transaction:
            connection.execute("RELEASE judging")


def are_judged(connection: sqlite3.Connection) -> bool:
    """Whether there is no row that is not judged yet."""
    judged, last = connection.execute(_REACHED).fetchone()
    there: bool = judged >= last
    return there


def forget(connection: sqlite3.Connection) -> None:
    """Have all judged anew, since findings were made anew; within the transaction that the caller holds."""
    for statement in _FORGET:
        connection.execute(statement)


def _judge(connection: sqlite3.Connection, most: int) -> None:
    judged, last = connection.execute(_REACHED).fetchone()
    if judged < 0:
        forget(connection)
        judged = 0
    span = {"judged": judged, "end": min(judged + most, last)}
    older = [number for (number,) in connection.execute(_OLDER, span).fetchall()]
    connection.execute(_LATE, span)
    connection.execute(_ADD, span)
    for number in older:
        connection.execute(_TAKE, (number,))
    connection.execute("UPDATE upkeep SET judged_to = max(judged_to, :end)", span)


# What was counted is wrong, and is counted anew from the beginning. Only this table is named, not what is derived:
# where that is lacking, findings come and go all the same.
_DOUBT = "UPDATE upkeep SET judged_to = -1"
_FORGET = ("DELETE FROM superseded", "DELETE FROM finding_counts", "UPDATE upkeep SET judged_to = 0")

# The run's commit before one that is deleted is its newest again.
_BEFORE_OLD = (
    f"(SELECT d.id FROM dispatch_history AS d WHERE {_SAME_RUN.format('d', 'old')} AND d.id <> old.id "
    "ORDER BY d.updated_utc DESC LIMIT 1)"
)
_WAS_NEWEST = "old.id NOT IN (SELECT id FROM superseded)"
_WAS_JUDGED = "old.id <= (SELECT judged_to FROM upkeep)"

TRIGGERS = (
    f"CREATE TRIGGER newest_deleting BEFORE DELETE ON dispatch_history WHEN {_WAS_JUDGED} AND {_WAS_NEWEST} BEGIN "
    f"{_count('-', 'd.id = old.id')}; "
    f"{_count('', f'd.id IN {_BEFORE_OLD} AND d.id IN (SELECT id FROM superseded)')}; "
    f"DELETE FROM superseded WHERE id IN {_BEFORE_OLD}; END",
    "CREATE TRIGGER superseded_deleted AFTER DELETE ON dispatch_history BEGIN "
    "DELETE FROM superseded WHERE id = old.id; END",
    # Whoever changes by SQL what makes a run has all judged anew.
    "CREATE TRIGGER runs_changed AFTER UPDATE OF workspace, started_utc, updated_utc, runs, org, repo "
    f"ON dispatch_history BEGIN {'; '.join(_FORGET)}; END",
    f"CREATE TRIGGER roots_changed AFTER UPDATE OF root ON dispatch_history BEGIN {_DOUBT}; END",
)


def _alone(name: str, event: str, dispatch: str) -> str:
    """Findings that come, change or go without their dispatch, which only somebody's SQL does: judge all anew."""
    condition = f"{dispatch} <= (SELECT judged_to FROM upkeep)"
    if event == "DELETE":
        condition += f" AND EXISTS (SELECT 1 FROM dispatch_history WHERE id = {dispatch})"
    return f"CREATE TRIGGER {name} AFTER {event} ON findings WHEN {condition} BEGIN {_DOUBT}; END"


FINDING_TRIGGERS = (
    _alone("findings_added_alone", "INSERT", "new.dispatch_id"),
    _alone("findings_changed_alone", "UPDATE", "old.dispatch_id"),
    _alone("findings_gone_alone", "DELETE", "old.dispatch_id"),
)
