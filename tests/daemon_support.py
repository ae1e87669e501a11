"""The daemon as a real process: started with a configuration of its own, watched from outside, ended with its test."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomli_w
from support import Host, Workspace, command, environment, wait_for

from agentic_watch.daemon.daemon_state import DaemonState, look
from agentic_watch.host.processes import is_stopped

SETTLE_SECONDS = 0.2
NEVER_SECONDS = 3600
"""A reconcile interval that no test lives to see: what is committed was told by an event."""


def watches_of(pid: int) -> list[str]:
    """What the kernel says of each inotify watch of a process, by a line with its inode (proc(5), fdinfo)."""
    found: list[str] = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found += [line for line in path.read_text().splitlines() if line.startswith("inotify wd:")]
    return found


class Service:
    """A daemon of its own for one host. `with` starts it, waits until it is ready, and ends it."""

    def __init__(
        self,
        host: Host,
        *,
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        patience_seconds: float = 30.0,
    ) -> None:
        self.host = host
        self.log_file = host.base / "daemon.log"
        self._environ = environ or {}
        self._prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None
        self._patience_seconds = patience_seconds
        self.reconcile_seconds: float = NEVER_SECONDS
        self.poll_seconds: float = 5.0
        self.settle_seconds: float = SETTLE_SECONDS
        self.roots: list[dict[str, Any]] = [{"path": str(host.root)}]

    @property
    def config_file(self) -> Path:
        return self.host.base / "config.toml"

    def configure(self) -> None:
        """Write the configuration file for what is set now."""
        document = {
            "roots": self.roots,
            "history": {"path": str(self.host.history)},
            "commit": {"settle_seconds": self.settle_seconds},
            "reconcile": {"interval_seconds": self.reconcile_seconds, "poll_seconds": self.poll_seconds},
        }
        self.config_file.write_text(tomli_w.dumps(document), "utf-8")

    def start(self, *options: str) -> None:
        """Start it; a former one must have ended."""
        if not self.config_file.exists():
            self.configure()
        arguments = [*self._prefix, *map(str, command(["--config", str(self.config_file), *options]))]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                arguments, env={**environment(self.host.base), **self._environ}, stderr=log, cwd="/"
            )

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        if kind is None:
            assert "Traceback" not in self.log(), self.log()[-2000:]
            assert "Warning" not in self.log(), self.log()[-2000:]
            assert "Error in sitecustomize" not in self.log(), self.log()[-2000:]

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def ended(self) -> int | None:
        """The exit status, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def wait_end(self, seconds: float = 30.0) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait_end()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold all of its threads still, so that it sees nothing of the body half done."""
        self.signal(signal.SIGSTOP)
        try:
            wait_for(lambda: all(is_stopped(int(task)) for task in os.listdir(f"/proc/{self.pid}/task")))
            yield
        finally:
            self.signal(signal.SIGCONT)

    def log(self) -> str:
        return self.log_file.read_text("utf-8") if self.log_file.exists() else ""

    def lines(self, text: str) -> list[str]:
        """The log lines that hold `text`."""
        return [line for line in self.log().splitlines() if text in line]

    def wait(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait for a condition; fail with the log when it does not come true or the daemon ends."""
        met = False

        def is_over() -> bool:
            nonlocal met
            met = condition()
            return met or self.ended() is not None

        try:
            wait_for(is_over, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log ends with:\n{self.log()[-2000:]}") from error
        assert met or condition(), f"the daemon ended with {self.ended()}:\n{self.log()[-2000:]}"

    def wait_ready(self, times: int = 1) -> None:
        self.wait(lambda: len(self.lines("ready: ")) >= times, self._patience_seconds)

    def wait_log(self, text: str, seconds: float = 30.0) -> None:
        self.wait(lambda: bool(self.lines(text)), seconds)

    def wait_committed(self, *workspaces: Workspace, seconds: float = 30.0) -> None:
        """Wait until each has its row, its line and its marker, and exactly one of each."""
        self.wait(lambda: all(map(self.is_committed, workspaces)), seconds)
        for workspace in workspaces:
            line = workspace.line()
            assert line["updated_at"] == workspace.mark()["updated_at"]

    def is_committed(self, workspace: Workspace) -> bool:
        """Whether the marker is there (it is written last) and the history holds a row."""
        return workspace.marker.exists() and workspace.name in self.names()

    def names(self) -> list[str]:
        """The workspaces in the history, one a row."""
        try:
            return [row["workspace"] for row in self.host.query("SELECT workspace FROM dispatch_history ORDER BY id")]
        except sqlite3.DatabaseError:
            return []  # not there yet, or just being made or set aside

    def state(self) -> DaemonState:
        """What the daemon says of itself."""
        running, state = look(str(self.host.history))
        assert running
        assert state is not None
        return state

    def watching(self) -> list[str]:
        """How each root is watched, by the daemon's own words."""
        return [root.watching for root in self.state().roots]

    def watches(self) -> int:
        """How many inotify watches the process has below its roots, by the kernel's words (proc(5), fdinfo)."""
        own = f"ino:{self.host.history.parent.stat().st_ino:x} "  # where the history lies the daemon may watch itself
        return len([line for line in watches_of(self.pid) if own not in line])
