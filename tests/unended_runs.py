"""Runs that nobody ends, for tests: a host with [ghosts] of its own, its agents, and passes over it in this process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import support
import tomli_w
from support import Host, Workspace, make

from agentic_watch.backfill import SharePass, Summary
from agentic_watch.config import Config, Ghosts, Root
from agentic_watch.history.store import History
from agentic_watch.host import processes
from agentic_watch.host.processes import Here

REMOVED = "removed while it ran"


def ended(pid: int) -> str:
    """The question of a run whose process is gone."""
    return f"process {pid} ended without a final status"


def ago(seconds: float) -> str:
    """A time of day, with a fraction that a microsecond has no room for."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"


def spawn() -> subprocess.Popen[bytes]:
    """A process that lives until it is killed."""
    return subprocess.Popen(["sleep", "300"])


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process, and take leave of it."""
    process.kill()
    process.wait()


@dataclass(slots=True)
class Unended:
    """A host whose passes record the ends that nobody wrote. `boot` stands for the boot's id, `booted_at` for
    its time; `agents` are ended with
    the test."""

    host: Host
    record: Any = "seen"
    after_seconds: float = 0.0
    boot: str = ""
    booted_at: float = 0.0
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def agent(self) -> subprocess.Popen[bytes]:
        """Start one."""
        self.agents.append(spawn())
        return self.agents[-1]

    def start(self, name: str = "org/repo/task", pid: int | None = None, **fields: Any) -> Workspace:
        """A running dispatch that names a process, a new one by default."""
        said = {"started_at": ago(60), "updated_at": ago(1), "task": name, "runs": 1, "org": "org", "repo": "repo"}
        number = self.agent().pid if pid is None else pid
        return make(self.host.root, name, **{**said, "status": "running", "pid": number, **fields})

    def here(self) -> Here:
        """Where a pass is: on this host, unless it has booted in the test."""
        now = processes.here()
        return now._replace(boot=self.boot or now.boot, booted_at=self.booted_at or now.booted_at)

    def config(self) -> Config:
        ghosts = Ghosts(self.record, self.after_seconds)
        return Config(roots=(Root(str(self.host.root)),), history=str(self.host.history), ghosts=ghosts)

    def once(self) -> Summary:
        """One pass in this process."""
        with contextlib.closing(History(str(self.host.history))) as history:
            return SharePass(self.config(), history, lambda _: None, lambda _: None, here=self.here).run()

    def killed_pass(self, seconds: float) -> None:
        """A pass in a process that is killed after so long."""
        if not (child := os.fork()):
            signal.setitimer(signal.ITIMER_REAL, seconds)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends it
            with contextlib.suppress(BaseException):
                self.once()
            os._exit(0)
        os.waitpid(child, 0)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The program itself, with this configuration."""
        return support.run(["--config", self.file(), *arguments], self.host.base)

    def file(self) -> str:
        """The configuration as a file."""
        path = self.host.base / "ghosts.toml"
        document = {
            "roots": [{"path": str(self.host.root)}],
            "history": {"path": str(self.host.history)},
            "ghosts": {"record": self.record, "after_seconds": self.after_seconds},
        }
        path.write_text(tomli_w.dumps(document))
        return str(path)

    def recorded(self) -> list[tuple[str, str, str]]:
        """(workspace, status, question) of each row, the oldest first."""
        rows = self.host.query("SELECT workspace, status, question FROM dispatch_history ORDER BY id")
        return [tuple(row) for row in rows]

    def shown(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def close(self) -> None:
        for agent in self.agents:
            kill(agent)


@contextlib.contextmanager
def unended(host: Host, **options: Any) -> Iterator[Unended]:
    """A host whose agents are ended at its end."""
    made = Unended(host, **options)
    try:
        yield made
    finally:
        made.close()
