"""Every answer of a host against plain Python over 30,000 commits with every oddity that an agent can plant."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import truth
from truth import Commit, Truth

from agentic_watch.answers.past import sql_dialects
from agentic_watch.answers.past.filters import Filter
from agentic_watch.answers.past.stats import compare, document, stats
from agentic_watch.answers.past.stats_query import Question
from agentic_watch.cli import command_line
from agentic_watch.history import rows
from agentic_watch.history.store import History
from agentic_watch.workspace import record
from agentic_watch.workspace.jsontext import dump

EVERYTHING = "0001-01-01T00:00:00Z"
ZONE_BEFORE = os.environ.get("TZ"), time.tzname
SINCE, UNTIL = "2026-05-01T00:00:00.000000000Z", "2026-06-15T12:30:00.000000000Z"
Choice = tuple[list[str], Callable[[Commit], bool]]
FILTERS: dict[str, Choice] = {
    "all": ([], lambda _: True),
    "of all time": (["--since", EVERYTHING], lambda _: True),
    "a span": (["--since", SINCE, "--until", UNTIL], lambda one: SINCE <= one.utc < UNTIL),
    "an agent": (["--agent", "codex"], lambda one: one.agent.split(":")[0] == "codex"),
    "two repositories": (["--repo", "api,репо"], lambda one: one.repo in ("api", "репо")),
    "an organisation": (["--org", "acme", "--since", SINCE], lambda one: one.org == "acme" and one.utc >= SINCE),
    "a model": (["--model", "opus"], lambda one: one.agent.partition(":")[2] == "opus"),
    "a status": (["--status", "odd,blocked"], lambda one: one.status in ("odd", "blocked")),
    "a host": (["--host", "host-2"], lambda one: one.host == "host-2"),
}
KEYS: dict[str, Callable[[Commit], str]] = {
    "agent": lambda one: one.agent,
    "model": lambda one: one.agent.partition(":")[2],
    "repo": lambda one: one.place,
    "org": lambda one: one.org,
    "status": lambda one: one.status,
    "host": lambda one: one.host,
    "day": lambda one: truth.day(one).isoformat(),
    "week": truth.week,
}
SEARCHES = ("menu", "café", "ünïcode", "задача", "Ελλάδα", "日本", "½", "task-101", "acme/billing", "quoted")
SEARCHES = (*SEARCHES, "snake_case", "gosec G304", "правило", "menu 21", "новое прав", "nothing-of-this-kind")
SEARCHES = (*SEARCHES, "ПРАВИЛО-½", "Get https")
FOLDED = ("cafe", "unicode 2")


def make(path: Path, commits: list[Commit]) -> None:
    """The history of these commits, made as the program makes it from journal lines."""
    with contextlib.closing(History(str(path))) as history:
        history.open()
        made = [rows.from_record(record.from_line(dump(one.record()).encode()), one.root, one.host) for one in commits]
        for start in range(0, len(made), 500):
            history.insert(made[start : start + 500])
    moved = [(one.moved_to, one.root, one.workspace, one.utc, one.runs) for one in commits if one.moved_to]
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        where = "root = ? AND workspace = ? AND updated_utc = ? AND runs = ?"
        connection.executemany(f"UPDATE dispatch_history SET moved_to = ? WHERE {where}", moved)


class Asked:
    """A host whose answers are held against the truth; `options` go with each command."""

    folded = True
    """Whether its search knows letters without their accents."""
    knows_moves = True
    """Whether it knows where a workspace went after it was committed."""

    def __init__(self, commits: list[Commit], *options: str, more: tuple[str, ...] = ()) -> None:
        self.truth = Truth(commits)
        self._options, self._more = options, more

    def text(self, *arguments: str) -> str:
        """What a command prints, in this process: to start sixty would take longer than to answer."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            command_line.root.main([*self._options, *arguments, *self._more], standalone_mode=False)
        return printed.getvalue()

    @contextlib.contextmanager
    def answering(self) -> Iterator[sql_dialects.Source]:
        """Its rows, asked without a command line."""
        with sql_dialects.history(str(Path(self._options[1]).parent / "history.db")) as opened:
            yield opened

    def json(self, *arguments: str) -> Any:
        return json.loads(self.text(*arguments, "--json"))

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text(*arguments, "--json").splitlines()]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    base = tmp_path_factory.mktemp("truth")
    commits = truth.past()
    assert len(commits) >= 30_000
    make(base / "history.db", commits)
    config = base / "config.toml"
    config.write_text(f'[[roots]]\npath = "{base}/root"\n[history]\npath = "{base}/history.db"\n', "utf-8")
    return Asked(commits, "--config", str(config))


def told(group: dict[str, Any]) -> dict[str, Any]:
    """A group as it can be compared: numbers to their twelfth digit."""
    flat = {key: value for key, value in group.items() if key not in ("key", "pass_rate", "first_try")}
    for name in ("pass_rate", "first_try"):
        flat |= {f"{name}.{key}": value for key, value in group[name].items()}
    return {key: float(f"{value:.12g}") if isinstance(value, float) else value for key, value in flat.items()}


@pytest.mark.parametrize("name", FILTERS)
def test_stats(asked: Asked, name: str) -> None:
    """Each number of each group and of the total, by agent or by day, for each filter."""
    options, wanted = FILTERS[name]
    those = asked.truth.of(wanted)
    for by in KEYS if name in ("all", "of all time") else ("agent", "day"):
        answer = asked.json("stats", "-n", "0", "--by", by, *options)
        groups = asked.truth.groups(those, KEYS[by])
        assert {group["key"]: told(group) for group in answer["rows"]} == {k: told(v) for k, v in groups.items()}, by
        assert told(answer["total"]) == told(asked.truth.group(those))
        assert (answer["examined_count"], answer["rows_count"]) == (len(those), len(groups))


def test_a_limit_is_one_in_every_form(asked: Asked) -> None:
    """-n leaves out the same groups in a table, in JSON and in CSV; of days the oldest."""
    days = sorted({truth.day(one).isoformat() for one in asked.truth.newest})
    answer = asked.json("stats", "--by", "day", "-n", "3")
    assert ([group["key"] for group in answer["rows"]], answer["rows_count"]) == (days[-3:], len(days))
    rows_of = list(csv.DictReader(io.StringIO(asked.text("stats", "--by", "day", "-n", "3", "--csv"))))
    assert [row["key"] for row in rows_of] == days[-3:]
    table = asked.text("stats", "--by", "day", "-n", "3").splitlines()
    assert [line.split()[0] for line in table[1:4]] == days[-3:]


def test_compared_spans(asked: Asked) -> None:
    """Who became better or worse is who has two rates that nothing joins."""
    now, seconds = truth.BEGIN // truth.SECOND + 100 * 86_400, 40 * 86_400
    bounds = [truth.utc((now - count * seconds) * truth.SECOND) for count in (2, 1)]
    before = asked.truth.groups(asked.truth.of(lambda one: bounds[0] <= one.utc < bounds[1]), KEYS["agent"])
    after = asked.truth.groups(asked.truth.of(lambda one: one.utc >= bounds[1]), KEYS["agent"])
    expected = {
        key: (told(before[key]), told(group))
        for key, group in after.items()
        if key and key in before and differ(before[key]["pass_rate"], group["pass_rate"])
    }
    with asked.answering() as opened:
        found = compare(opened, Question(Filter(), "agent"), seconds, now)
    assert {new.key: (told(document(old)), told(document(new))) for old, new in found} == expected


def differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both may be compared and nothing joins them."""
    if not (one["ranked"] and other["ranked"]):
        return False
    return bool(one["low"] > other["high"] or one["high"] < other["low"])


ZONES = ("Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati", "Etc/GMT+12", "Europe/Amsterdam")


@pytest.mark.parametrize("zone", ZONES)
def test_days_of_a_zone(asked: Asked, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days begin at that zone's midnight, and no time of any year ends in a traceback."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with asked.answering() as opened:
            found = stats(opened, Question(Filter(), "day", utc=False))
    finally:
        monkeypatch.undo()
        time.tzset()
    expected = asked.truth.groups(asked.truth.newest, lambda one: truth.day(one, zone).isoformat())
    assert {group.key: told(document(group)) for group in found.groups} == {k: told(v) for k, v in expected.items()}


@pytest.mark.parametrize("name", FILTERS)
def test_failures(asked: Asked, name: str) -> None:
    """Each class with its cause, whose fault it is, how often, where, and its newest examples."""
    options, wanted = FILTERS[name]
    those = asked.truth.of(wanted)
    answer = asked.json("failures", "-n", "0", *options)
    expected = truth.failures(those)
    assert {
        (one["class"], one["cause"]): {key: one[key] for key in one if key not in ("class", "cause", "examples")}
        for one in answer["rows"]
    } == expected
    assert answer["rows_count"] == len(expected)
    assert (answer["failed_count"], answer["waiting_count"]) == tuple(
        sum(one[key] for one in expected.values()) for key in ("failed_count", "waiting_count")
    )
    for one in answer["rows"]:
        mine = [
            it.utc
            for it in those
            if (it.reason, it.cause or None) == (one["class"], one["cause"]) and it.status in (*truth.FAILED, "blocked")
        ]
        assert [example["updated_utc"] for example in one["examples"]] == mine[:-4:-1]


@pytest.mark.parametrize("name", FILTERS)
def test_findings(asked: Asked, name: str) -> None:
    """Counted by rule, file, tool and repository: findings, dispatches, repositories, and when each was last seen."""
    options, wanted = FILTERS[name]
    those = asked.truth.of(wanted)
    for by, names in truth.FINDING_NAMES.items():
        answer = asked.json("findings", "-n", "0", "--by", by, *options)
        expected = truth.findings(those, by)
        found = {tuple(row.pop(part) for part in names): row for row in answer["rows"]}
        assert found == expected, by
        assert answer["examined_count"] == sum(row["findings_count"] for row in expected.values())


@pytest.mark.parametrize("kind", ["new", "gone", "persistent"])
def test_changed_findings(asked: Asked, kind: str) -> None:
    """What stays over the newest runs of a repository, comes and goes; a finding that says nothing is one, too."""
    answer = asked.json("findings", "-n", "0", *(["--persistent", "3"] if kind == "persistent" else [f"--{kind}"]))
    found = {(row["repo"], row["tool"], row["rule"], row["file"]) for row in answer["rows"]}
    assert found == truth.changes(asked.truth, kind, 3 if kind == "persistent" else 2)
    assert len(answer["rows"]) == len(found) == answer["rows_count"]


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "of all time"])
def test_lists(asked: Asked, name: str) -> None:
    """Every dispatch that is wanted, whole and in order; with --all every commit."""
    options, wanted = FILTERS[name]
    for more, those in (([], asked.truth.newest), (["--all"], asked.truth.commits)):
        rows_of = asked.lines("history", "-n", "0", "--columns", ",".join(COLUMNS), *options, *more)
        expected = [one for one in those if wanted(one)]
        assert [row["updated_utc"] for row in rows_of] == [one.utc for one in reversed(expected)]
        assert Counter(map(values_of, rows_of)) == Counter(map(expected_values, expected))


COLUMNS = ("root", "workspace", "updated_utc", "started_utc", "runs", "duration_ms", "status", "agent", "question")
COLUMNS = (*COLUMNS, "insertions", "deletions", "passed", "test_passed", "findings_count", "issue")


def values_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in COLUMNS)


def expected_values(one: Commit) -> tuple[Any, ...]:
    changed = one.report.get("changes", {})
    return (
        *(one.root, one.workspace, one.utc, truth.utc(one.started) if one.started is not None else None, one.runs),
        *(one.duration, one.status, one.agent or None, one.question or None),
        *(truth.number(changed.get(name)) for name in ("insertions", "deletions")),
        *(one.report.get(name) for name in ("passed", "test_passed")),
        *(len(one.findings), one.record()["issue"]),
    )


@pytest.mark.parametrize("search", SEARCHES)
def test_search(asked: Asked, search: str) -> None:
    """What has every word is found and nothing else, in any script."""
    found = asked.lines("history", "-n", "0", "--columns", "root,workspace,updated_utc,runs", search)
    those = asked.truth.of(lambda one: truth.matches(one, search, asked.folded))
    assert Counter(tuple(row.values()) for row in found if row.pop("schema")) == Counter(
        (one.root, one.workspace, one.utc, one.runs) for one in those
    )


@pytest.mark.parametrize("search", FOLDED)
def test_search_without_accents(asked: Asked, search: str) -> None:
    """A host finds `café` by `cafe`; a fleet does not, and its documentation says so."""
    found = asked.lines("history", "-n", "0", "--columns", "updated_utc", search)
    those = asked.truth.of(lambda one: truth.matches(one, search, asked.folded))
    assert Counter(row["updated_utc"] for row in found) == Counter(one.utc for one in those)


def test_moved_workspaces(asked: Asked) -> None:
    """A moved one is found by its old name, and on its host by the new one, which is also a column."""
    moved = [one for one in asked.truth.newest if one.moved_to][:5]
    for one in moved:
        assert one.moved_to is not None
        by_old = asked.lines("history", "-n", "0", "--workspace", one.workspace, "--columns", "updated_utc")
        assert one.utc in {row["updated_utc"] for row in by_old}
        by_new = asked.lines("history", "--workspace", one.moved_to, "--columns", "moved_to,updated_utc")
        assert [(row["moved_to"], row["updated_utc"]) for row in by_new] == (
            [(one.moved_to, one.utc)] if asked.knows_moves else []
        )


def test_a_digest(asked: Asked) -> None:
    """The span, the one before it, classes, who waits and what is new: as the answers by themselves."""
    answer = asked.json("digest", "--since", SINCE, "--until", UNTIL)
    those = asked.truth.of(lambda one: SINCE <= one.utc < UNTIL)
    assert told(answer["total"]) == told(asked.truth.group(those))
    groups = asked.truth.groups(those, KEYS["agent"])
    assert {group["key"]: told(group) for group in answer["agents"]} == {k: told(v) for k, v in groups.items()}
    earlier = asked.truth.of(lambda one: "2026-03-16T11:30:00.000000000Z" <= one.utc < SINCE)
    assert {k: pytest.approx(v) for k, v in answer["before"].items()} == asked.truth.group(earlier)["pass_rate"]
    counts = sorted(-one["dispatches_count"] for one in truth.failures(those).values())[:5]
    assert [-one["dispatches_count"] for one in answer["classes"]] == counts
    waiting = [one for one in those if one.status == "blocked"][:-6:-1]
    assert [(row["workspace"], row["question"]) for row in answer["waiting"]] == [
        (one.workspace, one.question or None) for one in waiting
    ]
    until = Truth([one for one in asked.truth.commits if one.utc < UNTIL])
    assert answer["new_findings_count"] <= len(truth.changes(until, "new", 2))


def test_csv_is_no_spreadsheet_formula(asked: Asked) -> None:
    """A text that begins as a formula does has an apostrophe before it; numbers and all else stay as they are."""
    text = asked.text("history", "-n", "0", "--csv", "--columns", "agent,question,insertions,updated_utc")
    found = Counter((row["agent"], row["question"]) for row in csv.DictReader(io.StringIO(text)))
    assert found == Counter(
        tuple(f"'{value}" if value.startswith("=") else value for value in (one.agent, one.question))
        for one in asked.truth.newest
    )
    assert "\r\n'=evil," in text
    assert ",-5," in text


def test_nothing_depends_on_the_zone_of_the_process() -> None:
    """The tests above left no zone behind."""
    assert (os.environ.get("TZ"), time.tzname) == ZONE_BEFORE
