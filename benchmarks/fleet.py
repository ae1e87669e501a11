"""A thousand hosts and one PostgreSQL: `python -m benchmarks.fleet` (needs the groups test and bench).

Three parts in one run: a backlog, beside what a user would write (executemany from the SQLite file); a thousand hosts
that commit and follow; the same with the server away for a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from agentic_watch.config import Target
from agentic_watch.fleet import one_push, postgres_schema
from agentic_watch.history.columns import FINDING_COLUMNS, HISTORY_COLUMNS
from benchmarks import fleet_hosts
from benchmarks.bench import percentile, say, turned
from benchmarks.fleet_server import Server, serving

_LAG = "SELECT extract(epoch FROM received_at - updated_at)::float8 FROM dispatches WHERE updated_at >= %s::timestamptz"


@dataclass(frozen=True, slots=True)
class Sizes:
    """So many `hosts` follow every `interval` seconds; each part takes `seconds`, the outage `away`."""

    hosts: int = 1000
    interval: float = 30.0
    every: float = 30.0
    seconds: float = 90.0
    away: float = 60.0
    backlog: int = 20_000
    rounds: int = 3


def main() -> int:
    """Run all parts, print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Small sizes, to try it; the numbers mean nothing.")
    sizes = Sizes()
    if parser.parse_args().quick:
        sizes = Sizes(hosts=40, interval=2, every=2, seconds=8, away=5, backlog=2000, rounds=1)
    with tempfile.TemporaryDirectory(prefix="agentic-watch-hosts-") as base, serving() as server:
        with contextlib.closing(server.connect()) as connection:
            postgres_schema.make(connection)
        result = {
            "sizes": asdict(sizes),
            "machine": {"cpus": os.cpu_count(), "kernel": platform.release()},
            "server": server.one("SHOW server_version"),
            "backlog": backlog(Path(base), server, sizes),
            **fleet(Path(base), server, sizes),
        }
    print(json.dumps(result, indent=2))
    return 0


def backlog(base: Path, server: Server, sizes: Sizes) -> dict[str, Any]:
    """Rows a second of one host's backlog: by push, and by executemany of the same rows from the same file."""
    (host,) = fleet_hosts.make(base / "backlog", 1, sizes.backlog)
    history = host / "history.db"
    rates: dict[str, list[float]] = {"push": [], "executemany": []}
    cpu: dict[str, list[float]] = {"push": [], "executemany": []}
    own: dict[str, list[float]] = {"push": [], "executemany": []}
    ways = {"push": _push, "executemany": _executemany}
    for turn in range(sizes.rounds):
        for way in turned(list(ways), turn):
            with server.connect() as connection:
                connection.execute("TRUNCATE dispatches, findings")
            for path in host.glob("push.db*"):
                path.unlink()
            spent, began = (time.process_time(), server.cpu_seconds()), time.monotonic()
            ways[way](history, server)
            rates[way].append(round(sizes.backlog / (time.monotonic() - began)))
            own[way].append(round((time.process_time() - spent[0]) / sizes.backlog * 1e6))
            time.sleep(0.2)  # until the session's time counts as the server's
            cpu[way].append(round((time.process_time() + server.cpu_seconds() - sum(spent)) / sizes.backlog * 1e6))
            assert server.one("SELECT count(*) FROM dispatches") == sizes.backlog
            assert server.one("SELECT count(*) FROM findings") == 4 * sizes.backlog
    say(f"  backlog: {rates}, CPU {cpu}, of the host {own}")
    both = {"cpu_us_a_row_both_sides": cpu, "cpu_us_a_row_host": own}
    return {"commits": sizes.backlog, "findings_each": 4, "rows_s": rates, **both}


def _push(history: Path, server: Server) -> None:
    with one_push.opened(str(history)) as opened:
        pushed = one_push.push(_target(server), opened)
    assert pushed.error is None, pushed.error


def _executemany(history: Path, server: Server) -> None:
    """What a user would write: read the file, executemany, commit; 500 commits a transaction, as push has them."""
    names = [name for name in HISTORY_COLUMNS if name not in ("updated_at", "commit_id")]
    with contextlib.closing(sqlite3.connect(history)) as source, psycopg.connect(server.dsn) as connection:
        cursor = connection.cursor()
        every = "host_id, id, commit_id, updated_text, updated_at, " + ", ".join(names)
        values = "gen_random_uuid(), " + ", ".join(["%s"] * (len(names) + 4))
        insert = f"INSERT INTO dispatches ({every}) VALUES ({values})".replace("gen_random_uuid()", f"'{_HOST}'")
        columns = ", ".join(f'"{name}"' for name in FINDING_COLUMNS)
        places = ", ".join(["%s"] * (len(FINDING_COLUMNS) + 2))
        insert_finding = f"INSERT INTO findings (host_id, commit_id, n, {columns}) VALUES ('{_HOST}', {places})"
        read = source.execute(
            f"SELECT id, commit_id, updated_at, updated_utc, {', '.join(names)} FROM dispatch_history ORDER BY id"
        )
        sql = (
            f"SELECT h.commit_id, f.id, {', '.join(f'f.{name}' for name in columns.split(', '))} FROM findings AS f "
            "JOIN dispatch_history AS h ON h.id = f.dispatch_id WHERE f.dispatch_id BETWEEN ? AND ?"
        )
        while rows := read.fetchmany(500):
            cursor.executemany(insert, rows)
            cursor.executemany(insert_finding, source.execute(sql, (rows[0][0], rows[-1][0])).fetchall())
            connection.commit()


_HOST = "00000000-0000-4000-8000-000000000000"


def fleet(base: Path, server: Server, sizes: Sizes) -> dict[str, Any]:
    """Hosts that commit and follow: undisturbed, then with the server away in between."""
    with server.connect() as connection:
        connection.execute("TRUNCATE dispatches, findings, hosts, host_boots")
    say(f"  making {sizes.hosts} hosts")
    hosts = fleet_hosts.make(base / "fleet", sizes.hosts)
    result: dict[str, Any] = {}
    made = [0]
    with fleet_hosts.following(hosts, _target(server, sizes.interval)) as counts, _committing(hosts, sizes, made):
        time.sleep(sizes.interval)  # until each has pushed once
        for name, away in (("steady", 0.0), ("server_away", sizes.away)):
            result[name] = _measure(server, sizes, counts, away)
            say(f"  {name}: {result[name]}")
    began = time.monotonic()
    with fleet_hosts.following(hosts, _target(server, sizes.interval)):
        while server.one("SELECT count(*) FROM dispatches") < made[0]:
            if time.monotonic() - began > 600:
                raise SystemExit(f"{made[0]} were committed, {server.one('SELECT count(*) FROM dispatches')} arrived")
            time.sleep(0.5)
    result["arrived"] = {
        "committed": made[0],
        "rows": server.one("SELECT count(*) FROM dispatches"),
        "distinct": server.one("SELECT count(DISTINCT (host_id, commit_id)) FROM dispatches"),
    }
    return result


def _measure(server: Server, sizes: Sizes, counts: Any, away: float) -> dict[str, Any]:
    began = time.time()
    before = counts[0], counts[1]
    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began))
    back = time.monotonic()
    if away:
        server.stop()
        time.sleep(away)
        server.start()
        back = time.monotonic()
    with _sampling(server) as samples:
        time.sleep(sizes.seconds)
    with server.connect() as connection:
        lags = [lag for (lag,) in connection.execute(_LAG, (start,))]
    found = {
        "seconds": round(time.time() - began, 1),
        "rows_s": round(len(lags) / (time.time() - began), 1),
        "lag_p50_s": round(percentile(lags, 50), 1),
        "lag_p99_s": round(percentile(lags, 99), 1),
        "connections_max": max(samples),
        "connections_mean": round(sum(samples) / len(samples), 2),
        "pushes": counts[0] - before[0],
        "failed_pushes": counts[1] - before[1],
    }
    if away:
        with server.connect() as connection:
            sql = "SELECT extract(epoch FROM now() - max(received_at)) FROM dispatches WHERE updated_at < %s"
            back_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - (time.monotonic() - back)))
            ((ago,),) = connection.execute(sql, (back_at,)).fetchall()
        found["drained_after_s"] = round(time.monotonic() - back - float(ago), 1)
    return found


@contextlib.contextmanager
def _sampling(server: Server) -> Iterator[list[int]]:
    """How many pushers are connected, asked twenty times a second."""
    samples: list[int] = []
    enough = threading.Event()

    def work() -> None:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'agentic-watch'"
        with server.connect() as connection:
            while not enough.wait(0.05):
                samples.append(connection.execute(sql).fetchall()[0][0])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield samples
    finally:
        enough.set()
        thread.join()


@contextlib.contextmanager
def _committing(hosts: list[Path], sizes: Sizes, made: list[int]) -> Iterator[None]:
    """Each host commits once in `every` seconds, one after the other."""
    enough = threading.Event()

    def work() -> None:
        turn = time.monotonic()
        while not enough.is_set():
            host = hosts[made[0] % len(hosts)]
            fleet_hosts.fill(host / "history.db", f"/srv/{host.name}", range(made[0], made[0] + 1))
            made[0] += 1
            turn += sizes.every / len(hosts)
            enough.wait(max(0.0, turn - time.monotonic()))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def _target(server: Server, interval: float = 60.0) -> Target:
    os.environ["AGENTIC_WATCH_PUSH_FLEET_DSN"] = server.dsn
    return Target("fleet", "postgres", interval_seconds=interval)


if __name__ == "__main__":
    sys.exit(main())
