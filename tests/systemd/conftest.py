"""A booted systemd with the program installed in it, shared by the tests of this directory."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).with_name("lab.sh")
_PROJECT = Path(__file__).parents[2]
_FINISHED = '{"status": "completed", "updated_at": "%s", "org": "org", "repo": "repo", "task": "task"}'


@dataclass(slots=True)
class Lab:
    """A host of its own. Commands are run as its root, output is text."""

    directory: Path
    began: float = field(default_factory=time.monotonic)

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, whatever comes of it."""
        return subprocess.run(
            [_SCRIPT, "exec", self.directory, *command], capture_output=True, text=True, timeout=300, check=False
        )

    def sh(self, script: str) -> str:
        """Run a shell script inside; its output. Fails the test when it fails."""
        result = self.call("bash", "-euc", script)
        assert result.returncode == 0, f"{script}\n{result.stdout}{result.stderr}"
        return result.stdout.strip()

    def install(self, *options: str) -> str:
        """`agentic-watch … service install`, as an operator does it; what it said."""
        result = self.call("agentic-watch", *options, "service", "install")
        assert result.returncode == 0, result.stderr
        return result.stderr

    def get(self, name: str, unit: str = "agentic-watch.service") -> str:
        """A property of a unit."""
        return self.sh(f"systemctl show -P {name} {unit}")

    def journal(self, options: str) -> str:
        """What journalctl prints; with all that was logged until now, since journald reads it some time later."""
        return self.sh(f"journalctl --sync; journalctl --no-pager {options}")

    def log(self) -> list[dict[str, Any]]:
        """The journal of the daemon, oldest first."""
        lines = self.journal("--unit agentic-watch.service --output json").splitlines()
        return [json.loads(line) for line in lines]

    def priorities(self, text: str) -> set[str]:
        """The priorities of the daemon's own lines that contain a text."""
        return {line["PRIORITY"] for line in self.log() if text in str(line["MESSAGE"]) and "UNIT" not in line}

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> float:
        """Wait until a condition holds; the seconds it took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}\n" + self.sh(
                "systemctl status agentic-watch.service || true; journalctl -n 30 --no-pager"
            )
            time.sleep(0.05)
        return time.monotonic() - began

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.sh(f"mkdir -p {shlex.quote(str(Path(path).parent))}; printf %s {shlex.quote(text)} >{shlex.quote(path)}")

    def append(self, path: str, text: str) -> None:
        """Write to the end of a file."""
        self.sh(f"printf %s {shlex.quote(text)} >>{shlex.quote(path)}")

    def as_user(self, user: str, script: str, umask: str = "0002") -> subprocess.CompletedProcess[str]:
        """Run a script as a user with all its groups, or as a number that has no name; with this umask."""
        who = ["--reuid", user, "--regid", user, "--clear-groups"]
        if not user.isdigit():
            who = ["--reuid", user, "--regid", "agents", "--init-groups"]
        return self.call("env", "HOME=/nonexistent", "setpriv", *who, "bash", "-euc", f"umask {umask}; cd /; {script}")

    def check(self, *options: str) -> tuple[int, list[dict[str, Any]]]:
        """What `agentic-watch check` ends with for root, and its problems."""
        result = self.call("agentic-watch", "check", "--json", *options)
        findings = json.loads(result.stdout)["rows"]
        return result.returncode, [finding for finding in findings if finding["ok"] is False]

    def finish(self, workspace: str, updated_at: str = "2026-04-14T11:17:08Z") -> None:
        """A dispatch ends: its user, in the agents' group, writes what a dispatcher does."""
        status = shlex.quote(_FINISHED % updated_at)
        inside = f"umask 002; mkdir -p {shlex.quote(workspace)}/.meta; cd {shlex.quote(workspace)}/.meta; "
        script = inside + f"printf %s {status} >status.new; mv status.new status.json"
        self.sh(f"setpriv --reuid agent --regid agents --init-groups bash -euc {shlex.quote(script)}")

    def committed(self, workspace: str) -> bool:
        """Whether the marker is there."""
        return self.call("test", "-e", f"{workspace}/.meta/commit.json").returncode == 0

    def say(self, line: str) -> None:
        """One line of the transcript (seen with pytest -s)."""
        print(f"\n  [{time.monotonic() - self.began:6.2f} s] {line}", end="")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program's wheel, and those of all that it and its extras need."""
    directory = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
    wanted = f"{_PROJECT}[dashboard,fleet,mcp,metrics]"
    subprocess.run([*pip, "--wheel-dir", directory, wanted], check=True, stderr=subprocess.DEVNULL)
    return directory


@pytest.fixture(scope="session")
def booted(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A bare host with systemd, and the wheels in /lab."""
    with boot(tmp_path_factory.mktemp("lab"), [*wheels.iterdir(), _SCRIPT.with_name("freeze.py")]) as lab:
        yield lab


@contextlib.contextmanager
def boot(directory: Path, files: Iterable[Path]) -> Iterator[Lab]:
    """A bare host with systemd, and these files in /lab. Skips, and says why, where none can be booted."""
    possible = subprocess.run([_SCRIPT, "check"], capture_output=True, text=True, check=False)
    if possible.returncode:
        pytest.skip(possible.stdout.strip())
    lab = Lab(directory)
    (lab.directory / "share").mkdir()
    for file in files:
        (lab.directory / "share" / file.name).write_bytes(file.read_bytes())
    try:
        state = subprocess.run(
            [_SCRIPT, "start", lab.directory], capture_output=True, text=True, timeout=120, check=False
        )
        assert state.returncode == 0, state.stderr
        lab.say(f"systemd is up: {state.stdout.strip()}")
        yield lab
    finally:
        subprocess.run([_SCRIPT, "stop", lab.directory], timeout=120, check=True)
        lab.say("powered off\n")
