"""What tests share: building workspaces, reading what the program left, running it as a real process."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fork_server

from agentic_watch.backfill import SharePass, Summary
from agentic_watch.config import FINISHED, Config, Root
from agentic_watch.history.store import History
from agentic_watch.workspace.candidate import Candidate

FIXTURES = Path(__file__).parent / "fixtures"
UPDATED = "2026-04-14T11:17:08.123456789+02:00"
STARTED = "2026-04-14T10:00:00Z"
NOBODY = 65_534
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 0, 1, 2
POWERLESS = (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)
"""capabilities(7) without which root meets file permissions like everybody else."""

_PR_CAPBSET_DROP = 24
_LIBC = ctypes.CDLL(None, use_errno=True)
JOURNAL_KEYS = [
    "agent",
    "branch",
    "committed_at",
    "issue",
    "org",
    "pr_url",
    "process_id",
    "question",
    "repo",
    "runs",
    "started_at",
    "status",
    "task",
    "updated_at",
    "workspace",
]


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace directory of a test."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def meta(self) -> Path:
        return self.path / ".meta"

    @property
    def journal(self) -> Path:
        return self.meta / "journal.jsonl"

    @property
    def marker(self) -> Path:
        return self.meta / "commit.json"

    def write_status(self, layout: str = "meta", **fields: Any) -> None:
        """Write the status as a dispatcher does: whole, with `fields` over the defaults."""
        document = {"status": "completed", "updated_at": UPDATED, **fields}
        directory = self.meta if layout == "meta" else self.path
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "status.json").write_text(json.dumps(document), "utf-8")

    def write_report(self, report: Any) -> None:
        self.meta.mkdir(parents=True, exist_ok=True)
        (self.meta / "report.json").write_text(json.dumps(report), "utf-8")

    def lines(self) -> list[dict[str, Any]]:
        """The journal's lines, parsed."""
        return [json.loads(line) for line in self.journal.read_bytes().splitlines()]

    def line(self) -> dict[str, Any]:
        """The journal's only line."""
        (line,) = self.lines()
        return line

    def mark(self) -> dict[str, Any]:
        """The marker, parsed."""
        document: dict[str, Any] = json.loads(self.marker.read_bytes())
        return document


def make(root: Path, name: str = "org/repo/task", layout: str = "meta", report: Any = None, **fields: Any) -> Workspace:
    """Make a finished workspace with a `repo/` beside; `fields` go over the status's defaults."""
    workspace = Workspace(root, name)
    (workspace.path / "repo").mkdir(parents=True)
    workspace.write_status(layout, **fields)
    if report is not None:
        workspace.write_report(report)
    return workspace


def workspaces(root: Path) -> list[Workspace]:
    """Every workspace of a copied fixture tree (they lie at depth three)."""
    return [Workspace(root, str(path.relative_to(root))) for path in sorted(root.glob("*/*/*"))]


def status_of(workspace: Workspace) -> dict[str, Any]:
    """The fixture's status, wherever it lies."""
    path = workspace.meta / "status.json"
    document: dict[str, Any] = json.loads((path if path.exists() else workspace.path / "status.json").read_bytes())
    return document


def finished(root: Path) -> list[Workspace]:
    """The workspaces of a fixture tree whose status says that the dispatch is finished."""
    return [workspace for workspace in workspaces(root) if status_of(workspace)["status"] in FINISHED]


def write_marker(workspace: Workspace, /, updated_at: str = UPDATED, runs: int = 0, **fields: Any) -> None:
    """Write a marker by hand, as another program would."""
    document = {"workspace": workspace.name, "updated_at": updated_at, "runs": runs, **fields}
    workspace.meta.mkdir(parents=True, exist_ok=True)
    workspace.marker.write_text(json.dumps({"committed_at": "2026-04-14T11:17:09Z", **document}), "utf-8")


@dataclass(frozen=True, slots=True)
class Host:
    """A root, a history and an environment of its own. `base` holds nothing else."""

    base: Path
    root: Path
    history: Path

    @classmethod
    def make(cls, base: Path, fixture: str = "") -> Host:
        """A host with an empty root, or with a copy of one of the fixture trees."""
        root = base / "root"
        if fixture:
            shutil.copytree(FIXTURES / fixture, root)
        else:
            root.mkdir(parents=True)
        return cls(base, root, base / "state" / "history.db")

    def config(self, **root_options: Any) -> Config:
        return Config(roots=(Root(str(self.root), **root_options),), history=str(self.history))

    def candidate(self, name: str = "org/repo/task", **root_options: Any) -> Candidate:
        return Candidate(Root(str(self.root), **root_options), name)

    def arguments(self, history: Path | None = None) -> list[str]:
        return ["--root", str(self.root), "--history", str(history or self.history)]

    def once(self, *options: str, history: Path | None = None, lacking: Sequence[int] = ()) -> Once:
        """Run `--once --json` to its end and read what it printed."""
        result = run([*self.arguments(history), "--once", "--json", *options], self.base, lacking=lacking)
        return Once(result.returncode, json.loads(result.stdout or "null"), result.stderr)

    def once_here(self) -> Summary:
        """One pass in this process, so that a test can reach into it."""
        with contextlib.closing(History(str(self.history))) as history:
            return SharePass(self.config(), history, lambda _: None, lambda _: None).run()

    def query(self, sql: str, *values: Any, history: Path | None = None) -> list[Any]:
        """Rows of the history, read as another program would read it."""
        return query(history or self.history, sql, *values)

    def rows(self, history: Path | None = None) -> dict[str, Any]:
        """`dispatch_history` by workspace; two rows of one workspace are an error."""
        found = self.query("SELECT * FROM dispatch_history ORDER BY id", history=history)
        by_name = {row["workspace"]: row for row in found}
        assert len(by_name) == len(found)
        return by_name

    def forget_history(self) -> None:
        """Lose the history with its log files."""
        for path in self.history.parent.glob("history.db*"):
            path.unlink(missing_ok=True)  # its last reader removes the log files


@dataclass(frozen=True, slots=True)
class Once:
    """What a `--once --json` run gave back."""

    code: int
    summary: dict[str, Any]
    stderr: str

    @property
    def counts(self) -> dict[str, int]:
        """The counts that are not 0."""
        return {key: value for key, value in self.summary.items() if key in _COUNTS and value}

    @property
    def failures(self) -> dict[str, str]:
        """Each failure's cause, by workspace."""
        return {failure["workspace"]: failure["error"] for failure in self.summary["failures"]}


_NO_CONFIGURATION = Path(__file__).with_name("no_configuration.toml")
_COUNTS = ("scanned", "committed", "skipped", "unfinished", "failed", "recovered_rows")


def environment(base: Path) -> dict[str, str]:
    """An environment in which nothing of the tester's own configuration is found; unclosed files are errors."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "VIRTUAL_ENV") if key in os.environ}
    fixed = {
        "PYTHONWARNINGS": "error::ResourceWarning",
        "PYTHONUTF8": "1",
        "AGENTIC_WATCH_CONFIG": str(_NO_CONFIGURATION),
    }
    return {**kept, **fixed, "HOME": str(base)}


def patched(base: Path, code: str) -> dict[str, str]:
    """What goes into the environment of a program that a test makes slow, or holds up: it runs `code` at its start."""
    directory = base / "patch"
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(directory)}


def command(arguments: Sequence[str | bytes]) -> list[str | bytes]:
    return [sys.executable, "-m", "agentic_watch", *arguments]


def drop(capabilities: Sequence[int]) -> None:
    """In a child of root's: no capability of these for what it executes."""
    for capability in capabilities:
        if _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP)")


def run(
    arguments: Sequence[str | bytes], base: Path, *, lacking: Sequence[int] = (), timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end; as root without the capabilities `lacking` (nobody else has any)."""
    result = run_with(environment(base), arguments, base, lacking=lacking, timeout=timeout)
    assert "Exception ignored" not in result.stderr, result.stderr[-1500:]
    return result


def run_with(
    environ: Mapping[str, str],
    arguments: Sequence[str | bytes],
    directory: Path,
    *,
    stdin: str = "",
    lacking: Sequence[int] = (),
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end in an environment of one's own."""
    if stdin or lacking:
        result = subprocess.run(
            command(arguments),
            env=environ,
            cwd=directory,
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
            preexec_fn=partial(drop, lacking) if lacking and os.getuid() == 0 else None,
        )
    else:
        result = fork_server.run(arguments, str(directory), environ, timeout)
    text = subprocess.CompletedProcess(result.args, result.returncode, result.stdout.decode(), result.stderr.decode())
    assert "Traceback" not in text.stderr, text.stderr[-1500:]
    return text


def start(arguments: Sequence[str | bytes], base: Path) -> subprocess.Popen[str]:
    """Start the program; the caller reads it to its end with communicate()."""
    return subprocess.Popen(
        command(arguments), env=environment(base), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run_together(all_arguments: Sequence[Sequence[str]], base: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run several processes of the program at a time."""
    running = [start(arguments, base) for arguments in all_arguments]
    results = []
    for process in running:
        out, err = process.communicate(timeout=120)
        results.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return results


def give_away(tree: Path, user: int = NOBODY) -> None:
    """Let an unprivileged user own a tree; nothing to do when the tests have no privileges themselves."""
    if os.getuid() == 0:
        for path in [tree, *tree.rglob("*")]:
            os.chown(path, user, user, follow_symlinks=False)


def query(history: Path, sql: str, *values: Any) -> list[Any]:
    with contextlib.closing(sqlite3.connect(f"file:{history}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(sql, values).fetchall()


def spoil(history: Path) -> None:
    """Overwrite a history with nonsense, but for the header, which says that it is one."""
    with history.open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * (history.stat().st_size - 100))


def snapshot(tree: Path) -> dict[str, tuple[Any, ...]]:
    """Every path of a tree with its type, mode, mtime (ns) and the hash of its content: equal means untouched."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in [tree, *sorted(tree.rglob("*"))]:
        info = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(info.st_mode) else ""
        found[str(path.relative_to(tree))] = (info.st_mode, info.st_ino, info.st_mtime_ns, content)
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not come true in {seconds} s"
        time.sleep(0.01)


def free_port() -> int:
    """A port to listen on, below those that the kernel gives to connections: one that tries to reach a server which is
    down could get the server's own port, and connect to itself.

    No other test process gets it as long as this one lives, whether anybody listens there yet or not.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, socket.socket(socket.AF_UNIX) as claim, contextlib.suppress(OSError):
            claim.bind(f"\0agentic-watch-tests-port-{port}")
            probe.bind(("127.0.0.1", port))
            claim.detach()
            return port


@contextlib.contextmanager
def write_locked(history: Path) -> Iterator[None]:
    """Hold the history's write lock, as a stuck program would."""
    with contextlib.closing(sqlite3.connect(history, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextlib.contextmanager
def held_lock(meta: Path) -> Iterator[None]:
    """Hold a workspace's lock, as another program that works on it does."""
    descriptor = os.open(meta, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
