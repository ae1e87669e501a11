"""`agentic-watch stats`: its numbers against plain Python over a generated past, and how they are printed."""

import contextlib
import csv
import io
import json
import os
import pty
import re
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import generated
import pytest
from support import Host, command, environment, run

from agentic_watch.answers.past import sql_dialects
from agentic_watch.answers.past.costs import KINDS
from agentic_watch.answers.past.filters import Filter
from agentic_watch.answers.past.stats import stats
from agentic_watch.answers.past.stats_query import Question
from agentic_watch.cli.value_texts import bar, sparkline
from agentic_watch.workspace import instant
from agentic_watch.workspace.record import Record

PASSED, FAILED = {"completed", "merged", "ready-for-review"}, {"failed", "rejected"}
COMMITS = generated.past()
FIRST_MERGED = {generated.run_of(one): one for one in reversed(COMMITS) if one.status == "merged"}
KEYS: dict[str, Callable[[Record], str]] = {
    "agent": lambda one: one.agent,
    "model": lambda one: one.agent.partition(":")[2],
    "repo": lambda one: f"{one.org}/{one.repo}" if one.org else one.repo,
    "org": lambda one: one.org,
    "status": lambda one: one.status,
    "host": lambda one: "host-1",
    "day": lambda one: one.updated_at.utc()[:10],
    "week": lambda one: time.strftime("%G-W%V", time.gmtime(one.updated_at.ns // 10**9)),
}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host with the generated past in its history. Not to be changed."""
    host = Host.make(tmp_path_factory.mktemp("past"))
    generated.fill(host.history, COMMITS)
    return host


def ask(host: Host, *options: str) -> Any:
    result = run([*host.arguments(), "stats", "--json", "-n", "0", *options], host.base)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def expected(those: list[Record]) -> dict[str, Any]:
    """What is to be told of some dispatches, rates left to their own test."""
    durations = sorted(took for one in those if (took := generated.duration_ms(one)) is not None)
    judged = [one.status in PASSED for one in those if one.status in PASSED | FAILED]
    firsts = [one.status in PASSED for one in those if one.status in PASSED | FAILED and one.runs <= 1]
    lines = [one.changes["insertions"] + one.changes["deletions"] for one in those if one.changes]
    merged = [took for one in those if (took := merged_after(one)) is not None]
    return {
        "dispatches_count": len(those),
        "passed_count": sum(judged),
        "failed_count": len(judged) - sum(judged),
        "waiting_count": sum(one.status == "blocked" for one in those),
        "unjudged_count": sum(one.status == "odd" for one in those),
        "pass_rate": (sum(judged), len(judged)),
        "first_try": (sum(firsts), len(firsts)),
        "duration_ms": {"median": middle(durations), "p90": rank(durations, 0.9)},
        "findings_per_dispatch": pytest.approx(sum(len(one.findings) for one in those) / len(those)),
        "lines_per_dispatch": pytest.approx(statistics.mean(lines)) if lines else None,
        "merged_count": len(merged),
        "time_to_merged_ms": middle(merged),
        **{kind: {"sum": None, "known_count": 0} for kind in KINDS},  # tests/test_costs.py has dispatches that say more
        "cost_per_passed_microusd": None,
    }


def merged_after(one: Record) -> int | None:
    """From the start of a run to the first of its commits that says merged."""
    first = FIRST_MERGED.get(generated.run_of(one))
    return generated.duration_ms(first) if first else None


def middle(values: list[int]) -> int | None:
    return int(statistics.median(values)) if values else None


def rank(ordered: list[int], share: float) -> int | None:
    """The smallest value that at least this share does not exceed."""
    return next((value for n, value in enumerate(ordered, 1) if n >= share * len(ordered) - 1e-9), None)


def told(group: dict[str, Any]) -> dict[str, Any]:
    rates = {name: (group[name]["passed_count"], group[name]["judged_count"]) for name in ("pass_rate", "first_try")}
    return {**{key: value for key, value in group.items() if key != "key"}, **rates}


@pytest.mark.parametrize("by", KEYS)
def test_every_grouping_tells_the_truth(past: Host, by: str) -> None:
    """The groups and their sum are what plain Python counts over the newest commit of each run."""
    answer = ask(past, "--by", by, "--utc")
    those = generated.newest(COMMITS)
    assert told(answer["total"]) == expected(those)
    assert answer["examined_count"] == len(those)
    groups = {group["key"] or "": told(group) for group in answer["rows"]}
    assert groups == {key: expected([one for one in those if KEYS[by](one) == key]) for key in map(KEYS[by], those)}


def test_spans_and_filters(past: Host) -> None:
    """Only the dispatches that were asked for are counted."""
    since, until = "2026-03-05T00:00:00Z", "2026-03-09T12:00:00Z"
    options = ["--since", since, "--until", until, "--repo", "api", "--org", "acme,other", "--agent", "claude"]
    those = [
        one
        for one in generated.newest(COMMITS)
        if since[:-1] <= one.updated_at.utc() < until[:-1] and one.repo == "api" and one.agent.startswith("claude:")
    ]
    answer = ask(past, *options)
    assert told(answer["total"]) == expected(those)
    assert (answer["since"], answer["until"]) == ("2026-03-05T00:00:00.000000000Z", "2026-03-09T12:00:00.000000000Z")
    assert answer["history_since"] == COMMITS[0].updated_at.utc()


def test_groups_are_ranked_when_there_are_enough(past: Host) -> None:
    """The best rate comes first among those with twenty judged; days come in their order, and are not ranked below."""
    rates = [group["pass_rate"] for group in ask(past, "--by", "agent")["rows"]]
    assert all(rate["ranked"] for rate in rates)
    assert [rate["rate"] for rate in rates] == sorted((rate["rate"] for rate in rates), reverse=True)
    days = ask(past, "--by", "day")["rows"]
    assert [day["key"] for day in days] == sorted(day["key"] for day in days)
    assert {day["pass_rate"]["ranked"] for day in days} == {day["pass_rate"]["judged_count"] >= 20 for day in days}


def test_days_are_local_where_nothing_else_is_asked_for(past: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of a host east of UTC begins before UTC's."""
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    try:
        with sql_dialects.history(str(past.history)) as asked:
            found = stats(asked, Question(Filter(until="2026-03-02T23"), "day", utc=False))
    finally:
        monkeypatch.undo()
        time.tzset()
    # An hour's dispatch each from midnight UTC on: the first local day lacks one hour.
    assert [(group.key, group.dispatches) for group in found.groups] == [("2026-03-01", 23), ("2026-03-02", 24)]


def test_days_in_a_pipe_are_the_terminal_s(past: Host) -> None:
    """A table has local days wherever it goes, as `--since today` means them; JSON, CSV and --utc have UTC's."""

    def days(*options: str) -> list[str]:
        words = command([*past.arguments(), "stats", "--by", "day", "--until", "2026-03-02T22:00:00Z", *options])
        environ = {**environment(past.base), "TZ": "CET-1"}
        text = subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout
        if "--json" in options:
            return [f"{group['key']} {group['dispatches_count']}" for group in json.loads(text)["rows"]]
        return [" ".join(found) for found in re.findall(r"^(2026-[-0-9]+)\D+(\d+)", text, re.MULTILINE)]

    assert days() == ["2026-03-01 23", "2026-03-02 23"]
    assert days("--json") == days("--csv") == days("--utc") == ["2026-03-01 24", "2026-03-02 22"]


def test_csv_and_table(past: Host) -> None:
    """CSV has a row for each group, a table also all of them as one, and says what was looked at."""
    arguments = [*past.arguments(), "stats", "--by", "org"]
    rows = list(csv.DictReader(io.StringIO(run([*arguments, "--csv"], past.base).stdout)))
    assert {row["key"] for row in rows} == {"acme", "other", ""}
    assert sum(int(row["dispatches_count"]) for row in rows) == 600
    lines = run(arguments, past.base).stdout.splitlines()
    assert lines[0].split()[:4] == ["ORG", "DISPATCHES", "PASSED/JUDGED", "RATE"]
    assert {line.split()[0] for line in lines[1:4]} == {"acme", "other", "(none)"}
    assert lines[4].split()[:2] == ["all", "600"]
    first, last = (one.updated_at.utc()[:19] for one in (COMMITS[0], COMMITS[-1]))
    assert lines[5] == f"600 dispatches; history starts at {first}Z, its newest dispatch is from {last}Z"


def test_other_statuses_count_as_the_configuration_says(past: Host, tmp_path: Path) -> None:
    """What [answers] names is judged."""
    file = tmp_path / "config.toml"
    file.write_text(f'[[roots]]\npath = "{past.root}"\n[answers]\nfailed = ["odd"]\n')
    arguments = ["--config", str(file), "--history", str(past.history), "stats", "--json"]
    total = json.loads(run(arguments, past.base).stdout)["total"]
    odd = [one for one in generated.newest(COMMITS) if one.status in FAILED | {"odd"}]
    assert (total["failed_count"], total["unjudged_count"]) == (len(odd), 0)


def changed(host: Host, *options: str) -> Any:
    return ask(host, "--compare", "7d", *options)


def test_compare(host: Host) -> None:
    """An agent that became worse is told with both rates and the commands that list what is behind them."""
    now = int(time.time())
    ended = [now - 3600 - 60 * number for number in range(40)]
    earlier = [at - 7 * 86_400 for at in ended]
    commits = [
        generated.record(
            workspace=f"w/{agent}/{at}",
            agent=agent,
            org="acme",
            repo="api",
            status="failed" if agent == "bad one" and at in ended and at // 60 % 3 else "completed",
            updated_at=generated.at(at),
        )
        for agent in ("good", "bad one")
        for at in (*earlier, *ended)
    ]
    generated.fill(host.history, commits)
    found = {change["by"]: change for change in changed(host)["rows"]}
    worse = found["agent"]
    assert (worse["key"], worse["better"], worse["before"]["pass_rate"]["rate"]) == ("bad one", False, 1.0)
    assert sorted(found) == ["agent", "repo"]
    listed = [run([*host.arguments(), *shlex.split(command)[1:]], host.base) for command in worse["commands"]]
    assert [len(result.stdout.splitlines()) for result in listed] == [worse["after"]["failed_count"] + 1, 0]
    assert changed(host, "--by", "model")["rows"] == []
    text = run([*host.arguments(), "stats", "--compare", "7d"], host.base).stdout
    assert "agent bad one: worse, " in text
    assert "--org acme --repo api" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compare", "soon"], "not a span such as 24h"),
        (["--compare", "99999w", "--agent", "x"], "not a span such as 24h"),
        (["--compare", "7d", "--since", "today"], "--compare excludes --since"),
        (["--by", "colour"], "is not one of"),
        (["--json", "--csv"], "--json and --csv exclude each other"),
    ],
)
def test_usage_errors(past: Host, options: list[str], message: str) -> None:
    """What cannot be meant is a usage error that says what can."""
    result = run([*past.arguments(), "stats", *options], past.base)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize(
    "question",
    [
        ["stats", "--by", "day"],
        ["stats", "--by", "week", "--since", "0001-01-01T00:00:00Z"],
        ["stats", "--by", "day", "--until", "9999-12-31T00:00:00Z"],
        ["history", "--columns", "updated_utc,started_utc"],
        ["failures", "--examples"],
        ["digest", "--since", "0001-01-01T00:00:00Z", "--until", "9999-12-31T00:00:00Z"],
    ],
    ids=" ".join,
)
def test_times_that_an_agent_planted_end_no_answer(tmp_path: Path, zone: str, question: list[str]) -> None:
    """On a terminal of any zone the first and the last instant of all are told like any other."""
    host = Host.make(tmp_path)
    times = ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.5Z", "9999-12-31T23:59:59.999999999Z", "2026-04-14T11:17:08Z"]
    commits = [
        generated.record(workspace=f"w{number}", status="failed", repo="r", started_at=time_of, updated_at=time_of)
        for number, time_of in enumerate(map(instant.parse, times))
    ]
    # Not through generated.fill alone: the committed time of the last one would be beyond all time.
    generated.fill(host.history, [one._replace(committed_at="2026-11-01T00:00:00Z") for one in commits])
    arguments = command([*host.arguments(), *question])
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            arguments,
            env={**environment(tmp_path), "TZ": zone},
            stdout=theirs,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
        )
        os.close(theirs)
        with contextlib.suppress(OSError):  # its end
            while os.read(ours, 65_536):
                pass
        _, stderr = process.communicate(timeout=60)
    finally:
        os.close(ours)
    assert (process.returncode, b"Traceback" in stderr) == (0, False), stderr.decode()


def test_an_empty_span_says_so(past: Host) -> None:
    """Nothing to count is said on stderr, with what the history holds."""
    result = run([*past.arguments(), "stats", "--since", "2999-01-01"], past.base)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.startswith(f"nothing matches; the history holds {len(COMMITS)} commits, from 2026-02-28T")


def test_pictures() -> None:
    """A bar is as long as its share, a sparkline as high as its values, nothing where there is nothing."""
    assert [bar(share, 4) for share in (None, 0.0, 0.5, 0.53, 1.0)] == ["", "", "██", "██▏", "████"]
    assert sparkline([0, 1, 4, 8], 4) == " ▁▄█"
    assert sparkline([9, 1, 1], 2) == "▅▅"
