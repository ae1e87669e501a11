"""How long an answer takes over a year of many dispatches, beside what a user would type into sqlite3."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.bench import Bench, Line, say, spread, turned
from benchmarks.processes import Ran, bare, ours, run

_ROUNDS = 5
_SQLITE = "sqlite3"
_AT_ONCE, _MONTH, _ALL = 0.1, 0.3, 2.0
"""Seconds that a list, an answer of 30 days and one of all time may take."""

_SINCE = "2026-10-19"
_NUMBERS = "sum(status IN ('completed','merged','ready-for-review')), sum(status IN ('failed','rejected'))"
_BAD = "status IN ('failed','rejected','blocked')"
_RULE = "tool, coalesce(rule_id, code, category)"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question as a command, the SQL for it, and how many seconds it may take."""

    name: str
    command: tuple[str, ...]
    sql: str
    seconds: float


def _questions(of: str) -> list[_Asked]:
    lists = [
        _Asked("newest 20", ("history",), "SELECT * FROM dispatches ORDER BY updated_utc DESC LIMIT 20", _AT_ONCE),
        _Asked(
            "failed, newest 20",
            ("history", "--failed"),
            "SELECT * FROM dispatches WHERE status IN ('failed','rejected') ORDER BY updated_utc DESC LIMIT 20",
            _AT_ONCE,
        ),
        _Asked(
            "one agent in two repositories",
            ("history", "--agent", "codex", "--repo", "service-003,service-004"),
            "SELECT * FROM dispatches WHERE repo IN ('service-003','service-004') AND agent LIKE 'codex%' "
            "ORDER BY updated_utc DESC LIMIT 20",
            _AT_ONCE,
        ),
        _Asked(
            "one workspace",
            ("history", "--workspace", of),
            f"SELECT * FROM dispatches WHERE workspace = '{of}' ORDER BY updated_utc DESC",
            _AT_ONCE,
        ),
    ]
    month = _counted("of 30 days", ("--since", _SINCE), f"updated_utc >= '{_SINCE}'", _MONTH)
    return [*lists, *month, *_counted("of all time", (), "1", _ALL)]


def _counted(span: str, options: tuple[str, ...], where: str, seconds: float) -> list[_Asked]:
    stats = f"SELECT agent, count(*), {_NUMBERS}, avg(duration_ms) FROM dispatches WHERE {where} GROUP BY agent"
    bad = f"SELECT question, count(*) FROM dispatches WHERE {_BAD} AND {where}"
    failures = f"{bad} GROUP BY question ORDER BY 2 DESC LIMIT 20"
    findings = (
        f"SELECT {_RULE}, count(*), count(DISTINCT org || '/' || repo) FROM findings f JOIN dispatches d "
        f"ON f.dispatch_id = d.id WHERE {where} GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20"
    )
    return [
        _Asked(f"stats {span}", ("stats", *options), stats, seconds),
        _Asked(f"failures {span}", ("failures", *options), failures, seconds),
        _Asked(f"findings {span}", ("findings", *options), findings, seconds),
    ]


def answers(bench: Bench) -> None:
    """A year is generated once; each question is asked as a process, in turn with sqlite3."""
    dispatches = bench.sizes.history_rows[-1]
    with bench.place() as place:
        history = f"{place}/history.db"
        made = run(bare("past", history, str(dispatches))).said()
        say(f"  a year of {dispatches:,} dispatches, {made['findings']:,} findings: {made['seconds']:.0f} s")
        bench.sync()
        ask(bench, history, f"{dispatches:,} dispatches, {made['findings']:,} findings")


def ask(bench: Bench, history: str, size: str) -> None:
    """Ask every question of a history that is there already."""
    newest = ("history", "-n", "1", "--json", "--columns", "workspace")
    for asked in _questions(run(ours("--history", history, *newest)).said()["workspace"]):
        contestants = {"ours": ours("--history", history, *asked.command)}
        if shutil.which(_SQLITE):
            contestants[_SQLITE] = [_SQLITE, "-readonly", history, asked.sql]
        ran = _take_turns(contestants)
        bench.raw.setdefault("answers", {})[asked.name] = {
            name: {"seconds": [one.seconds for one in all_of], "processor": [one.cpu for one in all_of]}
            for name, all_of in ran.items()
        }
        mine = spread([one.seconds for one in ran["ours"]])
        other = spread([one.seconds for one in ran[_SQLITE]]) if _SQLITE in ran else None
        bench.add(
            Line(
                f"`{asked.command[0]}`, {asked.name}, {size}",
                f"{mine.text()}, {_processor(ran['ours'])}",
                f"sqlite3 {other.text()}, {_processor(ran[_SQLITE])}" if other else "sqlite3 is not installed",
                f"{mine.median / other.median:.2f} ×" if other else "",
                f"≤ {asked.seconds} s",
                mine.median <= asked.seconds,
            )
        )


def _processor(ran: Sequence[Ran]) -> str:
    """What the processor did, which says more than the clock where the machine has other work."""
    return f"processor {spread([one.cpu for one in ran]).median:.2f} s"


def _take_turns(contestants: Mapping[str, Sequence[str]]) -> dict[str, list[Ran]]:
    ran: dict[str, list[Ran]] = {name: [] for name in contestants}
    for turn in range(_ROUNDS):
        for name in turned(list(contestants), turn):
            ran[name].append(run(contestants[name]))
    return ran
