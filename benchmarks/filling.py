"""Fills a history to a size with the program's own store, times its inserts and queries there, and counts what one
commit writes.

`python -m benchmarks.filling HISTORY ROWS` prints JSON. A process of its own, since it is large.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from agentic_watch.answers.past import dispatch_list, sql_dialects
from agentic_watch.answers.past.filters import Filter
from agentic_watch.history import rows
from agentic_watch.history.rows import Row
from agentic_watch.history.store import History
from agentic_watch.workspace import instant, record
from agentic_watch.workspace.instant import Instant
from benchmarks import trees

_GROUP = 256
_WORKSPACES = 50_000
_TIMES = 7
_SINGLES = 1_100
"""So many that the search takes some in meanwhile, which counts."""
_FRAME_BYTES = 24 + 4096
"""Of a page in the log. https://sqlite.org/fileformat2.html#walformat"""
_FIRST = 1_776_124_800
"""Seconds since the epoch of the first commit: 2026-04-14; there is one a second from then on."""


def _wanted(number: int) -> dict[str, Filter]:
    """The questions, about the workspace `number` where they are about one."""
    org, repo, _ = trees.name_of(number).split("/")
    return {
        "newest 20": Filter(),
        "of a repository in an organisation": Filter(repo=(repo,), org=(org,)),
        "of a workspace": Filter(workspace=(trees.name_of(number),)),
        "of a day": Filter(since="2026-04-14T00:00:00", until="2026-04-15T00:00:00"),
        "a common word and a rare one": Filter(search=f"invoice {number}"),
    }


def fill(path: str, size: int) -> dict[str, Any]:
    """Insert until there are `size` rows; the rate is that of all inserts on the way there, what the search takes in
    behind them included; bytes are the file's, and pages those of log that one commit of so many findings writes."""
    history = History(path)
    history.open()
    try:
        with history.reading() as connection:
            there = connection.execute("SELECT count(*) FROM dispatch_history").fetchone()[0]
        first, timed, busy = there, 0.0, 0.0
        for group in _groups(there, size):
            started, began = time.perf_counter(), time.process_time()
            history.insert(group)
            timed, busy = timed + time.perf_counter() - started, busy + time.process_time() - began
            there += len(group)
        started, began = time.perf_counter(), time.process_time()
        history.catch_up(math.inf)
        timed, busy = timed + time.perf_counter() - started, busy + time.process_time() - began
        pages = _pages(history, there)
    finally:
        history.close()
    asked = {name: _ask(path, wanted) for name, wanted in _wanted(min(size, _WORKSPACES) // 2).items()}
    rates = {"rows_per_second": (there - first) / timed, "rows_per_processor_second": (there - first) / busy}
    return {"rows": there, **rates, "bytes": os.path.getsize(path), "pages": pages, "query_seconds": asked}


def _pages(history: History, first: int) -> dict[str, list[int]]:
    """By the number of findings, the pages of log that each of some commits writes, each in its own transaction."""
    with history.reading() as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages: dict[str, list[int]] = defaultdict(list)
    for number in range(first, first + _SINGLES):
        before = os.path.getsize(f"{history.path}-wal")
        history.insert([one := row(number)])
        pages[str(len(one.findings))].append((os.path.getsize(f"{history.path}-wal") - before) // _FRAME_BYTES)
    return pages


def _groups(first: int, size: int) -> Iterator[list[Row]]:
    for start in range(first, size, _GROUP):
        yield [row(number) for number in range(start, min(start + _GROUP, size))]


def row(number: int) -> Row:
    """The row of one commit, in the order of time as commits come; every fourth has two findings."""
    run, workspace = divmod(number, _WORKSPACES)
    made = record.from_line(trees.journal_line(workspace, run + 1))
    made = made._replace(started_at=_at(number - 300), updated_at=_at(number))
    return rows.from_record(made, "/srv/root", "host")


def _at(second: int) -> Instant:
    return instant.parse(instant.now_text(_FIRST + second))


def _ask(path: str, wanted: Filter) -> list[float]:
    """Seconds of the same question, several times, each over a connection of its own as a command has it."""
    seconds = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        with sql_dialects.history(path) as asked:
            found = list(dispatch_list.dispatches(asked, wanted, limit=20))
        seconds.append(time.perf_counter() - started)
        if not found:
            raise SystemExit(f"nothing found for {wanted}")
    return seconds


if __name__ == "__main__":
    print(json.dumps({"sizes": [fill(sys.argv[1], int(size)) for size in sys.argv[2:]]}))
