"""`agentic-watch status`: what it says of the daemon and of the workspaces, and that it changes nothing."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support import Host, Workspace, environment, make, run, snapshot, wait_for
from unprivileged import public_directory, run_as_nobody

from agentic_watch.daemon.daemon_state import DaemonState, look
from agentic_watch.daemon.single_instance import Instance
from agentic_watch.watch import RootState

STATE = DaemonState(
    pid=4711,
    version="0.1.0",
    started_at="2026-04-14T11:00:00Z",
    updated_at="2026-04-14T11:17:08Z",
    phase="running",
    roots=(),
    pending=3,
    failing=1,
    committed=12,
)
GONE_PID = 2**31 - 1  # beyond the kernel's largest pid


def document(host: Host, code: int = 0) -> dict[str, Any]:
    result = run([*host.arguments(), "status", "--json"], host.base)
    assert result.returncode == code, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def text(host: Host, code: int = 0) -> list[str]:
    result = run([*host.arguments(), "status"], host.base)
    assert result.returncode == code, result.stderr
    return result.stdout.splitlines()


def names(listed: list[dict[str, Any]]) -> list[str]:
    return [item["workspace"] for item in listed]


@contextlib.contextmanager
def daemon(host: Host, state: DaemonState) -> Iterator[None]:
    instance = Instance.acquire(str(host.history))
    try:
        instance.publish(state)
        yield
    finally:
        instance.release()


def break_status(workspace: Workspace) -> None:
    (workspace.meta / "status.json").write_text("{")


def test_empty_host(host: Host) -> None:
    """Without a workspace, a history and a daemon the answer says so, exits 0 and makes nothing."""
    assert text(host) == ["daemon: not running", "workspaces: 0", "running: 0", "backlog: 0", "failing: 0", "ghosts: 0"]
    found = document(host)
    (root,) = found.pop("roots")
    unwatched = {"watching": None, "watches_count": None, "error": None}
    assert root == {"root": str(host.root), "path": str(host.root), "workspaces_count": 0, **unwatched}
    empty = {"backlog": [], "running": [], "failing": [], "ghosts": [], "failures": []}
    assert found == {"schema": 2, "daemon": {"running": False}, "counts": {}, "pools": {}, **empty}
    assert os.listdir(host.base) == ["root"]


def test_what_is_on_disk(host: Host) -> None:
    """Every workspace is counted by status, and listed where it needs a look."""
    make(host.root, "o/r/committed")
    break_status(make(host.root, "o/r/broken"))
    host.once()
    make(host.root, "o/r/fresh", status="failed", agent="codex", runs=2)
    make(host.root, "o/r/alive", status="running", pid=os.getpid())
    make(host.root, "o/r/ghost", status="running", pid=GONE_PID)
    make(host.root, "o/r/queued", status="queued")
    found = document(host)
    assert found["counts"] == {"running": 2, "completed": 1, "failed": 1, "queued": 1, "unreadable": 1}
    listed = {key: names(found[key]) for key in ("backlog", "running", "failing", "ghosts")}
    assert listed == {
        "backlog": ["o/r/fresh"],
        "running": ["o/r/alive"],
        "failing": ["o/r/broken"],
        "ghosts": ["o/r/ghost"],
    }
    (failing,) = found["failing"]
    assert failing["fail_count"] == 1
    assert failing["next_attempt_at"].endswith("Z")
    assert "status.json" in failing["error"]
    assert found["roots"][0]["workspaces_count"] == 6
    lines = text(host)
    assert lines[1] == "workspaces: 6 (1 running, 1 completed, 1 failed, 1 queued, 1 unreadable, 1 ghost)"
    assert [(names, words) for names, words in map(_after_name, lines) if names] == [
        ("o/r/alive", str(os.getpid())),
        ("o/r/fresh", "failed"),
        ("o/r/broken", "1"),
        ("o/r/ghost", str(GONE_PID)),
    ]


def _after_name(line: str) -> tuple[str, str]:
    """The workspace in a line of a list, and the word after it."""
    words = [*line.split(), "", ""]
    place = next((number for number, word in enumerate(words) if word.startswith("o/")), -1)
    return (words[place], words[place + 1]) if place >= 0 else ("", "")


def test_running_daemon(host: Host) -> None:
    """A running daemon is shown with what it last said, root by root."""
    root = RootState(str(host.root), str(host.root), "poll", 7, "limit reached")
    with daemon(host, replace(STATE, roots=(root,), history_error="disk full", overflows=2)):
        lines, found = text(host), document(host)
    assert lines[:4] == [
        "daemon: running, pid 4711, version 0.1.0, since 2026-04-14T11:00:00Z, as of 2026-04-14T11:17:08Z",
        "  3 pending, 1 failing, 12 committed since the start; last scan not yet; 2 event queue overflows",
        f"  {host.root}: poll, 7 watches (limit reached)",
        "  history: disk full",
    ]
    assert found["daemon"]["running"] is True
    assert found["daemon"]["pid"] == 4711
    assert found["daemon"]["roots"][0]["detail"] == "limit reached"
    assert not {"beat", "counted"} & found["daemon"].keys()  # clocks that nobody else has
    assert (found["roots"][0]["watching"], found["roots"][0]["watches_count"]) == ("poll", 7)


def test_daemon_that_is_gone(host: Host) -> None:
    """A daemon that ended, or was killed, is not running, and when it was last seen is told."""
    with daemon(host, STATE):
        pass
    assert text(host)[0] == "daemon: not running, last seen 2026-04-14T11:17:08Z (pid 4711, running)"
    found = document(host)
    assert (found["daemon"]["running"], found["daemon"]["updated_at"]) == (False, "2026-04-14T11:17:08Z")
    assert found["roots"][0]["watching"] is None


def test_real_daemon(host: Host) -> None:
    """The daemon's own words are found while it runs, and that it runs no more when it was stopped."""
    make(host.root, "o/r/a")
    arguments = [sys.executable, "-m", "agentic_watch", "-q", *host.arguments()]
    with subprocess.Popen(arguments, cwd=host.base) as process:
        try:
            wait_for(lambda: _phase(host) == "running" or process.poll() is not None)
            found = document(host)["daemon"]
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert (found["running"], found["pid"]) == (True, process.pid)
    assert [root["path"] for root in found["roots"]] == [str(host.root)]
    assert document(host)["daemon"]["running"] is False


def _phase(host: Host) -> str:
    state = look(str(host.history))[1]
    return state.phase if state else ""


def test_nothing_is_changed(host: Host) -> None:
    """Looking changes neither a workspace nor the history, and makes no file beside it."""
    make(host.root, "o/r/a")
    host.once()
    make(host.root, "o/r/b", layout="root")
    break_status(make(host.root, "o/r/c"))
    before = snapshot(host.base)
    text(host)
    document(host, 0)
    assert snapshot(host.base) == before


def test_missing_root_is_named(host: Host) -> None:
    """A root that cannot be looked into is named, the others are answered, and the exit status is 1."""
    make(host.root, "o/r/a")
    arguments = [*host.arguments(), "--root", str(host.base / "absent"), "status"]
    plain = run(arguments, host.base)
    assert (plain.returncode, plain.stderr.count("\n")) == (1, 1)
    assert f"failed: {host.base}/absent: " in plain.stderr
    assert "workspaces: 1 (1 completed)" in plain.stdout
    as_json = run([*arguments, "--json"], host.base)
    assert as_json.returncode == 1
    (failure,) = json.loads(as_json.stdout)["failures"]
    assert failure["error"].startswith(f"{host.base}/absent: ")


def test_anyone_may_look() -> None:
    """An unprivileged user gets the whole answer while the daemon runs: who runs, what is committed."""
    with public_directory() as directory:
        host = Host.make(directory)
        make(host.root, "o/r/a")
        host.once()
        with daemon(host, STATE):
            result = run_as_nobody([*host.arguments(), "status", "--json"], host.base)
        assert (result.returncode, result.stderr) == (0, "")
        found = json.loads(result.stdout)
        assert (found["daemon"]["pid"], found["backlog"], found["counts"]) == (4711, [], {"completed": 1})


def test_hostile_words_stay_on_their_line(host: Host) -> None:
    """Control characters, long texts and names that are not UTF-8 are printed clean and short."""
    make(host.root, "o/r/a", status="\x1b[2J\n" + "s" * 10_000, agent="x")
    make(host.root, "o/r/b", status="running", agent="\x9b31m\n" + "a" * 10_000)
    os.makedirs(os.fsencode(host.root) + b"/o/r/\xff/.meta")
    with open(os.fsencode(host.root) + b"/o/r/\xff/.meta/status.json", "w") as file:
        file.write('{"status": "completed", "updated_at": "2026-04-14T11:17:08Z"}')
    lines = text(host)
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 250
    assert names(document(host)["failing"]) == ["o/r/\\udcff"]


@pytest.mark.parametrize("total", [20, 23])
def test_long_lists_are_cut_in_text_only(host: Host, total: int) -> None:
    """Text shows twenty of a list and how many more there are; JSON has them all."""
    for number in range(total):
        make(host.root, f"o/r/{number:02}")
    lines = text(host)
    assert f"backlog: {total} (finished, not committed yet)" in lines
    assert len([line for line in lines if _after_name(line)[0]]) == 20
    assert ("  and 3 more; --json lists all" in lines) == (total == 23)
    assert len(document(host)["backlog"]) == total


def test_the_longest_running_is_on_top(host: Host) -> None:
    """Running dispatches come by their age, which stands first in the line and in seconds in JSON."""
    for name, started_at in (("b", "2026-04-14T09:00:00Z"), ("a", "2026-04-15T09:00:00Z"), ("c", "")):
        fields = {"started_at": started_at} if started_at else {}
        make(host.root, f"o/r/{name}", status="running", updated_at="2026-04-16T09:00:00Z", **fields)
    found = document(host)["running"]
    assert names(found) == ["o/r/b", "o/r/a", "o/r/c"]
    assert [item["age_seconds"] for item in found] == sorted((i["age_seconds"] for i in found), reverse=True)
    assert (found[0]["started_utc"], found[2]["started_utc"]) == ("2026-04-14T09:00:00.000000000Z", None)
    lines = [line.split() for line in text(host) if "o/r/" in line]
    assert [line[1] for line in lines] == ["o/r/b", "o/r/a", "o/r/c"]
    assert all(line[0].endswith("h") for line in lines)


def test_running_ones_are_counted_by_agent_pool(host: Host) -> None:
    """Each base:model that runs has its count, in JSON and in the title of the list; ghosts and others have none."""
    for number, agent in enumerate(("codex:gpt-5", "codex:gpt-5", "claude", "")):
        make(host.root, f"o/r/{number}", status="running", pid=os.getpid(), agent=agent)
    make(host.root, "o/r/ghost", status="running", pid=GONE_PID, agent="gemini")
    make(host.root, "o/r/queued", status="queued", agent="gemini")
    assert document(host)["pools"] == {"codex:gpt-5": 2, "": 1, "claude": 1}
    assert "running: 4 (codex:gpt-5 2, no agent 1, claude 1)" in text(host)
    assert "workspaces: 6 (4 running, 1 queued, 1 ghost)" in text(host)


def test_ghosts_are_not_counted_as_running(host: Host) -> None:
    """A host of nothing but ghosts has no running ones, in no line of the text; `check` names how many there are."""
    for number in range(3):
        make(host.root, f"o/r/{number}", status="running", pid=GONE_PID)
    host.once()
    assert text(host)[1:3] == ["workspaces: 3 (3 ghosts)", "running: 0"]
    assert "ghosts: 3 (status says running, process is gone)" in text(host)
    checked = run([*host.arguments(), "check"], host.base).stdout
    assert "waiting: 3 ghosts (status says running, process is gone)" in checked


def test_several_roots_are_told_apart(host: Host) -> None:
    """With more than one root each line names it; one that is missing is said where the others are counted."""
    make(host.root, "o/r/a")
    absent = host.base / "absent"
    arguments = [*host.arguments(), "--root", str(absent), "status"]
    lines = run(arguments, host.base).stdout.splitlines()
    assert f"  {absent}: No such file or directory" in lines
    (listed,) = [line.split() for line in lines if "o/r/a" in line]
    assert listed[1:3] == [str(host.root), "o/r/a"]
    first, second = json.loads(run([*arguments, "--json"], host.base).stdout)["roots"]
    assert (first["workspaces_count"], first["error"]) == (1, None)
    assert (second["workspaces_count"], second["error"]) == (None, "No such file or directory")


def test_what_may_not_be_read_is_named_and_null() -> None:
    """Who may read neither history nor daemon's file still sees the workspaces; each is named, and null in JSON."""
    with public_directory() as directory:
        host = Host.make(directory)
        make(host.root, "o/r/a")
        host.once()
        with daemon(host, STATE):
            for path in host.history.parent.iterdir():
                path.chmod(0)
            result = run_as_nobody([*host.arguments(), "status", "--json"], host.base)
            plain = run_as_nobody([*host.arguments(), "status"], host.base)
        found = json.loads(result.stdout)
        assert (found["daemon"], found["backlog"]) == ({"running": None}, None)
        assert plain.returncode == result.returncode == 1
        assert plain.stdout.startswith("daemon: unknown, this user may not read ")
        assert "workspaces: 1 (1 completed)" in plain.stdout
        assert "backlog: unknown, the history is not available" in plain.stdout
        of_daemon, of_history = plain.stderr.splitlines()
        assert of_daemon.startswith(f"failed: {host.history}.daemon: this user may not read it")
        assert of_history.startswith("failed: ")
        assert str(host.history) in of_history


def test_times_are_local_on_a_terminal_and_utc_when_asked(host: Host) -> None:
    """A terminal shows the zone of the host, --utc and a pipe UTC."""
    make(host.root, "o/r/a", status="running", started_at="2026-01-14T09:00:00Z", pid=os.getpid())
    local = on_terminal(host, "status")
    assert "STARTED (XYZ)" in local
    assert "2026-01-14 12:00:00" in local
    assert "2026-01-14T09:00:00Z" in on_terminal(host, "status", "--utc")
    assert "2026-01-14T09:00:00Z" in "\n".join(text(host))


def on_terminal(host: Host, *arguments: str) -> str:
    """What the program shows on a terminal of 24 lines, three hours east."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "agentic_watch", *host.arguments(), *arguments],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**environment(host.base), "TZ": "XYZ-3"},
    )
    os.close(theirs)
    said = b""
    with process:
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: the other end is closed
                break
            said += piece
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    os.close(ours)
    return said.decode()
