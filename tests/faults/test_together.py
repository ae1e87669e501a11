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
COUNT = 20
# Whether the file system is fit and quiet is the machine's affair; here it always is.
PROGRAM = (
    "import agentic_watch.commit.together as together; together.is_fit = lambda directory: True; "
    "from agentic_watch.cli import main; main()"
)
WATCHED = "openat,pwrite64,write,fsync,fdatasync,syncfs,renameat"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Finished workspaces, enough for one batch that is synced together."""
    for number in range(COUNT):
        meta = tmp_path / f"root/org/repo/task-{number}/.meta"
        meta.mkdir(parents=True)
        status = {"status": "completed", "updated_at": f"2026-04-14T11:17:{number:02}Z", "runs": 1}
        (meta / "status.json").write_text(json.dumps(status))
    return tmp_path / "root"


def once(root: Path, inject: str = "") -> tuple[int, list[str]]:
    """Run `--once` under strace; gives the exit status (negative: killed by that signal) and the calls in order."""
    assert STRACE is not None
    log = root.parent / "trace"
    options = ["-f", "-y", "-qq", "-o", str(log), "-e", f"trace={WATCHED}"]
    if inject:
        options += ["-e", f"inject={inject}"]
    program = [sys.executable, "-c", PROGRAM, "--root", str(root), "--history", str(root.parent / "state/history.db")]
    done = subprocess.run([STRACE, *options, *program, "--once"], capture_output=True, text=True, timeout=120)
    return done.returncode, log.read_text(errors="replace").splitlines()


def assert_exactly_once(root: Path) -> None:
    """Each workspace has one line, one row and its marker, and nothing temporary."""
    with closing(sqlite3.connect(root.parent / "state/history.db")) as history:
        assert history.execute("SELECT count(*) FROM dispatch_history").fetchone() == (COUNT,)
    for meta in root.glob("org/repo/*/.meta"):
        assert sorted(path.name for path in meta.iterdir()) == ["commit.json", "journal.jsonl", "status.json"]
        (line,) = (meta / "journal.jsonl").read_text().splitlines()
        marker = json.loads((meta / "commit.json").read_text())
        assert marker["committed_at"] == json.loads(line)["committed_at"]


def last(calls: list[str], pattern: str) -> int:
    """Where the last call that matches stands."""
    return max(number for number, call in enumerate(calls) if re.search(pattern, call))


def test_every_step_is_durable_before_the_next(root: Path) -> None:
    """Lines, syncfs, rows and their sync, temporary markers, syncfs, renames, syncfs; and no workspace alone."""
    status, calls = once(root)
    assert status == 0
    syncs = [number for number, call in enumerate(calls) if "syncfs(" in call]
    lines = last(calls, r" write\(.*journal\.jsonl")
    row_synced = [n for n, call in enumerate(calls) if re.search(r"f(data)?sync\(.*history\.db-wal", call)]
    temporaries = [n for n, call in enumerate(calls) if re.search(r" write\(.*\.commit\.json\.[0-9a-f]+\.tmp", call)]
    renames = [number for number, call in enumerate(calls) if "renameat" in call and ".commit.json." in call]
    assert len(syncs) == 3
    assert len(renames) == len(temporaries) == COUNT
    assert lines < syncs[0] < temporaries[0]
    assert any(syncs[0] < number < temporaries[0] for number in row_synced), "no row was synced before the markers"
    assert temporaries[-1] < syncs[1] < renames[0] <= renames[-1] < syncs[2]
    assert not [call for call in calls if re.search(r"fsync\(.*journal\.jsonl", call)]
    assert_exactly_once(root)


@pytest.mark.parametrize("call", ["syncfs:{}:when=1", "syncfs:{}:when=2", "syncfs:{}:when=3", "renameat:{}:when=7"])
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
