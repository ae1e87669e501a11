"""`agentic-watch findings`: what recurs, stays, comes and goes, against plain Python over a generated past."""

import csv
import io
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import generated
import pytest
from support import Host, run

from agentic_watch.workspace.record import Record

COMMITS = generated.past()


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host with the generated past in its history. Not to be changed."""
    host = Host.make(tmp_path_factory.mktemp("past"))
    generated.fill(host.history, COMMITS)
    return host


def ask(host: Host, *options: str) -> Any:
    result = run([*host.arguments(), "findings", "--json", "-n", "0", *options], host.base)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def rule_of(finding: dict[str, Any]) -> tuple[str, str]:
    """Tool and rule by hand: rule_id, else code, else category, else the title without its numbers."""
    name = finding.get("rule_id") or finding.get("code") or finding.get("category")
    title = str(finding.get("title") or finding.get("message")).replace("17", "N").replace("18", "N")
    return finding.get("tool", ""), name or title.replace("1", "N").replace("2", "N")


def place_of(one: Record) -> str:
    return f"{one.org}/{one.repo}" if one.org else one.repo


def keys(one: Record, by: str) -> list[tuple[str, ...]]:
    """What each finding of a dispatch counts for."""
    of = {
        "rule": rule_of,
        "file": lambda finding: (place_of(one), finding["file"]),
        "tool": lambda finding: (finding.get("tool", ""),),
        "repo": lambda _: (place_of(one),),
    }
    return [of[by](finding) for finding in one.findings]


NAMED = {"rule": ("tool", "rule"), "file": ("repo", "file"), "tool": ("tool",), "repo": ("repo",)}


@pytest.mark.parametrize("by", NAMED)
@pytest.mark.parametrize("since", ["", "2026-03-12T05:00:00Z"])
def test_counts_are_what_plain_python_counts(past: Host, by: str, since: str) -> None:
    """Findings, the dispatches that have one, and repositories, over the newest commit of each run."""
    findings: Counter[tuple[str, ...]] = Counter()
    dispatches: Counter[tuple[str, ...]] = Counter()
    repositories = defaultdict(set)
    last: dict[tuple[str, ...], str] = {}
    for one in generated.newest(COMMITS):
        if one.updated_at.utc() >= since[:-1]:
            of_one = keys(one, by)
            findings.update(of_one)
            dispatches.update(set(of_one))
            for key in of_one:
                repositories[key].add(place_of(one))
                last[key] = one.updated_at.utc()
    answer = ask(past, "--by", by, *(["--since", since] if since else []))
    assert answer["examined_count"] == sum(findings.values()) > 0
    assert {tuple(row[name] or "" for name in NAMED[by]): row for row in answer["rows"]} == {
        key: {
            **{name: value or None for name, value in zip(NAMED[by], key, strict=True)},
            "findings_count": count,
            "dispatches_count": dispatches[key],
            "repositories_count": len(repositories[key]),
            "last_utc": last[key],
        }
        for key, count in findings.items()
    }
    counts = [row["findings_count"] for row in answer["rows"]]
    assert counts == sorted(counts, reverse=True)


def expected_changes(kind: str, runs: int) -> set[tuple[str, str, str, str]]:
    found = set()
    by_place = defaultdict(list)
    for one in generated.newest(COMMITS):
        if one.report:
            by_place[place_of(one)].append({(*rule_of(finding), finding["file"]) for finding in one.findings})
    for place, all_runs in by_place.items():
        newest = all_runs[::-1][:runs]
        last, before = newest[0], newest[1]
        told = {"persistent": set.intersection(*newest), "new": last - before, "gone": before - last}[kind]
        found |= {(place, *key) for key in told}
    return found


@pytest.mark.parametrize(
    ("options", "kind", "runs"),
    [(["--persistent", "2"], "persistent", 2), (["--new"], "new", 2), (["--gone"], "gone", 2)],
)
def test_changes_from_run_to_run(past: Host, options: list[str], kind: str, runs: int) -> None:
    """What stays, comes and goes between a repository's newest runs that have a report."""
    answer = ask(past, *options)
    told = {tuple(row[name] or "" for name in ("repo", "tool", "rule", "file")) for row in answer["rows"]}
    assert told == expected_changes(kind, runs)
    assert answer["rows_count"] == len(answer["rows"]) == len(told)


def story(host: Host) -> None:
    """Three runs of a repository: one finding stays and moves by lines, one goes, one comes; one run has no report."""
    stays, goes, comes = ({"tool": "gosec", "code": code, "file": "a.go"} for code in ("G1", "G2", "G3"))
    reports: list[dict[str, Any]] = [
        {"findings": [{**stays, "line": 1}, goes]},
        {"findings": [{**stays, "line": 7}, goes]},
        {},
        {"findings": [{**stays, "line": 9}, comes]},
    ]
    commits = [
        generated.record(
            workspace=f"acme/api/{n}",
            org="acme",
            repo="api",
            status="completed",
            report=report,
            updated_at=generated.at(n),
        )
        for n, report in enumerate(reports, 10**9)
    ]
    generated.fill(host.history, commits)


def test_a_story_of_three_runs(host: Host) -> None:
    """A finding that only moved stays; a run without a report changes nothing; too few runs tell nothing."""
    story(host)

    def rules(*options: str) -> list[str]:
        return [row["rule"] for row in ask(host, *options)["rows"]]

    assert rules("--persistent", "3") == ["G1"]
    assert rules("--persistent", "4") == []
    few = ask(host, "--persistent", "4")
    assert (few["repositories_count"], few["too_few_runs_count"]) == (0, 1)
    assert (rules("--new"), rules("--gone")) == (["G3"], ["G2"])
    assert ask(host, "--gone")["rows"][0]["workspace"] == f"acme/api/{10**9 + 1}"
    assert rules("--new", "--repo", "other") == []


def test_tables_and_csv(host: Host, past: Host) -> None:
    """A table says what it counts and what was looked at, a list of changes what changed; CSV has the same rows."""
    story(host)
    arguments = [*host.arguments(), "findings"]
    lines = run(arguments, host.base).stdout.splitlines()
    assert lines[0].split()[:5] == ["TOOL", "RULE", "FINDINGS", "DISPATCHES", "REPOS"]
    assert lines[1].split()[:5] == ["gosec", "G1", "3", "3", "1"]
    first, last = "2001-09-09T01:46:40Z", "2001-09-09T01:46:43Z"
    assert lines[-1] == f"6 findings; history starts at {first}, its newest dispatch is from {last}"
    text = run([*arguments, "--new"], host.base).stdout
    assert text.startswith("1 finding in the newest run of their repository, not in the one before\n")
    few = run([*arguments, "--persistent", "4"], host.base)
    assert few.stderr == "1 repository not compared: fewer than 4 runs with a report\n"
    rows = list(csv.DictReader(io.StringIO(run([*arguments, "--csv", "--persistent", "2"], host.base).stdout)))
    assert [(row["repo"], row["rule"], row["line"]) for row in rows] == [("acme/api", "G1", "9")]


def test_usage_and_nothing(past: Host) -> None:
    """Two questions at once are refused; where nothing is found stderr says what there is."""
    both = run([*past.arguments(), "findings", "--new", "--gone"], past.base)
    assert (both.returncode, both.stdout) == (2, "")
    none = run([*past.arguments(), "findings", "--repo", "sit"], past.base)
    assert (none.returncode, none.stdout) == (0, "")
    assert none.stderr.endswith("did you mean --repo site?\n")


def test_changes_are_those_of_the_agent_that_was_asked_for(host: Host) -> None:
    """`--agent` compares that agent's runs with each other, whoever ran in between."""
    commits = [
        generated.record(
            workspace=f"acme/api/{n}",
            org="acme",
            repo="api",
            status="completed",
            agent=agent,
            report={"findings": [{"tool": "t", "code": code, "file": "a.go"} for code in codes]},
            updated_at=generated.at(n),
        )
        for n, (agent, codes) in enumerate(
            [("codex:o3", ["A"]), ("claude", ["X"]), ("codex:o3", ["A", "B"]), ("claude", ["X", "Y"])], 10**9
        )
    ]
    generated.fill(host.history, commits)

    def rules(*options: str) -> list[str]:
        return [row["rule"] for row in ask(host, *options)["rows"]]

    assert rules("--new", "--agent", "codex") == ["B"]
    assert rules("--new", "--agent", "claude") == ["Y"]
    assert rules("--persistent", "2", "--agent", "codex", "--since", "2001-09-09T01:46:42Z") == ["A"]
    assert rules("--new") == ["X", "Y"]


def test_last_seen_is_where_it_is_still_found(tmp_path: Path) -> None:
    """A later commit of the same run that dropped a finding takes its LAST SEEN back to the run before."""
    host = Host.make(tmp_path)
    found = {"findings": [{"tool": "gosec", "code": "G304"}]}
    commits = [
        generated.record(
            workspace=f"w{run}",
            status="completed",
            repo="r",
            started_at=generated.at(generated.BEGIN),
            updated_at=generated.at(generated.BEGIN + after),
            report=report,
        )
        for run, after, report in ((1, 60, found), (2, 120, found), (2, 180, {}))
    ]
    for commit in commits:  # each as a commit of its own, as the daemon makes them
        generated.fill(host.history, [commit])
    (row,) = ask(host)["rows"]
    assert (row["findings_count"], row["dispatches_count"], row["last_utc"]) == (1, 1, commits[0].updated_at.utc())
    text = run([*host.arguments(), "findings"], host.base).stdout
    assert commits[0].updated_at.utc()[:19] in text
    assert commits[1].updated_at.utc()[:19] not in text


@pytest.mark.parametrize("form", [[], ["--new"], ["--persistent", "2"]])
def test_a_finding_that_says_nothing_counts_in_every_form(tmp_path: Path, form: list[str]) -> None:
    """A finding without tool, rule, title and message is one, whether it is counted or compared."""
    host = Host.make(tmp_path)
    reports: list[dict[str, Any]] = [{"findings": [{"severity": "high"}]}] * 2
    if form == ["--new"]:
        reports[0] = {"passed": True}
    commits = [
        generated.record(
            workspace=f"w{n}", status="failed", repo="r", updated_at=generated.at(10**9 + n), report=report
        )
        for n, report in enumerate(reports)
    ]
    generated.fill(host.history, commits)
    (row,) = ask(host, *form)["rows"]
    assert (row["tool"], row["rule"]) == (None, "(none)")


@pytest.mark.parametrize("form", [[], ["--new"], ["--by", "file"]])
def test_csv_has_its_header_also_without_rows(host: Host, form: list[str]) -> None:
    """A program that reads the CSV finds the columns, whatever was found."""
    generated.fill(host.history, [generated.record(workspace="w", status="failed", updated_at=generated.at(10**9))])
    header, *rows = run([*host.arguments(), "findings", "--csv", *form], host.base).stdout.splitlines()
    assert rows == []
    assert "file" in header or "rule" in header
