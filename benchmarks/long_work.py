"""How long prune, import and rename-root take over a large history, and how long a commit beside them waits.

`python -m benchmarks.long_work DIRECTORY [DISPATCHES]` fills a history there with a year of 300,000 dispatches (or so
many; one that is there is taken), prunes half of it, imports the archive again and renames the root, each in a process
of its own. Meanwhile one row is inserted every 50 ms, as the daemon inserts it. Prints a JSON object for each.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.rows import Row, from_record
from agentic_watch.history.store import History
from benchmarks import past
from benchmarks.bench import say
from benchmarks.processes import REPOSITORY

_PAUSE_SECONDS = 0.05
_HALF = int((time.time() - past.END) / 86_400) + 183


def rows() -> Iterator[Row]:
    """New commits without an end, of a root of their own."""
    (record,) = itertools.islice(past.commits(1), 1)
    for number in itertools.count():
        yield from_record(record._replace(workspace=f"beside/it/task-{number}"), "/beside", "bench")


def beside(command: list[str], history: History, new: Iterator[Row]) -> dict[str, object]:
    """Run a command, and insert rows until it ends; how long each took, in milliseconds."""
    took: list[float] = []
    failed = 0
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        began = time.monotonic()
        try:
            history.insert([next(new)])
        except HistoryError:
            failed += 1
        took.append(1000 * (time.monotonic() - began))
        time.sleep(_PAUSE_SECONDS)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    took.sort()
    return {
        "seconds": round(time.monotonic() - started, 1),
        "commits": len(took),
        "failed": failed,
        **{f"p{percent}_ms": round(took[len(took) * percent // 100]) for percent in (50, 99)},
        "longest_ms": round(took[-1]),
    }


def main(directory: str, dispatches: str = "300000") -> None:
    """Fill, and measure each command."""
    path = os.path.join(directory, "history.db")
    archive = os.path.join(directory, "archive.jsonl")
    if not os.path.exists(path):
        filling = [sys.executable, "-m", "benchmarks.past", path, dispatches]
        subprocess.run(filling, check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        os.sync()
    program = [sys.executable, "-m", "agentic_watch", "--history", path]
    new = rows()
    with contextlib.closing(History(path)) as history:
        with history.reading() as connection:
            (root,) = connection.execute("SELECT root FROM dispatch_history LIMIT 1").fetchone()
            (count,) = connection.execute("SELECT count(*) FROM dispatch_history").fetchone()
        say(f"{count:,} rows, {os.stat(path).st_size / 1e6:.0f} MB")
        for arguments in (
            ["prune", "--older-than", f"{_HALF}d", "--archive", archive],
            ["import", archive],
            ["rename-root", root, "renamed"],
        ):
            found = beside([*program, *arguments], history, new)
            print(json.dumps({"command": arguments[0], "rows": count, **found}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
