"""Directories that no scan would find a workspace in are none for `commit`, `show`, `finish` and a client either."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from dispatch_support import dispatch
from support import Host, Workspace, command, environment, make, run

from agentic_watch.workspace.candidate import UnknownWorkspace, find

INSIDE = (".meta", ".git", "repo", "repo/deep", "node_modules/x", "work")


def planted(host: Host) -> list[Path]:
    """A finished workspace, and finished statuses in its directories, as a clone of another dispatch's would be."""
    workspace = make(host.root, "acme/api/task-1")
    places = [workspace.path / name for name in INSIDE]
    for name in INSIDE:
        inner = Workspace(workspace.path, name)
        inner.write_status()
        inner.write_status("root")
    return places


def test_no_directory_of_a_workspace_is_committed_as_another(host: Host) -> None:
    """`commit .` in each is refused with the workspace that is meant, and nothing is made there."""
    for place in planted(host):
        before = sorted(place.rglob("*"))
        result = subprocess.run(
            command([*host.arguments(), "commit", "."]),
            env=environment(host.base),
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 1
        assert "is no workspace, " in result.stderr
        assert f"; did you mean {host.root}/acme/api/task-1?" in result.stderr
        assert sorted(place.rglob("*")) == before
    assert host.once().counts == {"scanned": 1, "committed": 1}
    assert list(host.rows()) == ["acme/api/task-1"]


def test_show_names_the_workspace_that_is_meant(host: Host) -> None:
    """`show` says the same, once."""
    planted(host)
    host.once()
    for name in INSIDE:
        result = run([*host.arguments(), "show", f"acme/api/task-1/{name}"], host.base)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.strip().endswith(f"did you mean {host.root}/acme/api/task-1?")


def test_finish_is_not_led_into_a_workspace(host: Host) -> None:
    """An environment that names `.meta` makes no second dispatch of it."""
    planted(host)
    for name in INSIDE:
        place = f"{host.root}/acme/api/task-1/{name}"
        result = dispatch(host, "finish", "--status", "failed", environ={"AGENTIC_WATCH_WORKSPACE": place})
        assert (result.returncode, "did you mean" in result.stderr) == (1, True)
        assert dispatch(host, "begin", "--workspace", place).returncode == 1
    assert host.once().counts == {"scanned": 1, "committed": 1}


def test_a_client_is_refused_in_the_same_way(host: Host) -> None:
    """A name below a root, or an absolute path, as an MCP client gives it."""
    from agentic_watch.mcp_server.tool import ToolRefusal
    from agentic_watch.mcp_server.workspace_tools import locate

    planted(host)
    for given in ("acme/api/task-1/.meta", f"{host.root}/acme/api/task-1/repo"):
        with pytest.raises(ToolRefusal, match="did you mean"):
            locate(host.config().roots, given)


def test_what_only_looks_like_it_is_a_workspace(host: Host) -> None:
    """A clone's name that is the task's, dots in a name, and a status that makes its directory no workspace."""
    for name in ("acme/api/repo", "acme/src/x", "acme/api/.metadata", "acme/git/node_modules2"):
        make(host.root, name)
    Workspace(host.root, "acme/api").write_status("root")  # at depth two this is nobody's
    for name in ("acme/api/repo", "acme/src/x", "acme/api/.metadata", "acme/git/node_modules2"):
        assert find(host.config().roots, name, "/").name == name


def test_a_name_without_a_workspace_above_has_nothing_to_suggest(host: Host) -> None:
    """The root itself is none that could be meant."""
    (host.root / ".git").mkdir()
    with pytest.raises(UnknownWorkspace, match=r"no workspace lies in \.git$"):
        find(host.config().roots, ".git", "/")
