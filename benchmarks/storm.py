"""Load beside the daemon, until somebody ends it: `python -m benchmarks.storm KIND …` prints how much it was.

`own DIRECTORY`: an agent that opens and closes two files of its own in turn, as fast as it goes.
`clones ROOT FIRST COUNT RATE`: agents that make files in their clones, write them anew, and remove them.
`statuses ROOT FIRST COUNT RATE`: dispatchers that rewrite statuses which are not finished yet.
`touched ROOT FIRST COUNT RATE`: agents that open and close their statuses, one after the other; a single one in turns
with its report.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator

from benchmarks import trees

_TICK_SECONDS = 0.01
_FILES_AT_A_TIME = 500


def own(directory: str) -> Iterator[None]:
    """Open and close; one step a file."""
    paths = [f"{directory}/a", f"{directory}/b"]
    while True:
        for path in paths:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
            yield


def clones(root: str, first: int, count: int) -> Iterator[None]:
    """Some files in one clone, then in the next; one step a file that is written."""
    names = [str(number) for number in range(_FILES_AT_A_TIME)]
    while True:
        for number in range(first, first + count):
            clone = os.open(f"{root}/{trees.name_of(number)}/repo", os.O_RDONLY | os.O_DIRECTORY)
            for name in 2 * names:
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=clone))
                yield
            for name in names:
                os.unlink(name, dir_fd=clone)
            os.close(clone)


def statuses(root: str, first: int, count: int) -> Iterator[None]:
    """One status after another; one step a status."""
    run = 0
    while True:
        run += 1
        for number in range(first, first + count):
            document = trees.fields(number, "running") | {"updated_at": trees.updated_at(number, run)}
            meta = f"{root}/{trees.name_of(number)}/.meta"
            trees.write(f"{meta}/.status.json.tmp", json.dumps(document).encode())
            os.rename(f"{meta}/.status.json.tmp", f"{meta}/status.json")
            yield


def touched(root: str, first: int, count: int) -> Iterator[None]:
    """Opened for writing, and closed as it was; one step a file."""
    metas = [f"{root}/{trees.name_of(number)}/.meta" for number in range(first, first + count)]
    paths = [f"{meta}/status.json" for meta in metas] + [f"{meta}/report.json" for meta in metas if count == 1]
    while True:
        for path in paths:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
            yield


def _paced(steps: Iterator[None], rate: float) -> Iterator[None]:
    """So many a second; what could not be done in time is not made up for."""
    due = time.monotonic()
    while True:
        for _ in range(max(1, round(rate * _TICK_SECONDS))):
            next(steps)
            yield
        due = max(due + _TICK_SECONDS, time.monotonic() - _TICK_SECONDS)
        time.sleep(max(0.0, due - time.monotonic()))


def _steps(kind: str, arguments: list[str]) -> Iterator[None]:
    if kind == "own":
        return own(*arguments)
    root, first, count, rate = arguments
    storm = {"clones": clones, "statuses": statuses, "touched": touched}[kind]
    return _paced(storm(root, int(first), int(count)), float(rate))


def main() -> None:
    """Until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    done, began = 0, time.monotonic()
    try:
        for _ in _steps(sys.argv[1], sys.argv[2:]):
            done += 1
    finally:
        print(json.dumps({"a_second": done / (time.monotonic() - began)}), flush=True)


if __name__ == "__main__":
    main()
