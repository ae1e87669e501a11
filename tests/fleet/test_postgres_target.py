"""Pushing into a real PostgreSQL: what arrives, what is refused, and what a lost connection does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from agentic_watch.fleet import postgres_connection, postgres_schema
from agentic_watch.fleet.postgres_schema import DISPATCHES, FINDINGS
from agentic_watch.fleet.postgres_target import PostgresTarget
from agentic_watch.fleet.target_interface import Sender, TimedOut, Unavailable, Unusable
from agentic_watch.history.columns import FINDING_COLUMNS, HISTORY_COLUMNS
from fleet import samples
from fleet.conftest import Database
from fleet.servers import Proxy

SENDER = Sender(samples.HOST_ID, "11111111-2222-3333-4444-555555555555", "host-a", "1.0")


@contextmanager
def target(dsn: str) -> Iterator[PostgresTarget]:
    with closing(PostgresTarget(dsn, SENDER, lambda _: None)) as opened:
        yield opened


def test_the_tables_have_every_column_of_the_history() -> None:
    """No column of a dispatch or a finding is lost on the way."""
    assert {*HISTORY_COLUMNS, "commit_id", "id", "host_id", "updated_text"} == set(DISPATCHES)
    assert ["host_id", "commit_id", "n", *FINDING_COLUMNS] == list(FINDINGS)


def test_commits_arrive_whole(database: Database) -> None:
    """Each column of a commit and of its findings is there as the history has it, and times are times."""
    commits = [samples.commit(1, report=samples.REPORT), samples.commit(2, started_at="0001-01-01T00:00:00Z")]
    with target(database.dsn("poor")) as pushing:
        assert pushing.deliver(commits) == []
    names = [name for name in HISTORY_COLUMNS if name not in ("updated_at", "commit_id")]
    found = database.query(f"SELECT id, commit_id::text, updated_text, {', '.join(names)} FROM dispatches ORDER BY id")
    assert found == [
        (c.id, c.commit_id, c.columns["updated_at"], *(c.columns[name] for name in names)) for c in commits
    ]
    sql = "SELECT updated_at = timestamptz '2026-04-02 09:17:08Z', role, received_at <= now() FROM dispatches"
    (times,) = database.query(f"{sql} WHERE id = 1")
    assert times == (True, "poor", True)
    columns = ", ".join(f'"{name}"' for name in FINDING_COLUMNS)
    assert database.query(f"SELECT n, {columns} FROM findings ORDER BY n") == [
        (n, *finding) for n, finding in enumerate(commits[0].findings, 1)
    ]


def test_what_is_sent_twice_stands_there_once(database: Database) -> None:
    """A second sending is no error and changes nothing, findings included."""
    commits = [samples.commit(number, report=samples.REPORT) for number in range(20)]
    with target(database.dsn("poor")) as pushing:
        for _ in range(2):
            assert pushing.deliver(commits) == []
    assert database.commits() == sorted(commit.commit_id for commit in commits)
    assert database.query("SELECT count(*) FROM findings") == [(40,)]


def test_poisonous_commits_are_found_and_hold_up_no_other(database: Database) -> None:
    """A NUL, half of a surrogate pair and a number beyond 2^63 are refused with their cause; all others arrive."""
    commits = [samples.commit(number) for number in range(100)]
    poison = {
        7: {"question": "a\0b"},
        8: {"task": "\ud800"},
        60: {"issue": 2**63},
    }
    for number, columns in poison.items():
        commits[number] = type(commits[number])({**commits[number].columns, **columns})
    with target(database.dsn("poor")) as pushing:
        refused = pushing.deliver(commits)
    assert [(one.commit.id, one.cause) for one in refused] == [
        (7, 'invalid byte sequence for encoding "UTF8": 0x00'),
        (8, "holds text that is not Unicode (surrogates not allowed)"),
        (60, "bigint out of range"),
    ]
    assert len(database.commits()) == 97


def test_go_zero_time_is_kept_as_text(database: Database) -> None:
    """Go's zero time is no time for a client, but the order by text knows it."""
    with target(database.dsn("poor")) as pushing:
        pushing.deliver([samples.commit(1, updated_at="0001-01-01T00:00:00Z")])
    assert database.query("SELECT updated_at, updated_utc FROM dispatches") == [
        (None, "0001-01-01T00:00:00.000000000Z")
    ]


def test_a_host_says_what_is_left(database: Database) -> None:
    """One row a host and one a boot, renewed by each push."""
    with target(database.dsn()) as pushing:
        assert pushing.report(3, 1) is None
        (first,) = database.query("SELECT last_push FROM hosts")
        assert pushing.report(0, 1) is None
    (row,) = database.query(
        "SELECT host_id::text, host, version, pending, dead_letters, last_push > %s FROM hosts", *first
    )
    assert row == (samples.HOST_ID, "host-a", "1.0", 0, 1, True)
    assert database.query("SELECT boot_id FROM host_boots") == [(SENDER.boot_id,)]


def test_insert_alone_is_enough(database: Database) -> None:
    """A role that may only insert pushes; that its host's row grows old is said."""
    with target(database.dsn("poor")) as pushing:
        assert pushing.deliver([samples.commit(1)]) == []
        for _ in range(2):
            warning = pushing.report(0, 0)
            assert warning is not None
            assert "grant it" in warning
    assert database.query("SELECT count(*) FROM hosts") == [(1,)]


def test_an_operator_is_told_what_to_do(database: Database) -> None:
    """Missing tables, missing rights and a secret that is none say what helps, and never the secret."""
    with target(database.server.dsn("postgres", "pusher")) as pushing, pytest.raises(Unusable, match="push --init"):
        pushing.deliver([samples.commit(1)])
    with target(database.dsn("reader")) as pushing, pytest.raises(Unusable, match=r"permission denied .*grant it"):
        pushing.deliver([samples.commit(1)])
    with target("s3cret without sense") as pushing, pytest.raises(Unusable) as caught:
        pushing.deliver([samples.commit(1)])
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_nothing_is_left_behind_in_a_session(database: Database) -> None:
    """No prepared statement and no changed setting is left for whom pgbouncer gives the connection next."""
    with target(database.dsn("pusher")) as pushing:
        for _ in range(10):
            pushing.deliver([samples.commit(1)])
        connection = pushing._connection
        assert connection is not None
        assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


@pytest.mark.parametrize("what", ["cut", "swallow"])
def test_a_commit_whose_answer_is_lost_is_done_again(database: Database, what: str) -> None:
    """Whether COMMIT arrived or not: it is done again, and everything stands there once."""
    lost: list[int] = []

    def meddle(number: int, data: bytes, _sent: int) -> str:
        if b"COMMIT" in data and len(lost) < 2:
            lost.append(number)
            return what
        return "pass"

    commits = [samples.commit(number, report=samples.REPORT) for number in range(50)]
    with Proxy(database.server.port) as proxy, target(database.dsn("poor", proxy.port)) as pushing:
        proxy.meddle = meddle
        assert pushing.deliver(commits) == []
        assert proxy.connections == 3
    assert lost == [1, 2]
    assert database.commits() == sorted(commit.commit_id for commit in commits)
    assert database.query("SELECT count(*) FROM findings") == [(100,)]


def test_a_connection_cut_at_every_place(database: Database) -> None:
    """Cut after any number of messages of a transaction, a push goes on to its end and leaves each commit once."""
    commits = [samples.commit(number, report=samples.REPORT) for number in range(5)]
    messages = 0

    def count(_number: int, _data: bytes, _sent: int) -> str:
        nonlocal messages
        messages += 1
        return "pass"

    with Proxy(database.server.port) as proxy, target(database.dsn("poor", proxy.port)) as pushing:
        proxy.meddle = count
        pushing.deliver(commits)
    assert messages > 5
    for place in range(2, messages):  # the first is the connection's own greeting
        seen = 0

        def meddle(_number: int, _data: bytes, _sent: int, place: int = place) -> str:
            nonlocal seen
            seen += 1
            return "swallow" if seen == place else "pass"

        with Proxy(database.server.port) as proxy, target(database.dsn("poor", proxy.port)) as pushing:
            proxy.meddle = meddle
            assert pushing.deliver([*commits, samples.commit(place + 100)]) == []
    assert len(database.commits()) == 5 + messages - 2
    assert database.query("SELECT count(*) FROM findings") == [(10,)]


def test_a_server_that_falls_silent_is_given_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers is cut off after a while, not waited for."""
    monkeypatch.setattr(postgres_connection, "TRANSACTION_SECONDS", 0.2)
    with Proxy(database.server.port) as proxy, target(database.dsn("poor", proxy.port)) as pushing:
        proxy.meddle = lambda _number, data, _sent: "hold" if b"INSERT" in data else "pass"
        with pytest.raises(TimedOut):
            pushing.deliver([samples.commit(1)])
        assert proxy.connections == 1, "what it did not do in time is not given to it again"


def test_a_server_that_is_not_there_is_asked_once(database: Database) -> None:
    """A push that finds no server does not knock again: a thousand hosts would."""
    pauses: list[float] = []
    with Proxy(1) as proxy, closing(PostgresTarget(database.dsn("poor", proxy.port), SENDER, pauses.append)) as pushing:
        with pytest.raises(Unavailable):
            pushing.deliver([samples.commit(1)])
        assert proxy.connections == 1
    assert pauses == []


def test_two_pushers_of_one_host_at_once(database: Database) -> None:
    """Two pushers with the same commits in different orders wait for each other, and none fails."""
    commits = [samples.commit(number, report=samples.REPORT) for number in range(400)]
    refused: list[object] = []

    def work(order: list[int]) -> None:
        with target(database.dsn("poor")) as pushing:
            for start in order:
                refused.extend(pushing.deliver(commits[start : start + 50]))

    starts = list(range(0, 400, 50))
    threads = [threading.Thread(target=work, args=(order,)) for order in (starts, starts[::-1], starts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []
    assert database.commits() == sorted(commit.commit_id for commit in commits)


def test_init_can_be_done_twice_and_at_once(database: Database) -> None:
    """Making the tables again changes nothing, and a newer program's tables are left alone."""
    with closing(postgres_connection.connect(database.dsn("postgres"))) as connection:
        postgres_schema.make(connection)
        assert connection.execute("SELECT version FROM fleet_schema").fetchall() == [(postgres_schema.VERSION,)]
        connection.execute("INSERT INTO fleet_schema VALUES (99)")
        with pytest.raises(postgres_schema.SchemaTooNew, match="99"):
            postgres_schema.make(connection)


def test_months_as_partitions(database: Database) -> None:
    """With partitions each month has its own, other times have one, and what is sent twice stands there once."""
    database.query("DROP TABLE dispatches")
    with closing(postgres_connection.connect(database.dsn("postgres"))) as connection:
        for _ in range(2):
            postgres_schema.make(connection, ((2026, 3), 2))
    database.query("GRANT INSERT ON dispatches TO poor")
    commits = [samples.commit(1), samples.commit(2, updated_at="2027-01-01T00:00:00Z")]
    with target(database.dsn("poor")) as pushing:
        for _ in range(2):
            assert pushing.deliver(commits) == []
    assert database.query("SELECT tableoid::regclass::text, id FROM dispatches ORDER BY id") == [
        ("dispatches_2026_04", 1),
        ("dispatches_other", 2),
    ]
