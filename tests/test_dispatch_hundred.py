"""A hundred dispatches at once, each finished or killed at random, the daemon beside them: everything agrees."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from daemon_support import Service
from dispatch_support import dispatch, dispatching_arguments, git_environment, statuses
from support import Host, Workspace, wait_for

HOW_MANY = 100
NUMBERS = (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)


@dataclass(slots=True)
class Fate:
    """What is to become of one dispatch: the command's own end, or a signal from outside to the wrapper."""

    name: str
    script: str
    code: int
    status: str
    question: str
    signal_to_wrapper: signal.Signals | None = None
    process: subprocess.Popen[bytes] | None = None


def fate(name: str, chance: random.Random) -> Fate:
    """One of: an exit status, blocked, killed from inside, ended from outside, and the wrapper itself killed."""
    pause = f"sleep {chance.uniform(0, 0.3):.3f}"
    kind = chance.choice(["exits", "exits", "exits", "blocked", "dies", "ended", "murdered"])
    if kind == "exits":
        code = chance.choice([0, 0, 1, 2, 126, 255])
        said = f"exit status {code}" if code else ""
        return Fate(name, f"{pause}; exit {code}", code, "failed" if code else "completed", question=said)
    if kind == "blocked":
        return Fate(name, f"{pause}; exit 75", 75, "blocked", "")
    number = chance.choice(NUMBERS)
    if kind == "dies":
        return Fate(name, f"{pause}; kill -{int(number)} $$", -number, "failed", f"killed by {number.name}")
    if kind == "ended":
        number = chance.choice([signal.SIGTERM, signal.SIGHUP])
        return Fate(name, "exec sleep 300", -number, "failed", f"killed by {number.name}", number)
    return Fate(name, "exec sleep 300", -signal.SIGKILL, "running", "", signal.SIGKILL)


def start(host: Host, one: Fate) -> None:
    arguments = dispatching_arguments(host, ["--workspace", one.name, "--", "sh", "-c", one.script])
    one.process = subprocess.Popen(
        arguments,
        env=git_environment(host.base),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def strike(host: Host, one: Fate) -> bool:
    """Send the signal once the command runs; whether that is done."""
    assert one.process is not None
    if one.signal_to_wrapper is None:
        return True
    children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text("ascii").split()
    if one.name not in statuses(host) or not any(_is_sleeping(child) for child in children):
        return False
    one.process.send_signal(one.signal_to_wrapper)
    one.signal_to_wrapper = None
    return True


def _is_sleeping(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text("ascii") == "sleep\n"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_hundred_at_once(host: Host) -> None:
    """Exit statuses, statuses, journals and rows agree, each finished run is there once, each killed one a ghost."""
    seed = int(os.environ.get("AGENTIC_WATCH_TEST_SEED", random.randrange(2**32)))
    print(f"AGENTIC_WATCH_TEST_SEED={seed}", file=sys.stderr)
    chance = random.Random(seed)
    fates = [fate(f"org/repo-{number % 7}/task-{number}", chance) for number in range(HOW_MANY)]
    with Service(host):
        for one in fates:
            start(host, one)
        try:
            waiting = list(fates)

            def struck() -> bool:
                waiting[:] = [one for one in waiting if not strike(host, one)]
                return not waiting

            wait_for(struck, 120)
            codes = {one.name: one.process.wait(120) for one in fates if one.process is not None}
        finally:
            for one in fates:
                assert one.process is not None
                _end_group(one.process.pid)
        assert codes == {one.name: one.code for one in fates}
        done = [one for one in fates if one.status != "running"]
        wait_for(lambda: all(Workspace(host.root, one.name).marker.exists() for one in done), 120)
        check(host, fates)
        ghosts = [one.name for one in fates if one.status == "running"]
        for name in ghosts[:3]:
            assert dispatch(host, "--workspace", name, "--", "true").returncode == 0
            wait_for(Workspace(host.root, name).marker.exists)
            assert Workspace(host.root, name).line()["runs"] == 2
    before = host.query("SELECT count(*) FROM dispatch_history")[0][0]
    assert host.once().counts["skipped"] == before == len(done) + len(ghosts[:3])


def check(host: Host, fates: list[Fate]) -> None:
    """Each finished run has one line and one row, which say what its status says; a ghost has neither."""
    rows = host.rows()
    found = statuses(host)
    assert set(rows) == {one.name for one in fates if one.status != "running"}
    for one in fates:
        status = found[one.name]
        assert (status["status"], status.get("question", ""), status["runs"]) == (one.status, one.question, 1)
        if one.status == "running":
            assert not Workspace(host.root, one.name).journal.exists()
            continue
        line, row = Workspace(host.root, one.name).line(), rows[one.name]
        for key in ("status", "question", "runs", "started_at", "updated_at"):
            assert line[key] == row[key] == status.get(key, "")
        assert row["passed"] == (one.code == 0)


def _end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
