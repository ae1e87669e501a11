"""A file that is not ours, named as the history by mistake: every command ends with 78 and leaves it as it was."""

from __future__ import annotations

import json
import socket
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
    ["status"],
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


def a_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))


@pytest.mark.parametrize("make_file", [text_file, other_database, a_socket])
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


def test_a_check_of_the_configuration_names_it_in_json(host: Host) -> None:
    """`config check --json` is a document also when the history's file is not ours; so it is when keys are wrong."""
    file = host.base / "important"
    text_file(file)
    config = host.base / "config.toml"
    for text, cause in ((f'[history]\npath = "{file}"\n', str(file)), ("[colour]\n", "colour: unknown key")):
        config.write_text(f'[[roots]]\npath = "{host.root}"\n{text}')
        result = run(["--config", str(config), "config", "check", "--json"], host.base)
        document = json.loads(result.stdout)
        assert (result.returncode, document["ok"], document["file"]) == (78, False, str(config))
        assert [cause in failure["error"] for failure in document["failures"]] == [True]
