"""What dispatches cost and used: from what agents' programs print, by `dispatch`, to every answer that adds it up."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import generated
import pytest
from dispatch_support import dispatch
from support import Host, command, environment, make, run

from agentic_watch.answers.past.costs import KINDS, Total, per_passed, summed, totals
from agentic_watch.cli.value_texts import dollars, short

AGENTS = Path(__file__).parent / "fixtures" / "agents"
HUGE = 2**63 - 1

CLAUDE = ("success", "subagent", "denied", "401", "529", "529-after-one-turn", "drop")
PRINTED = {
    "claude": ("claude-2.1.197-stream.jsonl", *(f"claude-2.1.197-result-{name}.json" for name in CLAUDE)),
    "codex": ("codex-0.171.0-exec-json.jsonl", "codex-0.171.0-exec-json-529-after-one-turn.jsonl"),
    "gemini": ("gemini-0.61.0-json.json", "gemini-0.61.0-stream.jsonl"),
    "qwen": ("qwen-0.15.10-json.json", "qwen-0.15.10-json-401-exit0.json"),
    "opencode": ("opencode-1.18.33-run-json.jsonl", "opencode-1.18.33-run-json-401.jsonl"),
    "mini": ("mini-swe-agent-2.4.6-traj.json",),
}
"""What each program printed, one dispatch a file."""


MERGED = "acme/api/claude-2.1.197-result-success.json"


def sums(*parts: tuple[int | None, int]) -> dict[str, dict[str, int | None]]:
    """Each of KINDS: (its sum, of how many it is known)."""
    return {kind: {"sum": value, "known_count": known} for kind, (value, known) in zip(KINDS, parts, strict=True)}


NONE = (None, 0)
# Read from the files by hand, program by program: input, from the cache, into the cache, output; turns; cost.
EXPECTED: dict[str, dict[str, Any]] = {
    # In the files' order. An API that refused is known to have cost nothing: that is 0, and not unknown.
    "claude": sums(
        (33 + 33 + 55 + 33 + 0 + 0 + 11 + 0, 8),
        (15_000 + 15_000 + 25_000 + 15_000 + 0 + 0 + 5_000 + 0, 8),
        (6_000 + 6_000 + 10_000 + 6_000 + 0 + 0 + 2_000 + 0, 8),
        (170 + 170 + 280 + 170 + 0 + 0 + 60 + 0, 8),
        (3 + 3 + 3 + 3 + 1 + 1 + 2 + 1, 8),
        (49_415 + 49_415 + 82_275 + 29_649 + 0 + 0 + 16_555 + 0, 8),
    ),
    # Its prompt of 4,500 has 3,000 from the cache in it. The turn that failed says nothing; a price it never says.
    "codex": sums((4_500 - 3_000, 1), (3_000, 1), (0, 1), (210, 1), NONE, NONE),
    # Its candidates (210) have the thoughts (60) not in them.
    "gemini": sums((2 * (4_500 - 3_000), 2), (2 * 3_000, 2), NONE, (2 * (210 + 60), 2), NONE, NONE),
    "qwen": sums((4_500 - 3_000 + 0, 2), (3_000 + 0, 2), NONE, (210 + 0, 2), (3 + 1, 2), NONE),
    # Three steps; its output (50) has the reasoning (20) not in it.
    "opencode": sums((3 * 500, 1), (3 * 1_000, 1), (0, 1), (3 * (50 + 20), 1), NONE, (3 * 2_850, 1)),
    # Two requests; LiteLLM knows no price for its model, which is unknown and not 0.
    "mini": sums((2 * (1_500 - 1_000), 1), (2 * 1_000, 1), NONE, (2 * 70, 1), NONE, NONE),
}
ALL = sums((8_665, 15), (92_000, 15), (30_000, 10), (2_160, 15), (21, 10), (235_859, 9))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host on which every program ran once for each file, as `dispatch --usage` records it; Claude's first was merged
    afterwards. Not to be changed."""
    made = Host.make(tmp_path_factory.mktemp("costs"))
    for agent, files in PRINTED.items():
        for name in files:
            options = ("-q", "--workspace", f"acme/api/{name}", "--agent", agent, "--usage", "out")
            assert dispatch(made, *options, "--", "cp", str(AGENTS / name), "out").returncode == 0
    assert made.once().code == 0
    assert dispatch(made, "-q", "finish", MERGED, "--status", "merged").returncode == 0
    assert made.once().code == 0
    return made


def ask(host: Host, *arguments: str) -> Any:
    result = run([*host.arguments(), *arguments, "--json"], host.base)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def _as_wide_as(host: Host, columns: int, *arguments: str) -> list[str]:
    """The lines on a terminal of so many columns."""
    words = command([*host.arguments(), *arguments])
    environ = {**environment(host.base), "COLUMNS": str(columns)}
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout.splitlines()


def of(group: dict[str, Any]) -> dict[str, Any]:
    return {kind: group[kind] for kind in KINDS}


def test_what_real_programs_printed_is_added_up(host: Host) -> None:
    """By agent and of all, each sum with of how many it is; a run that was completed and merged counts once."""
    assert len(host.query("SELECT id FROM dispatch_history")) == 18
    answer = ask(host, "stats", "--by", "agent")
    assert {group["key"]: of(group) for group in answer["rows"]} == EXPECTED
    assert (answer["total"]["dispatches_count"], of(answer["total"])) == (17, ALL)


def test_models_are_those_that_the_programs_named(host: Host) -> None:
    """Where the agent's name has none; without the variant at their end."""
    rows = ask(host, "stats", "--by", "model")["rows"]
    assert {row["key"]: (row["dispatches_count"], row["cost_microusd"]["sum"]) for row in rows} == {
        "claude-opus-4-8": (4, 49_415 + 49_415 + 82_275 + 16_555),
        "claude-sonnet-4-5": (1, 29_649),
        "gemini-fake": (2, None),
        "fake-model": (2, None),
        "openai/fake-model": (1, None),
        None: (7, 0 + 0 + 0 + 3 * 2_850),
    }


def test_the_cost_of_one_that_passed(host: Host) -> None:
    """The failed ones' cost is in it; where less than 95 % is known there is none."""
    groups = {group["key"]: group for group in ask(host, "stats")["rows"]}
    assert (groups["claude"]["passed_count"], groups["claude"]["dispatches_count"]) == (3, 8)
    assert groups["claude"]["cost_per_passed_microusd"] == 75_770  # 227,309 / 3
    assert {groups[key]["cost_per_passed_microusd"] for key in ("codex", "opencode", "mini")} == {None}
    assert ask(host, "stats")["total"]["cost_per_passed_microusd"] is None


def test_tables_say_of_how_many_a_sum_is(host: Host) -> None:
    """Cost, cost per passed, tokens and turns, each with what is known of all; what nobody knows is empty."""
    lines = run([*host.arguments(), "stats"], host.base).stdout.splitlines()
    header, rows = lines[0].split(), {line.split()[0]: " ".join(line.split()) for line in lines[1:]}
    costs = ["COST", "COST/PASSED", "TOKENS", "IN/CACHED/OUT", "TURNS"]
    assert header[header.index("P90") + 1 : header.index("FINDINGS/RUN")] == costs
    assert "$0.23 (8/8) $0.0758 165/75.0k/850 (8/8) 17 (8/8)" in rows["claude"]
    assert "1.50k/3.00k/210 (1/2)" in rows["codex"]
    assert "$" not in rows["codex"]
    assert "$0.24 (9/17) 8.66k/92.0k/2.16k (15/17) 21 (10/17)" in rows["all"]


def test_csv_has_each_sum(host: Host) -> None:
    """A column each for a sum and for of how many it is; an unknown sum is empty, and 0 is 0."""
    text = run([*host.arguments(), "stats", "--csv"], host.base).stdout
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(text))}
    assert (rows["claude"]["cost_microusd_sum"], rows["claude"]["cost_microusd_known_count"]) == ("227309", "8")
    assert (rows["codex"]["cost_microusd_sum"], rows["codex"]["cost_microusd_known_count"]) == ("", "0")
    assert (rows["codex"]["cache_write_tokens_sum"], rows["claude"]["cost_per_passed_microusd"]) == ("0", "75770")


def test_what_the_failed_ones_cost(host: Host) -> None:
    """By class and together; those that wait are in it, as they are in the counts."""
    answer = ask(host, "failures")
    assert (answer["failed_count"], answer["waiting_count"]) == (7, 1)
    assert answer["cost_microusd"] == {"sum": 0 + 0 + 16_555 + 0 + 29_649, "known_count": 5}
    overloaded = next(one for one in answer["rows"] if one["class"].startswith("API Error: N Overloaded"))
    assert (overloaded["dispatches_count"], overloaded["cost_microusd"]) == (2, {"sum": 16_555, "known_count": 2})
    text = run([*host.arguments(), "failures"], host.base).stdout
    assert text.splitlines()[0] == "7 failed, 1 waits for an answer; they cost $0.0462, 5 of 8 known"
    assert "$0.0166 (2/2)" in text


def test_a_digest_tells_the_cost(host: Host) -> None:
    """A line of all, and of each agent what is known."""
    text = run([*host.arguments(), "digest"], host.base).stdout
    assert "Cost $0.24, 9 of 17 known. Tokens 8.66k in, 92.0k cached, 2.16k out, 15 of 17 known." in text
    assert ", cost $0.23, 8 of 8 known, $0.0758 per passed" in text
    assert ask(host, "digest")["total"]["cost_microusd"] == {"sum": 235_859, "known_count": 9}


def test_one_dispatch_tells_what_it_used(host: Host) -> None:
    """One line of `show`, and columns of a list under their own and their short names."""
    found = run(
        [*host.arguments(), "history", "--status", "merged", "--columns", "workspace,cost,tokens,turns"], host.base
    )
    header, line, *_ = found.stdout.splitlines()
    assert header.split() == ["WORKSPACE", "COST", "INPUT", "CACHE_READ", "CACHE_WRITE", "OUTPUT", "TURNS"]
    assert line.split()[1:] == ["$0.0494", "33", "15,000", "6,000", "170", "3"]
    shown = run([*host.arguments(), "show", line.split()[0]], host.base).stdout
    assert "  used          33 tokens in, 15,000 cached, 6,000 into cache, 170 out, 3 turns, $0.0494\n" in shown
    assert list(ask(host, "history", "--status", "merged", "--columns", "cost")) == ["schema", "cost_microusd"]


def test_pull_requests_by_what_they_cost(tmp_path: Path) -> None:
    """`--by pr` adds up all dispatches of a pull request, failed ones too; the most expensive comes first."""
    host = Host.make(tmp_path)
    now = int(time.time())
    runs = (
        ("1", "failed", 1.5),
        ("1", "merged", 2.25),
        ("2", "merged", 4.0),
        ("2", "failed", None),
        ("", "failed", 0.5),
    )
    generated.fill(
        host.history,
        [
            generated.record(
                workspace=f"w{number}",
                status=status,
                pr_url=f"https://git.example/acme/api/pull/{pr}" if pr else "",
                updated_at=generated.at(now - number),
                report={"usage": {} if cost is None else {"cost_usd": cost}},
            )
            for number, (pr, status, cost) in enumerate(runs)
        ],
    )
    rows = ask(host, "stats", "--by", "pr")["rows"]
    url = "https://git.example/acme/api/pull"
    assert [(row["key"], row["cost_microusd"], row["cost_per_passed_microusd"]) for row in rows] == [
        (f"{url}/2", {"sum": 4_000_000, "known_count": 1}, None),
        (f"{url}/1", {"sum": 3_750_000, "known_count": 2}, 3_750_000),
        (None, {"sum": 500_000, "known_count": 1}, None),
    ]


def test_what_changed_in_cost_is_told(tmp_path: Path) -> None:
    """`--compare` says what one that passed costs now and did before."""
    host = Host.make(tmp_path)
    now = int(time.time())
    commits = [
        generated.record(
            workspace=f"w{number}-{days}",
            agent="codex",
            status="failed" if days == 1 and number % 2 else "completed",
            updated_at=generated.at(now - days * 86_400 - number),
            report={"usage": {"cost_usd": 0.5}},
        )
        for days in (1, 9)
        for number in range(40)
    ]
    generated.fill(host.history, commits)
    text = run([*host.arguments(), "stats", "--compare", "7d"], host.base).stdout
    assert "; $1.00 per passed after $0.50\n" in text.splitlines(keepends=True)[0]
    (row,) = ask(host, "stats", "--compare", "7d", "--by", "agent")["rows"]
    assert (row["before"]["cost_per_passed_microusd"], row["after"]["cost_per_passed_microusd"]) == (500_000, 1_000_000)


HOSTILE = {kind: HUGE for kind in KINDS if kind != "cost_microusd"} | {"cost_usd": 9.2e12}


def test_no_number_is_too_large_to_be_added_up(tmp_path: Path) -> None:
    """Sums that no 64 bits hold are exact in JSON, and no column of a table is wide for them."""
    host = Host.make(tmp_path)
    for number in range(3):
        make(host.root, f"o/r/{number}", status="failed", question="why?", agent="codex", report={"usage": HOSTILE})
    make(host.root, "o/r/last", agent="codex", report={"usage": {**HOSTILE, "output_tokens": 7}})
    assert host.once().code == 0
    total = ask(host, "stats")["total"]
    assert (total["input_tokens"], total["output_tokens"]) == (
        {"sum": 4 * HUGE, "known_count": 4},
        {"sum": 3 * HUGE + 7, "known_count": 4},
    )
    assert total["cost_microusd"] == {"sum": 4 * 92 * 10**17, "known_count": 4}
    assert total["cost_per_passed_microusd"] == 4 * 92 * 10**17
    for words in (
        ["stats"],
        ["failures"],
        ["digest"],
        ["stats", "--by", "pr"],
        ["history", "--columns", "cost,tokens"],
    ):
        result = run([*host.arguments(), *words], host.base)
        assert (result.returncode, result.stderr) == (0, "")
    table = run([*host.arguments(), "stats"], host.base).stdout
    assert "$36.8T (4/4)" in table
    assert "36.9E/36.9E/27.7E (4/4)" in table


def test_without_a_word_of_costs_there_are_no_columns_for_them(tmp_path: Path) -> None:
    """A history of dispatchers that say nothing of tokens has the table that it always had."""
    host = Host.make(tmp_path)
    make(host.root, status="failed", question="why?")
    host.once()
    for words in (["stats"], ["failures"], ["digest"]):
        text = run([*host.arguments(), *words], host.base).stdout
        assert "COST" not in text.upper()
    assert ask(host, "stats")["total"]["cost_microusd"] == {"sum": None, "known_count": 0}


@pytest.mark.parametrize(
    ("columns", "kept"), [(60, ("COST",)), (80, ("COST", "COST/PASSED")), (140, ("P90", "MEDIAN"))]
)
def test_columns_give_way_in_a_sensible_order(host: Host, columns: int, kept: tuple[str, ...]) -> None:
    """No line is wider than the terminal; what is left out is named, rate and cost stay longest."""
    lines = _as_wide_as(host, columns, "stats")
    assert max(map(len, lines)) <= columns
    assert {"RATE", "PASSED/JUDGED", *kept} <= set(lines[0].split())


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        *((None, ""), (0, "$0.00"), (7, "<$0.0001"), (49_415, "$0.0494"), (99_999, "$0.1000"), (100_000, "$0.10")),
        *((41_200_000, "$41.20"), (1_234_500_000, "$1,234.50"), (1_250_000_000_000, "$1.25M"), (HUGE, "$9.22T")),
        (10**40, "$1.0e+34"),
    ],
)
def test_money(micro: int | None, text: str) -> None:
    """As exact as a reader needs; nothing is not known, and what is known to be 0 is 0."""
    assert dollars(micro) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0"), (999, "999"), (1_000, "1.00k"), (9_996, "10.0k"), (99_960, "100k"), (999_499, "999k")),
        *((999_600, "1.00M"), (1_250_000, "1.25M"), (HUGE, "9.22E"), (10**21 - 1, "1.0e+21"), (10**30, "1.0e+30")),
    ],
)
def test_short_numbers(number: int, text: str) -> None:
    """Three digits and a letter, rounded before the letter is chosen."""
    assert short(number) == text


@pytest.mark.parametrize(
    ("cost", "dispatches", "passed", "expected"),
    [
        (Total(1_000, 20), 20, 3, 333),
        (Total(1_000, 19), 20, 3, 333),
        (Total(1_000, 18), 19, 3, None),
        (Total(5, 2), 2, 2, 3),
        (Total(0, 2), 2, 1, 0),
        (Total(1_000, 20), 20, 0, None),
        (Total(), 0, 0, None),
    ],
)
def test_cost_per_passed(cost: Total, dispatches: int, passed: int, expected: int | None) -> None:
    """All of it by those that passed, from 95 in a hundred known on."""
    assert per_passed(cost, dispatches, passed) == expected


def test_exact_sums() -> None:
    """Of one column and of two that are both known, of several groups, and of nothing at all; of any numbers."""
    pairs = [(HUGE, HUGE), (-5, 3), (-(2**63), -(2**63)), (None, 1), (2, None), (HUGE, 1)]
    both = [a + b for a, b in pairs if a is not None and b is not None]
    known = [b for _, b in pairs if b is not None]
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b INTEGER)")
        assert totals(connection.execute(f"SELECT {summed('a', 'b')} FROM t").fetchall()) == [Total(0, 0)]
        connection.executemany("INSERT INTO t VALUES (?, ?)", pairs)
        query = f"SELECT {summed('a', 'b')}, {summed('b')} FROM t GROUP BY a, b"
        found = totals(connection.execute(query).fetchall())
    assert found == [Total(sum(both), len(both)), Total(sum(known), len(known))]
    assert totals([]) == []
