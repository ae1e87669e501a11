"""Many workspaces made durable by a few syncfs: the same order, the same promise at every kill."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from .conftest import needs_strace
from .trace import STRACE

pytestmark = needs_strace
COUNT, BATCH = 80, 20
# Whether the file system is fit and quiet is the machine's affair; here it always is.
PROGRAM = (
    "import agentic_watch.commit.batches as batches; batches.is_fit = lambda directory: True; "
    f"batches._AT_MOST = {BATCH}; "
    "from agentic_watch.cli import main; main()"
)
SYNCED = r"syncfs(\(| resumed).* = 0"
WATCHED = "openat,pwrite64,write,fsync,fdatasync,syncfs,renameat"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Finished workspaces, enough for several batches that are synced together."""
    return plant(tmp_path)


def plant(base: Path) -> Path:
    """Make them below `base`; gives their root."""
    for number in range(COUNT):
        meta = base / f"root/org/repo/task-{number}/.meta"
        meta.mkdir(parents=True)
        status = {"status": "completed", "updated_at": f"2026-04-14T11:{number % 60:02}:08Z", "runs": 1}
        (meta / "status.json").write_text(json.dumps(status))
    return base / "root"


def once(root: Path, inject: str = "", base: Path | None = None) -> tuple[int, list[str]]:
    """Run `--once` under strace; gives the exit status (negative: killed by that signal) and the calls in order.

    History and trace lie in `base`, or else beside the root.
    """
    assert STRACE is not None
    base = base or root.parent
    log = base / "trace"
    options = ["-f", "-y", "-qq", "-o", str(log), "-e", f"trace={WATCHED}"]
    if inject:
        options += ["-e", f"inject={inject}"]
    program = [sys.executable, "-c", PROGRAM, "--root", str(root), "--history", str(base / "state/history.db")]
    done = subprocess.run([STRACE, *options, *program, "--once"], capture_output=True, text=True, timeout=120)
    return done.returncode, log.read_text(errors="replace").splitlines()


def assert_exactly_once(root: Path, base: Path | None = None, *, may_be_torn: bool = False) -> None:
    """Each workspace has one line, one row and its marker, and nothing temporary; pieces of lines that a power cut tore
    may have been set aside."""
    with closing(sqlite3.connect((base or root.parent) / "state/history.db")) as history:
        assert history.execute("SELECT count(*) FROM dispatch_history").fetchone() == (COUNT,)
    for meta in root.glob("org/repo/*/.meta"):
        torn = [path for path in meta.glob("journal.jsonl.corrupt-*") if may_be_torn]
        assert not any(path.read_bytes().strip(b"\0").endswith(b"}\n") for path in torn)
        left = {path.name for path in meta.iterdir()} - {path.name for path in torn}
        assert left == {"commit.json", "journal.jsonl", "status.json"}
        (line,) = (meta / "journal.jsonl").read_text().splitlines()
        marker = json.loads((meta / "commit.json").read_text())
        assert marker["committed_at"] == json.loads(line)["committed_at"]


def missing(calls: list[str], steps: list[str]) -> str | None:
    """The first step (an expression) that no call after the one before it matches, None when all come in order."""
    rest = iter(calls)
    return next((step for step in steps if not any(re.search(step, call) for call in rest)), None)


def test_every_step_is_durable_before_the_next(root: Path) -> None:
    """For each workspace: line, syncfs, rows and their sync, temporary marker, syncfs, rename, syncfs; none alone."""
    status, calls = once(root)
    assert status == 0
    for number in range(COUNT):
        meta = rf"/task-{number}/\.meta"
        steps = [
            rf" write\(.*{meta}/journal\.jsonl",
            SYNCED,
            r"f(data)?sync\(.*history\.db-wal",
            rf" write\(.*{meta}/\.commit\.json\.[0-9a-f]+\.tmp",
            SYNCED,
            rf" renameat\(.*{meta}>?, \"\.commit\.json\.",
            SYNCED,
        ]
        assert missing(calls, steps) is None, number
    assert not [call for call in calls if re.search(r"fsync\(.*(journal\.jsonl|\.commit\.json\.)", call)]
    assert_exactly_once(root)


def test_one_sync_serves_three_batches(root: Path) -> None:
    """The lines of one batch, the temporary markers and the renames of those before it: one syncfs for all."""
    _, calls = once(root)
    assert len([call for call in calls if " syncfs(" in call]) == COUNT // BATCH + 2


@pytest.mark.parametrize(
    "call", [*(f"syncfs:{{}}:when={nth}" for nth in range(1, 7)), "renameat:{}:when=7", "renameat:{}:when=47"]
)
def test_a_kill_between_any_two_steps_is_completed(root: Path, call: str) -> None:
    """Killed at a sync or between two renames, then run again: nothing lost, nothing twice."""
    status, _ = once(root, call.format("signal=SIGKILL"))
    assert status == -9
    assert once(root)[0] == 0
    assert_exactly_once(root)


def test_a_file_system_that_cannot_be_synced_whole_is_synced_file_by_file(root: Path) -> None:
    """A failed syncfs does not fail twenty workspaces for one bad file: each is asked for by itself."""
    status, calls = once(root, "syncfs:error=EIO")
    assert status == 0
    assert len([call for call in calls if re.search(r"fsync\(.*journal\.jsonl", call)]) == COUNT
    assert_exactly_once(root)


@pytest.mark.parametrize("nth", range(1, COUNT // BATCH + 3))
def test_one_failed_sync_costs_nothing_but_time(root: Path, nth: int) -> None:
    """Whichever syncfs fails, what it stood for is synced file by file, and nothing is missing."""
    status, calls = once(root, f"syncfs:error=EIO:when={nth}")
    assert status == 0
    assert [call for call in calls if re.search(r" fsync\(.*/\.meta", call)]
    assert_exactly_once(root)
