"""`backup`: a copy of the history, whole and in one moment."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support import Host, make, run


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
