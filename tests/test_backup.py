"""`backup`: a copy of the history, whole and in one moment."""

import fcntl
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from older_history import as_schema
from support import FIXTURES, Host, make, run, start, wait_for

from agentic_watch.history.history_file import VERSION


@pytest.fixture
def committed(host: Host) -> Host:
    """A host with two commits."""
    make(host.root, "o/r/one", task="findable")
    make(host.root, "o/r/two")
    host.once()
    return host


def back_up(host: Host, path: Path, code: int = 0) -> str:
    result = run([*host.arguments(), "backup", str(path)], host.base)
    assert result.returncode == code, result.stderr
    return result.stderr if code else result.stdout


def test_a_copy_is_a_history(committed: Host) -> None:
    """It lists, searches and shows what the history does, alone and without a root."""
    copy = committed.base / "copy.db"
    assert back_up(committed, copy).startswith(f"{copy}: 2 commits, ")
    found = run(["--history", str(copy), "history", "--json", "findable"], committed.base)
    assert json.loads(found.stdout)["workspace"] == "o/r/one"
    assert sorted(path.name for path in committed.base.iterdir()) == ["copy.db", "root", "state"]


def test_an_older_copy_is_replaced(committed: Host) -> None:
    """A nightly backup may have one name."""
    copy = committed.base / "copy.db"
    back_up(committed, copy)
    make(committed.root, "o/r/three")
    committed.once()
    result = run([*committed.arguments(), "backup", "--json", str(copy)], committed.base)
    found = json.loads(result.stdout)
    assert (found["schema"], found["path"], found["commits_count"]) == (2, str(copy), 3)
    assert found["bytes"] == copy.stat().st_size


def test_a_link_to_the_older_copy_stays(committed: Host) -> None:
    """The copy on the other disk is what the next backup replaces, not the name that leads there."""
    other = committed.base / "other"
    other.mkdir()
    link, copy = committed.base / "latest.db", other / "copy.db"
    link.symlink_to(copy)
    assert back_up(committed, link).startswith(f"{copy}: 2 commits, ")
    make(committed.root, "o/r/three")
    committed.once()
    assert back_up(committed, link).startswith(f"{copy}: 3 commits, ")
    assert link.readlink() == copy
    assert [path.name for path in other.iterdir()] == ["copy.db"]


def test_a_name_may_be_any_bytes(committed: Host) -> None:
    """A directory from an older system need not be named in UTF-8."""
    copy = committed.base / os.fsdecode(b"copy-\xff.db")
    for _ in range(2):
        back_up(committed, copy)
        assert copy.is_file()


@pytest.mark.parametrize("kind", ["text", "database", "history", "nowhere"])
def test_nothing_else_is_overwritten(committed: Host, kind: str) -> None:
    """A file of another kind, and the history itself, stay as they are: one line, exit status 1."""
    target = committed.base / "target"
    if kind == "text":
        target.write_text("dear diary\n" * 100)
    elif kind == "database":
        with closing(sqlite3.connect(target)) as connection, connection:
            connection.execute("CREATE TABLE music (title)")
    elif kind == "history":
        target = committed.history
    else:
        target = committed.base / "no" / "where"
    before = target.read_bytes() if target.exists() else None
    assert back_up(committed, target, code=1).count("\n") == 1
    assert (target.read_bytes() if target.exists() else None) == before


def test_a_restored_copy_is_taken_up(committed: Host) -> None:
    """In place of a lost history a copy works on: nothing is committed twice."""
    copy = committed.base / "copy.db"
    back_up(committed, copy)
    committed.forget_history()
    copy.rename(committed.history)
    assert committed.once().counts == {"scanned": 2, "skipped": 2}
    assert len(committed.rows()) == 2


def test_without_a_history_there_is_no_copy(host: Host) -> None:
    """One line says that there is none, and no file is left."""
    assert "no history at" in back_up(host, host.base / "copy.db", code=1)
    assert [path.name for path in host.base.iterdir()] == ["root"]


def test_the_only_copy_of_a_lost_history_is_kept(committed: Host) -> None:
    """A history that was lost and made anew is another one: the copy that has the old rows is not written over."""
    copy = committed.base / "copy.db"
    back_up(committed, copy)
    committed.forget_history()
    shutil.rmtree(committed.root)
    make(committed.root, "o/r/three")
    committed.once()
    before = copy.read_bytes()
    assert f"{copy}: is another history (2 commits)" in back_up(committed, copy, code=1)
    assert copy.read_bytes() == before


def test_a_copy_that_holds_more_is_kept(committed: Host) -> None:
    """An older copy was restored: what only the newer one has is named, with the way to take it in."""
    older, newer = committed.base / "older.db", committed.base / "newer.db"
    back_up(committed, older)
    make(committed.root, "o/r/three")
    committed.once()
    back_up(committed, newer)
    committed.forget_history()
    shutil.copy(older, committed.history)
    refused = back_up(committed, newer, code=1)
    assert f"{newer}: holds 1 commit that {committed.history} lacks" in refused
    run([*committed.arguments(), "import", str(newer)], committed.base)
    assert ": 3 commits, " in back_up(committed, newer)


def test_what_was_pruned_since_does_not_hold_it_up(committed: Host) -> None:
    """Yesterday's copy holds what was pruned today, which lies in an archive: the nightly backup goes on."""
    copy = committed.base / "copy.db"
    make(committed.root, "o/r/old", updated_at="1990-01-01T00:00:00Z")
    committed.once()
    back_up(committed, copy)
    run([*committed.arguments(), "prune", "--older-than", "1500w"], committed.base)
    assert ": 2 commits, " in back_up(committed, copy)


def test_a_history_in_use_is_kept(committed: Host) -> None:
    """A copy that another service works with by now: its log beside it tells."""
    copy = committed.base / "copy.db"
    back_up(committed, copy)
    with closing(sqlite3.connect(copy)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("UPDATE upkeep SET rows = rows")
        before = copy.read_bytes()
        assert f"{copy}: is in use" in back_up(committed, copy, code=1)
        assert copy.read_bytes() == before


def test_a_copy_of_an_older_schema_is_kept(committed: Host) -> None:
    """It says nothing of whose it is."""
    copy = committed.base / "copy.db"
    with closing(sqlite3.connect(copy)) as connection:
        connection.executescript((FIXTURES / "history-schema-2.sql").read_text())
    before = copy.read_bytes()
    assert "has schema version 2" in back_up(committed, copy, code=1)
    assert copy.read_bytes() == before


def test_a_copy_from_before_the_upgrade_is_replaced(committed: Host) -> None:
    """It says itself whose copy it is: a nightly backup goes on under its name."""
    copy = committed.base / "copy.db"
    back_up(committed, copy)
    as_schema(copy, "3-late")
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    back_up(committed, copy)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_stdout_is_no_target(committed: Host) -> None:
    """A copy is a file, and none is made that is called like stdout."""
    assert "must be a file" in back_up(committed, Path("-"), code=2)
    assert not (committed.base / "-").exists()


def test_a_missing_directory_is_what_is_named(committed: Host) -> None:
    """Not the history's log files, which are well."""
    refused = back_up(committed, committed.base / "no" / "copy.db", code=1)
    assert refused == f"Error: {committed.base / 'no'}: is not a directory; create it, or name another file\n"


def test_what_a_killed_backup_left_goes_with_the_next(committed: Host) -> None:
    """Whatever its name was, but not what another backup is at work on."""
    copy = committed.base / "copy-2026-12-01.db"
    left, under_way = (committed.base / f"agentic-watch.{digit * 12}.part" for digit in "ab")
    for path in (left, under_way):
        path.write_bytes(b"half")
    with under_way.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        back_up(committed, copy)
    assert sorted(path.name for path in committed.base.glob("*.*")) == [under_way.name, copy.name]


def test_a_killed_backup_leaves_the_old_copy(committed: Host) -> None:
    """And the next one removes what it left."""
    copy = committed.base / "copy.db"
    back_up(committed, copy)
    before = copy.read_bytes()
    process = start([*committed.arguments(), "backup", str(copy)], committed.base)
    wait_for(lambda: process.poll() is not None or any(committed.base.glob("*.part")))
    process.kill()
    process.communicate()
    assert process.returncode in (0, -9)
    assert len(copy.read_bytes()) == len(before)
    back_up(committed, copy)
    assert list(committed.base.glob("*.part")) == []
