"""`rename-root`: what was committed under one name of a root is found under the other, and is not committed again."""

import json
import subprocess

import pytest
from support import Host, make, run

from agentic_watch.daemon.instance import Instance
from agentic_watch.history.rows import commit_id


def rename(host: Host, old: str, new: str, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    result = run([*host.arguments(), "rename-root", *options, old, new], host.base)
    assert result.returncode == code, result.stderr
    return result


def named(host: Host, name: str) -> list[str]:
    """The arguments for a configuration in which the root has a name."""
    file = host.base / "config.toml"
    root = f'[[roots]]\npath = "{host.root}"\nname = "{name}"\n'
    file.write_text(f'{root}[history]\npath = "{host.history}"\n')
    return ["--config", str(file)]


def test_a_root_that_gets_a_name_keeps_its_commits(host: Host) -> None:
    """After the renaming and a change of the configuration a pass finds everything committed."""
    workspace = make(host.root)
    host.once()
    found = json.loads(rename(host, str(host.root), "agents", "--json").stdout)
    assert found == {"schema": 2, "old": str(host.root), "new": "agents", "renamed_count": 1, "merged_count": 0}
    result = run([*named(host, "agents"), "--once", "--json"], host.base)
    assert json.loads(result.stdout)["skipped"] == 1
    (row,) = host.query("SELECT * FROM dispatch_history")
    assert row["root"] == "agents"
    assert row["commit_id"] == commit_id("agents", workspace.name, row["updated_utc"], row["runs"])
    assert len(workspace.lines()) == 1


def test_what_is_there_under_both_names_is_merged(host: Host) -> None:
    """When a commit was imported under the new name before, that row stays, and no commit is there twice."""
    make(host.root, "o/r/one")
    host.once()
    exported = json.loads(run([*host.arguments(), "export"], host.base).stdout)
    (host.base / "one.jsonl").write_text(json.dumps({**exported, "root": "agents"}) + "\n")
    run([*host.arguments(), "import", str(host.base / "one.jsonl")], host.base)
    make(host.root, "o/r/two")
    host.once()
    assert json.loads(rename(host, str(host.root), "agents", "--json").stdout)["merged_count"] == 1
    rows = host.query("SELECT root, workspace FROM dispatch_history ORDER BY workspace")
    assert [tuple(row) for row in rows] == [("agents", "o/r/one"), ("agents", "o/r/two")]


def test_no_daemon_may_run(host: Host) -> None:
    """While a daemon holds the history it is refused with 75, and nothing is changed."""
    make(host.root)
    host.once()
    instance = Instance.acquire(str(host.history))
    try:
        assert "another daemon holds this history" in rename(host, str(host.root), "agents", code=75).stderr
    finally:
        instance.release()
    assert host.rows()["org/repo/task"]["root"] == str(host.root)


def test_an_unknown_root_is_named_with_those_there_are(host: Host) -> None:
    """One line, exit status 1."""
    make(host.root)
    host.once()
    stderr = rename(host, "/elsewhere", "agents", code=1).stderr
    assert stderr == f"Error: /elsewhere: the history holds no such root; there are {host.root}\n"


@pytest.mark.parametrize(("old", "new"), [("a", "a"), ("a", ""), ("a", "b\nc")])
def test_a_name_that_cannot_be_one_is_a_usage_error(host: Host, old: str, new: str) -> None:
    """The same name, none, and one with control characters."""
    rename(host, old, new, code=2)


def test_without_a_history_none_is_made(host: Host) -> None:
    """One line, and no file appears."""
    rename(host, "a", "b", code=1)
    assert not host.history.parent.exists()
