"""The history under an open connection is replaced, upgraded, or made impossible to open."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from support import query, spoil
from test_history import row

from agentic_watch.history import HistoryError, HistoryTooNew, commit_lookup, history_file, store
from agentic_watch.history.store import History


def names(path: Path) -> list[str]:
    """The workspaces of all dispatches."""
    return [r["workspace"] for r in query(path, "SELECT workspace FROM dispatch_history ORDER BY id")]


def filled(path: Path, *workspaces: str) -> None:
    """A history with these, closed."""
    with contextlib.closing(History(str(path))) as history:
        history.insert([row(name) for name in workspaces])


@pytest.mark.parametrize("reader", [False, True])
def test_a_history_that_was_moved_into_place_is_read_as_it_is(tmp_path: Path, reader: bool) -> None:
    """The log of the old file is not taken for its log, and the old file, wherever it is now, has what its log held."""
    path, old, new = (tmp_path / name for name in ("history.db", "old.db", "new.db"))
    filled(new, *(f"new-{number}" for number in range(300)))
    with contextlib.ExitStack() as stack:
        history = stack.enter_context(contextlib.closing(History(str(path))))
        history.insert([row(f"old-{number}") for number in range(400)])
        if reader:
            other = stack.enter_context(contextlib.closing(sqlite3.connect(path)))
            other.execute("SELECT count(*) FROM dispatch_history").fetchone()
        path.rename(old)
        new.rename(path)
        history.insert([row("after")])
        assert names(path) == [*(f"new-{number}" for number in range(300)), "after"]
        assert len(names(old)) == 400
        assert [notice for notice in history.notices if "corrupt" in notice] == []
    assert names(path)[-1] == "after"
    assert [p.name for p in tmp_path.iterdir() if ".corrupt-" in p.name] == []
    assert query(path, "PRAGMA integrity_check")[0][0] == "ok"


def test_a_daemon_that_ends_after_its_history_was_replaced_leaves_no_log(tmp_path: Path) -> None:
    """Who opens the new file next does not read it with the old one's log."""
    path, new = tmp_path / "history.db", tmp_path / "new.db"
    filled(new, "new")
    with contextlib.closing(History(str(path))) as history:
        history.insert([row("old")])
        new.rename(path)
    assert [p.name for p in tmp_path.iterdir()] == ["history.db"]
    assert names(path) == ["new"]


def test_a_history_that_comes_with_a_log_of_its_own_keeps_it(tmp_path: Path) -> None:
    """What somebody put in place together with its -wal is whole, also what only the -wal holds."""
    path, new = tmp_path / "history.db", tmp_path / "new.db"
    filled(new, "new-0")
    with contextlib.closing(History(str(path))) as history:
        history.insert([row("old")])
        with contextlib.closing(sqlite3.connect(new)) as connection:
            connection.execute("UPDATE dispatch_history SET task = 'in the log'")
            connection.commit()
            for suffix in ("", "-wal"):
                shutil.copy(f"{new}{suffix}", f"{path}-copy{suffix}")
        for suffix in ("-wal", ""):
            os.rename(f"{path}-copy{suffix}", f"{path}{suffix}")
        history.insert([row("after")])
        assert [tuple(r) for r in query(path, "SELECT workspace, task FROM dispatch_history")] == [
            ("new-0", "in the log"),
            ("after", ""),
        ]


def test_a_log_that_belongs_to_another_file_is_moved_alone(tmp_path: Path) -> None:
    """A killed program's log beside a restored file spoils it; the file without it is sound, and stays."""
    path, other = tmp_path / "history.db", tmp_path / "other.db"
    filled(path, *(f"w{number}" for number in range(300)))
    filled(other, *(f"other-{number}" for number in range(900)))
    with contextlib.closing(History(str(other))) as history:
        history.insert([row(f"later-{number}", task="x" * 3_000) for number in range(100)])
        shutil.copy(f"{other}-wal", f"{path}-wal")
    before = names(path) if _opens(path) else []
    assert len(before) != 300
    for _ in range(3):
        with contextlib.closing(History(str(path))) as history, contextlib.suppress(HistoryError):
            history.insert([row("after")])
            break
    assert names(path) == [*(f"w{number}" for number in range(300)), "after"]
    assert {p.name.rpartition("-")[2] for p in tmp_path.glob("*.corrupt-*")} == {"wal", "shm"}


def _opens(path: Path) -> bool:
    try:
        query(path, "SELECT * FROM dispatch_history")
    except sqlite3.DatabaseError:
        return False
    return True


def test_damage_is_judged_without_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set aside is what was there, byte for byte, with its log."""
    path = tmp_path / "history.db"
    with contextlib.closing(History(str(path))) as history:
        history.insert([row(f"w{number}") for number in range(300)])
        history.close()
        history.insert([row("in the log")])
        spoil(path)
        before = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal")}
        with contextlib.closing(sqlite3.connect(path)) as other, contextlib.suppress(sqlite3.DatabaseError):
            other.execute("SELECT * FROM dispatch_history").fetchall()
        with pytest.raises(HistoryError):
            commit_lookup.committed(history, "/root", [f"w{number}" for number in range(300)])
        (aside,) = (p for p in tmp_path.glob("*.corrupt-*") if not p.name.endswith(("-wal", "-shm")))
        assert {suffix: Path(f"{aside}{suffix}").read_bytes() for suffix in ("", "-wal")} == before


def test_a_history_upgraded_under_an_open_connection_is_not_written_to(tmp_path: Path) -> None:
    """From the next transaction on it is refused, as it is at a start."""
    path = tmp_path / "history.db"
    with contextlib.closing(History(str(path))) as history:
        history.insert([row("before")])
        with contextlib.closing(sqlite3.connect(path)) as newer:
            newer.execute(f"PRAGMA user_version = {history_file.VERSION + 1}")
        with pytest.raises(HistoryTooNew, match="upgrade agentic-watch"):
            history.insert([row("after")])
        assert names(path) == ["before"]


def _directory(path: Path) -> None:
    path.mkdir()


def _foreign(path: Path) -> None:
    path.write_text("[[roots]]\n" * 50, "utf-8")


@pytest.mark.parametrize("put", [_directory, _foreign])
def test_what_cannot_be_opened_is_left_alone_for_a_while(
    tmp_path: Path, put: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks at every turn gets the cause without a look at the disk, one notice at most, and the way back."""
    path, away = tmp_path / "history.db", tmp_path / "away.db"
    now = 100.0
    monkeypatch.setattr(store.time, "monotonic", lambda: now)
    assert callable(put)
    with contextlib.closing(History(str(path))) as history:
        history.insert([row("before")])
        path.rename(away)
        put(path)
        looked: list[str] = []
        real = store.open_to_write
        monkeypatch.setattr(store, "open_to_write", lambda *given: (looked.append(given[0]), real(*given))[1])
        for _ in range(1_000):
            now += 0.005
            with pytest.raises(HistoryError, match=str(path)):
                history.insert([row("after")])
        assert 1 < len(looked) < 10
        assert history.notices == []
        path.rmdir() if path.is_dir() else path.unlink()
        away.rename(path)
        now += 5.1
        history.insert([row("after")])
        assert names(path) == ["before", "after"]
