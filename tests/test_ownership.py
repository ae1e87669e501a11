"""A file that is no history of ours is refused with exit status 78; neither it nor what lies beside it is touched."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from older_history import as_schema
from support import Host, make, query, run, snapshot

from agentic_watch.history import HistoryError, HistoryNotOurs, history_file
from agentic_watch.history.store import History

WAYS = (["--once"], ["--once", "--dry-run"], [], ["history"], ["commit", "org/repo/task"])


def _toml(path: Path) -> None:
    path.write_text("[[roots]]\npath = '/srv'\n" * 100, "utf-8")


def _short(path: Path) -> None:
    path.write_bytes(b"x")


def _database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE findings (theirs)")
        connection.commit()


def _database_with_an_id(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 252006673")
        connection.execute("PRAGMA user_version = 1")


def _database_in_use(path: Path) -> None:
    """One whose program was killed: its tables are in its log."""
    made = path.with_name("made.db")
    with contextlib.closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
        for suffix in ("", "-wal"):
            shutil.copy(f"{made}{suffix}", f"{path}{suffix}")
    made.unlink()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


FOREIGN = (_toml, _short, _database, _database_with_an_id, _database_in_use, _fifo)


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_what_is_not_ours_is_refused_and_left_alone(host: Host, foreign: object, way: list[str]) -> None:
    """One line with the path and what to do, 78, and every byte and name as before."""
    make(host.root)
    host.history.parent.mkdir()
    assert callable(foreign)
    foreign(host.history)
    before = snapshot(host.history.parent)
    result = run([*host.arguments(), *way], host.base, timeout=30)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (78, "", 1)
    assert f"{host.history}: is " in result.stderr
    assert "not a history of agentic-watch" in result.stderr
    left = {name: what for name, what in snapshot(host.history.parent).items() if name.startswith("history.db")}
    ours = {f"history.db.{ours}" for ours in ("daemon", "cookie")}
    assert {name: what for name, what in left.items() if name not in ours} == {
        name: what for name, what in before.items() if name.startswith("history.db")
    }
    assert not (host.root / "org/repo/task/.meta/journal.jsonl").exists()


def test_an_empty_file_becomes_a_history(host: Host) -> None:
    """Nothing is lost in it, whether it has no byte or is a database without a table."""
    make(host.root)
    host.history.parent.mkdir()
    host.history.touch()
    assert host.once().counts["committed"] == 1
    host.forget_history()
    with contextlib.closing(sqlite3.connect(host.history)) as connection:
        connection.execute("VACUUM")
    assert host.once().counts["skipped"] == 1
    assert len(host.rows()) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_history_is_known_by_its_tables(host: Host, version: int) -> None:
    """Also when its program was killed before its first tables left the log."""
    make(host.root)
    host.once()
    as_schema(host.history, version)
    live = host.history.with_name("live.db")
    with contextlib.closing(sqlite3.connect(live)) as connection:
        connection.executescript((Path(__file__).parent / f"fixtures/history-schema-{version}.sql").read_text())
        host.history.unlink()
        for suffix in ("", "-wal"):
            shutil.copy(f"{live}{suffix}", f"{host.history}{suffix}")
    assert Path(f"{host.history}-wal").stat().st_size > 0
    assert host.once().code == 0
    assert len(host.rows()) == 1


def test_the_file_itself_says_whose_it_is_from_the_first_moment(host: Host) -> None:
    """The header has our id while all tables are still in the log."""
    with contextlib.closing(History(str(host.history))) as history:
        history.open()
        header = host.history.read_bytes()[:100]
    assert int.from_bytes(header[68:72]) == history_file.APPLICATION_ID


def test_a_corrupt_history_without_our_header_is_left_where_it_is(host: Host) -> None:
    """What cannot be proven to be ours is not moved."""
    make(host.root)
    host.once()
    host.history.write_bytes(b"\xa5" * 100_000)
    before = snapshot(host.history.parent)
    assert run([*host.arguments(), "--once"], host.base).returncode == 78
    assert snapshot(host.history.parent) == before


def test_a_foreign_file_put_in_place_under_an_open_history_passes(host: Host) -> None:
    """Who works with a history goes on without it meanwhile, and with it when it is back."""
    make(host.root)
    host.once()
    with contextlib.closing(History(str(host.history))) as history:
        history.open()
        away = host.history.with_name("away.db")
        history.close()
        host.history.rename(away)
        _toml(host.history)
        before = host.history.read_bytes()
        with pytest.raises(HistoryError, match="not a history of agentic-watch"):
            history.open()
        assert host.history.read_bytes() == before
        host.history.unlink()
        away.rename(host.history)
        with contextlib.closing(History(str(host.history))) as again:
            again.open()
    assert len(query(host.history, "SELECT * FROM dispatch_history")) == 1


def test_a_look_at_the_owner_costs_no_lock(host: Host) -> None:
    """A file that this process has open is not opened again beside SQLite, which would lose its locks."""
    with contextlib.closing(History(str(host.history))) as history:
        history.open()
        opened: list[str] = []
        real = os.open
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", lambda path, *rest: (opened.append(str(path)), real(path, *rest))[1])
            assert history_file.refuse_foreign(str(host.history))
        assert opened == []
    with pytest.raises(HistoryNotOurs):
        history_file.refuse_foreign(__file__)
