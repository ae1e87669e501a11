"""How soon `history --follow` prints a commit, and what it costs while nothing is committed.

`python -m benchmarks.following DIRECTORY` makes a history there, inserts rows into it one at a time as the daemon does,
at once after each other and after rests of up to 12 s, and prints a JSON object: milliseconds from the end of each
transaction to the line, and seconds of processor in 20 seconds without a commit.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from agentic_watch.history.rows import from_record
from agentic_watch.history.store import History
from benchmarks import past
from benchmarks.bench import percentile
from benchmarks.processes import REPOSITORY

_RESTS_SECONDS = [0.05] * 60 + [0.5] * 10 + [3.0] * 3 + [12.0] * 2
_IDLE_SECONDS = 20.0


def _processor_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main(directory: str) -> None:
    """Measure and print."""
    path = os.path.join(os.path.abspath(directory), "history.db")
    (record,) = itertools.islice(past.commits(1), 1)
    samples = []
    with contextlib.closing(History(path)) as history:
        history.open()
        command = [sys.executable, "-m", "agentic_watch", "--history", path, "history", "--follow", "--json"]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            time.sleep(2.0)  # it prints nothing when it has begun
            for number, rest in enumerate(_RESTS_SECONDS):
                history.insert([from_record(record._replace(workspace=f"beside/it/{number}"), "/beside", "bench")])
                began = time.monotonic()
                assert json.loads(process.stdout.readline())["workspace"] == f"beside/it/{number}"
                samples.append(1000 * (time.monotonic() - began))
                time.sleep(rest)
            before = _processor_seconds(process.pid)
            time.sleep(_IDLE_SECONDS)
            idle = _processor_seconds(process.pid) - before
            process.terminate()
    told = {f"p{percent}_ms": round(percentile(samples, percent), 1) for percent in (50, 99)}
    print(json.dumps({"commits": len(samples), **told, "longest_ms": round(max(samples), 1), "idle_seconds": idle}))


if __name__ == "__main__":
    main(sys.argv[1])
