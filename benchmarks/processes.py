"""Real processes, measured from outside: wall time, CPU, memory, watches, and when they say that they are ready."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

REPOSITORY = Path(__file__).parent.parent
_DEADLINE_SECONDS = 300.0
_SILENCE_SECONDS = 20.0
_COMMITTED = re.compile(rb": committed")


class Failed(Exception):
    """A contestant did not do what it was asked to do."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A process that ended: wall and CPU time in seconds, peak memory in bytes.

    ru_maxrss of a child is never below what its parent had when it was started (getrusage(2)), so this
    program keeps itself small: whatever is large runs as a process of its own.
    """

    seconds: float
    cpu: float
    peak: int
    output: bytes

    def said(self) -> dict[str, Any]:
        """What it printed, as JSON."""
        document: dict[str, Any] = json.loads(self.output)
        return document


def ours(*arguments: str, checkout: str = "") -> list[str]:
    """agentic-watch as a user starts it; or the one in another `checkout`, with this interpreter and its libraries."""
    if checkout:
        start = f"import sys; sys.path.insert(0, {checkout!r}); from agentic_watch.cli import main; main()"
        return [sys.executable, "-c", start, *arguments]
    script = shutil.which("agentic-watch", path=os.path.dirname(sys.executable))
    return [*([script] if script else [sys.executable, "-m", "agentic_watch"]), *arguments]


def bare(module: str, *arguments: str) -> list[str]:
    """A script of this package."""
    return [sys.executable, "-m", f"benchmarks.{module}", *arguments]


def environment() -> dict[str, str]:
    """One in which nobody's own configuration is found, nor by git the clone that this program lies in."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "VIRTUAL_ENV") if key in os.environ}
    fixed = {"HOME": "/nonexistent", "PYTHONUTF8": "1", "GIT_CEILING_DIRECTORIES": str(REPOSITORY)}
    return {**kept, **fixed, "AGENTIC_WATCH_CONFIG": str(REPOSITORY / "tests/no_configuration.toml")}


def run(arguments: Sequence[str]) -> Ran:
    """Run to the end. Raises Failed with what it said when it exits with anything but 0."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(arguments, stdout=output, stderr=errors, env=environment(), cwd=REPOSITORY)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (output, errors):
            file.seek(0)
        if process.returncode:
            raise Failed(f"{' '.join(arguments)}: exit {process.returncode}: {errors.read()[-2000:].decode()}")
        return Ran(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output.read())


def once(root: str, history: str, *options: str, checkout: str = "") -> Ran:
    """`agentic-watch --once` over one root."""
    return run(ours("--root", root, "--history", history, "--once", "--json", *options, checkout=checkout))


def built_by_go(source: str, work: str) -> str | None:
    """A program of this package that is written in Go, built in `work`; None where there is no Go."""
    if (go := shutil.which("go")) is None:
        return None
    program = os.path.join(work, source.removesuffix(".go"))
    if not os.path.exists(program):
        home = {"GO111MODULE": "off", "GOCACHE": f"{work}/go-cache", "PATH": os.environ["PATH"], "HOME": work}
        subprocess.run([go, "build", "-o", program, str(Path(__file__).with_name(source))], check=True, env=home)
    return program


class Daemon:
    """A watcher, ours or another's: `with` starts it, waits until it is ready, and ends it.

    Ready is READY=1 on $NOTIFY_SOCKET (sd_notify(3)); a commit is done when the watcher's line `NAME: committed`
    arrives on its stderr, which is after its last sync. `ready_seconds` counts from the start of the process.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self._rest = b""
        self.log = b""
        self.ready_seconds = 0.0

    def __enter__(self) -> Self:
        address = f"agentic-watch-bench-{os.getpid()}-{time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.bind(f"\0{address}")
            started = time.perf_counter()
            self._process = subprocess.Popen(
                self._arguments,
                stderr=subprocess.PIPE,
                env={**environment(), "NOTIFY_SOCKET": f"@{address}"},
                cwd=REPOSITORY,
            )
            try:
                self._wait_ready(ear)
            except BaseException:
                self._end()
                raise
            self.ready_seconds = time.perf_counter() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            _, rest = self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, rest = self._process.communicate()
        self.log += rest

    def stop(self) -> None:
        """SIGTERM, and wait for its end. Raises Failed when that does not come."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=_SILENCE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{self._arguments}: SIGTERM is not obeyed") from error

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def errors(self) -> int:
        """The descriptor of its stderr, to wait on."""
        assert self._process.stderr is not None
        return self._process.stderr.fileno()

    def _wait_ready(self, ear: socket.socket) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        poll = select.poll()
        poll.register(ear, select.POLLIN)
        poll.register(self.errors, select.POLLIN)
        while time.monotonic() < deadline:
            for descriptor, _ in poll.poll(1000):
                if descriptor == self.errors:
                    self.committed()
                elif b"READY=1" in ear.recv(65_536):
                    return
        raise Failed(f"{self._arguments}: not ready in time: {self.log[-2000:].decode()}")

    def committed(self) -> int:
        """Read what it says, waiting for something: how many commits it reported. Raises Failed when it ended."""
        data = os.read(self.errors, 1 << 20)
        if not data:
            raise Failed(f"{self._arguments} ended: {self.log[-2000:].decode()}")
        self.log = (self.log + data)[-65_536:]
        whole, self._rest = _split(self._rest + data)
        return len(_COMMITTED.findall(whole))

    def wait_committed(self, count: int) -> None:
        """Wait for so many reports of a commit. Raises Failed when none comes for a while."""
        wanted = count
        while count > 0:
            if not select.select([self.errors], [], [], _SILENCE_SECONDS)[0]:
                raise Failed(f"committed {wanted - count:,} of {wanted:,}, then nothing for {_SILENCE_SECONDS:.0f} s")
            count -= self.committed()

    def cpu(self) -> float:
        """Seconds of CPU of all its threads so far, by the process's own clock: /proc/PID/stat counts in 10 ms.

        The clock of another process is `~pid << 3 | 2` (clock_getcpuclockid(3), CPUCLOCK_SCHED).
        """
        return time.clock_gettime((~self.pid << 3) | 2)

    def resident(self) -> int:
        """Bytes of memory now (VmRSS)."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def watches(self) -> int:
        """Its inotify watches, by the kernel's words (proc(5), fdinfo)."""
        total = 0
        for path in Path(f"/proc/{self.pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.read_bytes().count(b"inotify wd:")
        return total


def _split(data: bytes) -> tuple[bytes, bytes]:
    whole, newline, rest = data.rpartition(b"\n")
    return whole + newline, rest


def watcher(
    root: str,
    history: str,
    *,
    settle_seconds: float | None = 0.0,
    reconcile_seconds: float | None = None,
    checkout: str = "",
) -> Daemon:
    """Our daemon over one root; None leaves the default. With -v each commit has its line."""
    file = f"{os.path.dirname(root)}/config.toml"
    tables = {
        "commit": {"settle_seconds": settle_seconds},
        "reconcile": {"interval_seconds": reconcile_seconds},
    }
    text = f"[[roots]]\npath = {json.dumps(root)}\n[history]\npath = {json.dumps(history)}\n"
    for name, table in tables.items():
        text += f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items() if value is not None)
    Path(file).write_text(text, "utf-8")
    return Daemon(ours("--config", file, "-v", checkout=checkout))


def rival(kind: str, root: str, history: str) -> Daemon:
    """What a user could write instead, on the library `kind`."""
    return Daemon(bare("rivals", kind, root, history))


def start(contestant: str, root: str, history: str, before: str = "") -> Daemon:
    """The watcher of that name: agentic-watch, the one in the checkout `before`, watchdog or watchfiles."""
    if contestant in ("agentic-watch", "before"):
        return watcher(root, history, checkout=before if contestant == "before" else "")
    return rival(contestant, root, history)
