"""A file that is not ours, named as the history by mistake: every command ends with 78 and leaves it as it was."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support import Host, make, run, snapshot

COMMANDS = [
    [],
    ["--once"],
    ["--once", "--dry-run"],
    ["commit", "org/repo/task"],
    ["history"],
    ["check"],
    ["check", "--quick"],
    ["check", "--repair"],
    ["config", "check"],
    ["service", "install"],
    ["service", "install", "--dry-run"],
    ["service", "install", "--user"],
    ["service", "show"],
]


def text_file(path: Path) -> None:
    path.write_text("[important]\nvalue = 1\n")


def other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE customers (name TEXT)")


@pytest.mark.parametrize("make_file", [text_file, other_database])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_file_of_somebody_else_is_refused(host: Host, arguments: list[str], make_file: object) -> None:
    """One line that names it and the way out; not a byte, a name or a time of anything is changed."""
    assert callable(make_file)
    make(host.root)
    file = host.base / "important"
    make_file(file)
    before = snapshot(host.base)
    result = run(["--root", str(host.root), "--history", str(file), *arguments], host.base)
    assert result.returncode == 78, result.stderr
    assert result.stderr.count("\n") == 1
    assert str(file) in result.stderr
    assert "not a history of agentic-watch" in result.stderr
    assert snapshot(host.base) == before
