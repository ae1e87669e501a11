"""A root that gets a name after it was used: refused before a row is doubled, wherever something commits."""

from __future__ import annotations

import json
import os
import signal

import pytest
from daemon_support import Service
from support import Host, make, run


def named(host: Host, name: str) -> list[str]:
    """A configuration in which the host's root has a name; the arguments that use it."""
    file = host.base / "named.toml"
    file.write_text(f'[[roots]]\npath = "{host.root}"\nname = "{name}"\n[history]\npath = "{host.history}"\n')
    return ["--config", str(file)]


@pytest.mark.parametrize(
    "arguments", [["--once"], ["--once", "--dry-run"], ["commit", "org/repo/task"], ["config", "check"], []]
)
def test_a_name_for_a_used_root_is_refused(host: Host, arguments: list[str]) -> None:
    """78, with the two ways out; nothing is doubled."""
    make(host.root)
    host.once()
    result = run([*named(host, "agents"), *arguments], host.base)
    assert (result.returncode, result.stdout) == (78, "")
    assert f"`agentic-watch rename-root {host.root} agents`" in result.stderr
    assert "or remove the name" in result.stderr
    assert len(host.rows()) == 1


def test_a_root_that_was_named_from_the_start_is_fine(host: Host) -> None:
    """So is one whose history is not there yet, and a query in any case."""
    make(host.root)
    arguments = named(host, "agents")
    for _ in range(2):
        assert run([*arguments, "--once"], host.base).returncode == 0
    assert [row["root"] for row in host.query("SELECT root FROM dispatch_history")] == ["agents"]
    assert run([*arguments, "history"], host.base).returncode == 0


def test_what_another_host_committed_under_the_path_is_no_reason(host: Host) -> None:
    """A fleet's hosts may have their roots at one path, and import each other's dispatches."""
    make(host.root)
    arguments = named(host, "agents")
    run([*arguments, "--once"], host.base)
    theirs = json.loads(run([*arguments, "export"], host.base).stdout) | {"root": str(host.root), "host": "theirs"}
    (host.base / "theirs.jsonl").write_text(json.dumps(theirs) + "\n")
    run([*arguments, "import", str(host.base / "theirs.jsonl")], host.base)
    assert run([*arguments, "--once"], host.base).returncode == 0
    assert sorted(row["root"] for row in host.query("SELECT root FROM dispatch_history")) == [str(host.root), "agents"]


def test_a_reload_refuses_it_too(host: Host) -> None:
    """SIGHUP with a name for the used root: an error with the two ways out, the old configuration stays."""
    make(host.root)
    with Service(host) as service:
        service.wait(lambda: bool(service.names()))
        service.roots = [{"path": str(host.root), "name": "agents"}]
        service.configure()
        os.kill(service.pid, signal.SIGHUP)
        service.wait_log("reload failed")
        assert "rename-root" in service.lines("reload failed")[0]
        service.wait_committed(make(host.root, "org/repo/later"))
    assert {row["root"] for row in host.query("SELECT root FROM dispatch_history")} == {str(host.root)}


def test_config_check_says_that_nothing_is_wrong(host: Host) -> None:
    """Exit status 0 and one line, or one document."""
    result = run([*named(host, "agents"), "config", "check"], host.base)
    assert (result.returncode, result.stderr) == (0, "")
    assert "nothing wrong" in result.stdout
    document = json.loads(run([*named(host, "agents"), "config", "check", "--json"], host.base).stdout)
    assert document["ok"] is True


def test_config_check_names_all_that_is_wrong(host: Host) -> None:
    """78, each problem a line, and in the document."""
    file = host.base / "bad.toml"
    file.write_text("x = 1\n[commit]\nsettle_seconds = -1\n")
    plain = run(["config", "check", "--config", str(file)], host.base)
    assert plain.returncode == 78
    assert "x: unknown key" in plain.stderr
    assert "settle_seconds" in plain.stderr
    as_json = run(["config", "check", "--json", "--config", str(file)], host.base)
    assert as_json.returncode == 78
    assert len(json.loads(as_json.stdout)["failures"]) >= 2
