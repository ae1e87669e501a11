"""What is derived of the rows for answers over all time: always what plain SQL says of the rows that are there."""

import contextlib
import math
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import generated
import pytest

from agentic_watch.answers import dialect, source
from agentic_watch.answers.filters import Wanted
from agentic_watch.answers.findings import recurring
from agentic_watch.history import newest_commits, rows
from agentic_watch.history.columns import HISTORY_COLUMNS
from agentic_watch.history.newest_commits import CODED, TOOL
from agentic_watch.history.store import History
from agentic_watch.workspace import instant
from agentic_watch.workspace.record import Record

COMMITS = generated.past(300)
_TRUTH = f"""
SELECT substr(d.updated_utc, 1, 9), d.org, d.repo, {TOOL}, {CODED}, count(*), count(DISTINCT d.id)
FROM dispatches AS d JOIN findings AS f ON f.dispatch_id = d.id GROUP BY 1, 2, 3, 4, 5"""


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """A history to write to."""
    history = History(str(tmp_path / "history.db"))
    history.open()
    yield history
    history.close()


def insert(history: History, commits: list[Record]) -> None:
    history.insert([rows.from_record(commit, generated.ROOT, "host-1") for commit in commits])


def check(history: History) -> None:
    """Held against the view and the findings themselves."""
    with history.reading() as connection:
        ((judged,),) = connection.execute("SELECT judged_to >= (SELECT max(id) FROM dispatch_history) FROM upkeep")
        assert judged
        marked = set(connection.execute("SELECT id FROM superseded"))
        older = set(connection.execute("SELECT id FROM dispatch_history WHERE id NOT IN (SELECT id FROM dispatches)"))
        assert marked == older
        totals = "SELECT period, org, repo, tool, rule, findings, dispatches FROM finding_counts WHERE findings > 0"
        assert set(connection.execute(totals)) == set(connection.execute(_TRUTH))


@pytest.mark.parametrize("seed", range(4))
def test_in_whatever_order_commits_arrive(history: History, seed: int) -> None:
    """Older commits may come after newer ones, in groups of any size; one that is there already changes nothing."""
    chance = random.Random(seed)
    left = chance.sample(COMMITS, len(COMMITS))
    while left:
        size = chance.randrange(1, 40)
        insert(history, left[:size] + chance.sample(COMMITS, 2))
        check_now = chance.random() < 0.3 or size >= len(left)
        left = left[size:]
        if check_now:
            check(history)
    with history.reading() as connection:
        assert connection.execute("SELECT count(*) FROM superseded").fetchone()[0] == len(COMMITS) - len(
            generated.newest(COMMITS)
        )


@pytest.mark.parametrize("which", ["updated_utc < '2026-03-05'", "id % 3 = 0", "id > 200", "1 = 1"])
def test_what_is_deleted_counts_no_more(history: History, which: str) -> None:
    """Whatever is deleted, the commit before is the newest of its run again, and findings go along."""
    insert(history, COMMITS)
    with history.transaction() as connection:
        connection.execute(f"DELETE FROM dispatch_history WHERE {which}")
    insert(history, [COMMITS[0]])
    check(history)


def test_what_somebody_inserts_or_changes_by_sql(history: History) -> None:
    """Rows that are not judged are counted by every answer itself, and judged with the next insert of ours."""
    insert(history, COMMITS[:200])
    columns = ", ".join(HISTORY_COLUMNS)
    with contextlib.closing(sqlite3.connect(history.path, isolation_level=None)) as shell:
        for commit in COMMITS[200:299]:
            row = rows.from_record(commit, generated.ROOT, "host-1")
            shell.execute(
                f"INSERT INTO dispatch_history ({columns}) VALUES ({', '.join('?' * len(row.values))})", row.values
            )
    with source.history(history.path) as asked:
        assert asked.dialect is dialect.SQLITE
        told = sum(one.findings for one in recurring(asked, Wanted(), "rule"))
    insert(history, COMMITS[299:])
    check(history)
    with source.history(history.path) as asked:
        assert asked.dialect is dialect.SQLITE_JUDGED
        # What was inserted by hand came without findings.
        mine = [one for one in generated.newest(COMMITS) if one in COMMITS[:200] or one in COMMITS[299:]]
        assert told <= sum(len(one.findings) for one in mine)


@pytest.mark.parametrize("since", ["", "2026-02-20T00:00:00.000000000Z", "2026-03-05T04:00:00.000000000Z"])
def test_what_is_judged_tells_what_the_rows_tell(history: History, since: str) -> None:
    """An answer that knows which commits are superseded is the answer out of rows alone."""
    later = [generated.record(**{**fields(one), "updated_at": a_month_after(one)}) for one in COMMITS]
    insert(history, COMMITS + later)
    wanted = Wanted(since=since)
    with history.reading() as connection:
        fast = source.SqliteSource(connection, dialect.SQLITE_JUDGED)
        slow = source.SqliteSource(connection, dialect.SQLITE)
        told = [one.document("rule") for one in recurring(fast, wanted, "rule")]
        assert told == [one.document("rule") for one in recurring(slow, wanted, "rule")]
        assert len(told) == 5
        of_one = Wanted(since=since, repo=("api",), org=("acme",))
        assert recurring(fast, of_one, "rule") == recurring(slow, of_one, "rule")


def fields(one: Record) -> dict[str, object]:
    """What the generator is given for a record."""
    names = ("org", "repo", "agent", "runs", "status", "question", "report", "started_at")
    return {"workspace": f"{one.workspace}-later", **{name: getattr(one, name) for name in names}}


def a_month_after(one: Record) -> instant.Instant:
    return generated.at(one.updated_at.ns // 10**9 + 40 * 86_400)


def test_many_unjudged_rows_are_judged_some_at_a_time(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit does not wait for a whole past: each insert judges some more, and answers look at rows until then."""
    insert(history, COMMITS[:300])
    with history.transaction() as connection:
        newest_commits.forget(connection)
    monkeypatch.setattr(newest_commits.judge, "__defaults__", (100,))
    used = []
    for commit in COMMITS[300:306]:
        insert(history, [commit])
        with source.history(history.path) as asked:
            used.append(asked.dialect is dialect.SQLITE_JUDGED)
    assert used == [False, False, False, True, True, True]
    check(history)


def test_damage_here_stops_no_commit(history: History) -> None:
    """Where what is derived cannot be written rows are inserted, and answers look at them."""
    insert(history, COMMITS[:10])
    with history.transaction() as connection:
        connection.execute("DROP TABLE finding_counts")
    insert(history, COMMITS[10:20])
    with source.history(history.path) as asked:
        assert asked.dialect is dialect.SQLITE
        told = sum(one.findings for one in recurring(asked, Wanted(), "rule"))
    assert told == sum(len(one.findings) for one in generated.newest(COMMITS[:20])) > 0


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO findings (dispatch_id, tool, code) VALUES (7, 'gosec', 'G777')",
        "DELETE FROM findings WHERE tool = 'gosec'",
        "UPDATE findings SET code = 'other' WHERE id % 2",
        "UPDATE dispatch_history SET root = '/elsewhere' WHERE id % 2",
    ],
)
def test_findings_and_roots_that_somebody_changes_alone(history: History, sql: str) -> None:
    """Answers look at the rows at once, and at what is derived again when the daemon has mended it."""
    insert(history, COMMITS)
    with contextlib.closing(sqlite3.connect(history.path, isolation_level=None)) as shell:
        shell.execute(sql)
    with source.history(history.path) as asked:
        assert asked.dialect is dialect.SQLITE
    history.mend(math.inf)
    check(history)
    with source.history(history.path) as asked:
        assert asked.dialect is dialect.SQLITE_JUDGED
