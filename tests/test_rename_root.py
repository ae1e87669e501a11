"""`rename-root`: what was committed under one name of a root is found under the other, and is not committed again."""

import json
import sqlite3
import subprocess
from contextlib import closing

import pytest
from support import UPDATED, Host, make, run, start, wait_for

from agentic_watch.daemon.single_instance import Instance
from agentic_watch.history.columns import commit_id

_IDENTITY = ("root", "workspace", "updated_utc", "runs")


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


def commit_under_both_names(host: Host) -> None:
    """A commit of the root that was also imported under the name `agents`."""
    make(host.root, "o/r/one")
    host.once()
    exported = json.loads(run([*host.arguments(), "export"], host.base).stdout)
    (host.base / "one.jsonl").write_text(json.dumps({**exported, "root": "agents"}) + "\n")
    elsewhere = ["--root", str(host.base / "elsewhere"), "--history", str(host.history)]
    run([*elsewhere, "import", str(host.base / "one.jsonl")], host.base)


def test_what_is_there_under_both_names_is_merged(host: Host) -> None:
    """When a commit was imported under the new name before, that row stays, and no commit is there twice."""
    commit_under_both_names(host)
    make(host.root, "o/r/two")
    host.once()
    assert json.loads(rename(host, str(host.root), "agents", "--json").stdout)["merged_count"] == 1
    rows = host.query("SELECT root, workspace FROM dispatch_history ORDER BY workspace")
    assert [tuple(row) for row in rows] == [("agents", "o/r/one"), ("agents", "o/r/two")]


def test_an_export_from_before_a_renaming_doubles_nothing(host: Host) -> None:
    """Its commits are known under the new name, whether the root got a name or lies elsewhere; others come in."""
    workspaces = [make(host.root, f"o/r/{name}") for name in ("one", "two")]
    host.once()
    export = host.base / "export.jsonl"
    export.write_text(run([*host.arguments(), "export"], host.base).stdout)
    for new in ("agents", str(host.base / "elsewhere")):
        rename(host, str(host.root), new)
        with closing(sqlite3.connect(host.history)) as connection, connection:
            connection.execute("DELETE FROM dispatch_history WHERE workspace = 'o/r/two'")
        configured = named(host, "agents") if new == "agents" else ["--root", new, "--history", str(host.history)]
        taken = json.loads(run([*configured, "import", "--json", str(export)], host.base).stdout)["files"][0]
        assert (taken["imported_count"], taken["skipped_count"]) == (1, 1)
        rows = host.query("SELECT * FROM dispatch_history ORDER BY workspace")
        assert [row["workspace"] for row in rows] == [workspace.name for workspace in workspaces]
        # Of a path that was left nobody knows the new one; what lies at that of a named root is known.
        assert [row["root"] for row in rows] == [new, "agents" if new == "agents" else str(host.root)]
        assert all(row["commit_id"] == commit_id(*(row[key] for key in _IDENTITY)) for row in rows)
        rename(host, new, str(host.root))


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
    assert stderr == f"Error: /elsewhere: the history has no such root; there are {host.root}\n"


@pytest.mark.parametrize(("old", "new"), [("a", "a"), ("a", ""), ("a", "b\nc")])
def test_a_name_that_cannot_be_one_is_a_usage_error(host: Host, old: str, new: str) -> None:
    """The same name, none, and one with control characters."""
    rename(host, old, new, code=2)


def test_without_a_history_none_is_made(host: Host) -> None:
    """One line, and no file appears."""
    rename(host, "a", "b", code=1)
    assert not host.history.parent.exists()


def two_roots(host: Host, names: tuple[str, str]) -> list[str]:
    """The arguments for a configuration with two roots of these names, "" for none; a dispatch is in each."""
    file = host.base / "config.toml"
    tables = ""
    for number, name in enumerate(names):
        root = host.base / f"root-{number}"
        make(root, "o/r/task", task=f"task {number}")
        tables += f'[[roots]]\npath = "{root}"\n' + (f'name = "{name}"\n' if name else "")
    file.write_text(f'{tables}[history]\npath = "{host.history}"\n')
    arguments = ["--config", str(file)]
    assert run([*arguments, "--once"], host.base).returncode == 0
    return arguments


@pytest.mark.parametrize("names", [("", "agents"), ("first", "agents")])
def test_two_roots_of_the_configuration_are_not_made_one(host: Host, names: tuple[str, str]) -> None:
    """Their dispatches would be mixed, and those with one identity deleted: refused, nothing is changed."""
    arguments = two_roots(host, names)
    everything = "SELECT root, task, commit_id FROM dispatch_history ORDER BY id"
    before = [tuple(row) for row in host.query(everything)]
    for old in {names[0] or str(host.base / "root-0"), str(host.base / "root-0")}:
        for new in ("agents", str(host.base / "root-1")):
            result = run([*arguments, "rename-root", old, new], host.base)
            assert (result.returncode, result.stdout) == (1, "")
            assert f"{new}: is another root of the configuration ({host.base / 'root-1'})" in result.stderr
    assert [
        tuple(row) for row in host.query("SELECT root, task, commit_id FROM dispatch_history ORDER BY id")
    ] == before


def test_the_name_that_the_configuration_has_already_is_fine(host: Host) -> None:
    """The configuration may be changed first: the root at that path has the new name there."""
    make(host.root)
    host.once()
    result = run([*named(host, "agents"), "rename-root", str(host.root), "agents"], host.base)
    assert (result.returncode, result.stderr) == (0, "")
    assert host.rows()["org/repo/task"]["root"] == "agents"


def test_commits_that_say_different_things_are_not_merged(host: Host) -> None:
    """Two rows of one identity under both names, with different tasks: neither may go."""
    make(host.root)
    host.once()
    exported = json.loads(run([*host.arguments(), "export"], host.base).stdout)
    (host.base / "one.jsonl").write_text(json.dumps({**exported, "root": "agents", "task": "another"}) + "\n")
    run([*host.arguments(), "import", str(host.base / "one.jsonl")], host.base)
    assert "and one of them would be deleted" in rename(host, str(host.root), "agents", code=1).stderr
    rows = host.query("SELECT root, task FROM dispatch_history ORDER BY id")
    assert [tuple(row) for row in rows] == [(str(host.root), ""), ("agents", "another")]


def test_a_killed_one_goes_on_when_it_is_run_again(host: Host) -> None:
    """Whenever it ends, each commit is there once, with the id that its root gives it."""
    record = {"status": "completed", "updated_at": UPDATED, "committed_at": UPDATED, "root": "old", "host": "another"}
    lines = (json.dumps({**record, "workspace": f"o/r/t-{number}"}) for number in range(2_000))
    (host.base / "many.jsonl").write_text("".join(f"{line}\n" for line in lines))
    run([*host.arguments(), "import", str(host.base / "many.jsonl")], host.base)
    process = start([*host.arguments(), "rename-root", "old", "new"], host.base)
    count = "SELECT count(*) AS n FROM dispatch_history WHERE root = 'new'"
    wait_for(lambda: process.poll() is not None or host.query(count)[0]["n"] > 0)
    process.kill()
    process.communicate()
    rename(host, "old", "new", code=0 if host.query(count)[0]["n"] < 2_000 else 1)
    rows = host.query("SELECT * FROM dispatch_history")
    assert len(rows) == 2_000
    for row in rows:
        assert row["commit_id"] == commit_id("new", row["workspace"], row["updated_utc"], row["runs"])


def test_a_damaged_search_stops_no_renaming(host: Host) -> None:
    """It is derived of the record: it is made anew, what there is twice is merged, and all is found by its new name."""
    commit_under_both_names(host)
    make(host.root, "o/r/two", task="find the walrus")
    host.once()
    with closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("DELETE FROM dispatch_search_config")
    found = json.loads(rename(host, str(host.root), "agents", "--json").stdout)
    assert (found["renamed_count"], found["merged_count"]) == (1, 1)
    said = run([*host.arguments(), "history", "walrus", "--json"], host.base)
    assert [json.loads(line)["root"] for line in said.stdout.splitlines()] == ["agents"]
