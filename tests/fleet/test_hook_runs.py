"""`[[hooks]]`: a command for each failed dispatch, once, with the record on its standard input."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import support
from support import wait_for

from agentic_watch.workspace.instant import now_text
from fleet import samples
from fleet.pusher import Pusher

KEEP = 'cat >> "$0"; env > "$0.env"; pwd > "$0.cwd"'


@pytest.fixture
def pusher(tmp_path: Path) -> Pusher:
    return Pusher(tmp_path)


def fill(pusher: Pusher, numbers: range, ago: float = 60, **fields: Any) -> list[str]:
    return pusher.fill(numbers, committed_at=now_text(time.time() - ago), **fields)


def hook(pusher: Pusher, script: str, *, on: list[str] | None = None, **more: Any) -> Path:
    """Add a hook that runs a script of /bin/sh, whose $0 is the file that is returned."""
    file = pusher.base / "said"
    command = ["/bin/sh", "-c", script, str(file)]
    pusher.hooks.append({"on": on or ["failed"], "command": command, "name": "tell", **more})
    return file


def test_a_hook_runs_once_a_commit(pusher: Pusher) -> None:
    """Each failed dispatch reaches the command once, as one interchange object, in order; its outcome is kept."""
    said = hook(pusher, KEEP)
    fill(pusher, range(11))
    code, document, _ = pusher.push()
    assert code == 0
    assert [(one["workspace"], one["error"], one["success"]) for one in document["hooks"]] == [
        (f"acme/repo{number % 7}/task-{number}", None, True) for number in (0, 5, 10)
    ]
    pusher.push()
    objects = [json.loads(line) for line in said.read_text("utf-8").splitlines()]
    assert [(one["status"], one["issue"], one["schema"], one["host"]) for one in objects] == [
        ("failed", number, 1, "host-a") for number in (0, 5, 10)
    ]
    assert [row[0] for row in pusher.query("SELECT outcome FROM hook_runs")] == ["exit 0"] * 3


def test_a_hook_gets_little(pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the pusher's environment reaches the command: a secret may be in it."""
    monkeypatch.setenv("AGENTIC_WATCH_PUSH_FLEET_DSN", "s3cret")
    said = hook(pusher, KEEP)
    fill(pusher, range(1))
    pusher.push()
    names = {line.partition("=")[0] for line in Path(f"{said}.env").read_text("utf-8").splitlines()}
    assert names <= {"AGENTIC_WATCH_COMMIT_ID", "PATH", "LANG", "PWD", "SHLVL", "_", "OLDPWD"}
    assert Path(f"{said}.cwd").read_text("utf-8") == "/\n"


def test_no_shell_reads_a_record(pusher: Pusher) -> None:
    """A command is words; what an agent wrote is data on its standard input, whatever is in it."""
    pusher.hooks.append({"on": ["failed"], "command": ["/usr/bin/touch", f"{pusher.base}/$(id) ; x"]})
    fill(pusher, range(1), task="$(touch /tmp/pwned)`id`; rm -rf ~", workspace="acme/repo0/$(id)")
    assert pusher.push()[0] == 0
    assert (pusher.base / "$(id) ; x").exists()


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("echo first >&2; echo no such room >&2; exit 3", "exit 3: first no such room"),
        ("kill -9 $$", "killed by signal 9"),
        ("sleep 600", "killed after 0.3 s"),
        ("exec < /dev/null; exit 0", "exit 0"),
    ],
)
def test_how_a_hook_ends(pusher: Pusher, script: str, outcome: str) -> None:
    """A failing, killed or hanging command is said with its last words, kept, and not run again."""
    hook(pusher, script, timeout_seconds=0.3 if script == "sleep 600" else 60)
    fill(pusher, range(1), question="x" * 300_000)
    code, document, stderr = pusher.push()
    assert [one["error"] for one in document["hooks"]] == [None if outcome == "exit 0" else outcome]
    assert (code, outcome in stderr) == ((0, False) if outcome == "exit 0" else (1, True))
    assert pusher.push()[1]["hooks"] == []
    assert pusher.query("SELECT outcome FROM hook_runs") == [(outcome,)]


def test_a_hook_that_is_not_there(pusher: Pusher) -> None:
    """A command that cannot be started is an outcome like any other."""
    pusher.hooks.append({"on": ["failed"], "command": ["/nowhere/at/all"]})
    fill(pusher, range(1))
    assert [one["error"] for one in pusher.push()[1]["hooks"]] == ["cannot be started: No such file or directory"]


def test_what_a_hook_leaves_behind_ends_with_it(pusher: Pusher) -> None:
    """A process that the command started in the background does not outlive it."""
    said = hook(pusher, 'sleep 600 & echo $! > "$0"')
    fill(pusher, range(1))
    assert pusher.push()[1]["hooks"][0]["success"] is True
    child = int(said.read_text("utf-8"))
    wait_for(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


def test_old_failures_start_nothing(pusher: Pusher) -> None:
    """A new hook is not run for what was committed long before it was there; later commits are."""
    hook(pusher, KEEP)
    fill(pusher, range(0, 50, 5), ago=7200)
    assert pusher.push()[1]["hooks"] == []
    fill(pusher, range(50, 51))
    assert len(pusher.push()[1]["hooks"]) == 1


def test_a_hook_waits_for_the_marker(pusher: Pusher) -> None:
    """A row that is just written may not have its marker yet: the command is run later, not before it."""
    hook(pusher, KEEP)
    fill(pusher, range(1), ago=0)
    assert pusher.push()[1]["hooks"] == []
    with contextlib.closing(sqlite3.connect(pusher.history)) as history:
        history.execute(
            "INSERT INTO workspaces (root, workspace, status, committed) SELECT root, workspace, status, 1 "
            "FROM dispatch_history"
        )
        history.commit()
    assert len(pusher.push()[1]["hooks"]) == 1


def test_a_pusher_killed_in_a_hook_does_not_run_it_again(pusher: Pusher) -> None:
    """Killed while the command runs, the next pusher leaves it alone, and its end is said to be unknown."""
    said = hook(pusher, 'cat > /dev/null; echo $$ >> "$0"; sleep 600', timeout_seconds=600)
    fill(pusher, range(1))
    with pytest.raises(AssertionError), pusher.following() as process:
        wait_for(lambda: said.exists() and said.read_text("utf-8").endswith("\n"))
        process.send_signal(signal.SIGKILL)
        process.wait()
    os.killpg(int(said.read_text("utf-8").split()[0]), signal.SIGKILL)
    assert pusher.push()[1]["hooks"] == []
    assert len(said.read_text("utf-8").splitlines()) == 1
    assert pusher.query("SELECT outcome, ended_at FROM hook_runs") == [("begun, end unknown", None)]


def test_a_lost_history_runs_no_hook_again(pusher: Pusher) -> None:
    """A history that is rebuilt numbers its rows anew; what was run is known by its commit."""
    hook(pusher, KEEP)
    fill(pusher, range(6))
    assert len(pusher.push()[1]["hooks"]) == 2
    for path in pusher.history.parent.glob("history.db*"):
        path.unlink()
    fill(pusher, range(5, -1, -1))
    assert pusher.push()[1]["hooks"] == []


def test_follow_runs_hooks(pusher: Pusher) -> None:
    """--follow runs them beside its targets."""
    said = hook(pusher, KEEP)
    fill(pusher, range(1))
    with pusher.following():
        wait_for(lambda: Path(f"{said}.cwd").exists())
    assert "hook tell: acme/repo0/task-0: exit 0" in pusher.log()


def test_the_record_is_the_interchange_object(pusher: Pusher) -> None:
    """What a hook reads is what export writes: report, findings and changes included."""
    said = hook(pusher, KEEP)
    samples.fill(pusher.history, range(15, 16), committed_at=now_text(time.time() - 60))
    pusher.push()
    found = json.loads(said.read_text("utf-8"))
    assert found["findings"] == samples.REPORT["findings"]
    assert found["changes"] == samples.REPORT["changes"]
    assert found["report"] == samples.REPORT


def test_a_flood_of_words_fills_nothing(pusher: Pusher) -> None:
    """A command that writes to stderr without end is ended in its time, and leaves its last words, not a full disk."""
    hook(pusher, "while :; do echo 'again and again, and one more time' >&2; done", timeout_seconds=1)
    fill(pusher, range(1))
    directory = pusher.base / "tmp"
    directory.mkdir()
    largest = 0
    environ = {**support.environment(pusher.base), "TMPDIR": str(directory)}
    process = subprocess.Popen(support.command(pusher.arguments()), env=environ, cwd="/", stderr=subprocess.DEVNULL)
    while process.poll() is None:
        largest = max(largest, _bytes_in_files(process.pid))
        time.sleep(0.02)
    assert process.wait() == 1
    assert largest < 2**20
    assert pusher.query("SELECT outcome FROM hook_runs") == [("killed after 1 s",)]


def _bytes_in_files(pid: int) -> int:
    """What a process holds in files without a name, as temporary ones are."""
    held = 0
    with contextlib.suppress(OSError):  # it has ended
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                held += descriptor.stat().st_size if "(deleted)" in os.readlink(descriptor) else 0
    return held


@pytest.mark.parametrize("ends", ["exit 0", "sleep 600"])
def test_a_session_of_its_own_is_no_way_out(pusher: Pusher, ends: str) -> None:
    """What the command started ends with it, also when it made itself a daemon."""
    told = 'until [ -s "$0" ]; do sleep 0.01; done'
    script = f'setsid sh -c \'(setsid sleep 600 & echo $! > "$0") &\' "$0"; {told}; {ends}'
    said = hook(pusher, script, timeout_seconds=3)
    fill(pusher, range(1))
    pusher.push()
    child = int(said.read_text("utf-8"))
    wait_for(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


def test_a_failure_is_tried_again(pusher: Pusher) -> None:
    """What failed is run again when it is due, a few times, with the same id in its environment, and then given up."""
    said = hook(pusher, 'cat > /dev/null; echo $AGENTIC_WATCH_COMMIT_ID >> "$0"; exit 1')
    (commit_id,) = fill(pusher, range(1))
    assert pusher.push()[1]["hooks"][0]["error"] == "exit 1"
    assert pusher.push()[1]["hooks"] == [], "not at once"
    for _ in range(5):
        due(pusher)
        pusher.push()
    assert said.read_text("utf-8").split() == [commit_id] * 4
    assert pusher.query("SELECT attempts, next_at, outcome FROM hook_runs") == [(4, None, "exit 1")]


def test_a_second_try_that_succeeds_is_the_last(pusher: Pusher) -> None:
    """What was away is told when it is back, and once."""
    said = hook(pusher, 'cat > /dev/null; echo >> "$0"; test "$(wc -l < "$0")" -gt 1')
    fill(pusher, range(1))
    assert pusher.push()[0] == 1
    due(pusher)
    code, document, _ = pusher.push()
    assert (code, [(one["success"], one["error"]) for one in document["hooks"]]) == (0, [(True, None)])
    due(pusher)
    assert pusher.push()[1]["hooks"] == []
    assert len(said.read_text("utf-8").splitlines()) == 2


def due(pusher: Pusher) -> None:
    """Let the time pass until failures are tried again."""
    with contextlib.closing(sqlite3.connect(pusher.state)) as state, state:
        state.execute("UPDATE hook_runs SET next_at = '2026-01-01T00:00:00Z' WHERE next_at IS NOT NULL")
