"""A dispatch that says it is running while its process is gone: the index says so, and takes it back."""

from __future__ import annotations

import subprocess

from support import Host, make, query


def ghosts(host: Host) -> list[int]:
    """The column `ghost` of the one workspace there is."""
    return [row[0] for row in query(host.history, "SELECT ghost FROM workspaces")]


def test_a_ghost_is_seen_without_a_change_in_any_file(host: Host) -> None:
    """The process of a running dispatch ends: the next pass marks it, though its status file is as it was."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        make(host.root, status="running", pid=process.pid)
        host.once()
        assert ghosts(host) == [0]
    finally:
        process.kill()
        process.wait()
    host.once()
    assert ghosts(host) == [1]


def test_a_finished_or_unnumbered_dispatch_is_no_ghost(host: Host) -> None:
    """Only a running dispatch that names a process can be one."""
    make(host.root, "org/repo/done", status="completed", pid=2**30)
    make(host.root, "org/repo/numberless", status="running")
    host.once()
    assert ghosts(host) == [0, 0]
