"""The answering tools of the MCP server: the command line's own answers, options and hints, within bounds."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import support
from support import Host, run
from test_mcp import answer, call, refusal, remarks, status, talk
from test_reference import from_commands, section

READING = {"agentic_status", "agentic_history", "agentic_show"} | {
    f"agentic_{name}" for name in ("stats", "failures", "findings")
}
ANSWERING = ("history", "stats", "failures", "findings")
LONG = "w" * 5_000


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Thirty dispatches of two repositories, with causes, findings that come and go, second runs and a moved one."""
    made = Host.make(tmp_path_factory.mktemp("answers"))
    for number in range(30):
        day = f"2026-04-{number + 1:02}"
        failed = number % 4 == 0
        finding = {"tool": "gosec", "code": f"G{number % 3}", "file": "a.go", "line": number, "message": "m"}
        workspace = support.make(
            made.root,
            f"acme/{'api' if number % 2 else 'web'}/{number:02}",
            org="acme",
            repo="api" if number % 2 else "web",
            agent="codex:o3" if number % 3 else "claude",
            task=f"Round the totals of {number}",
            status="failed" if failed else "blocked" if number == 5 else "completed",
            question=("HTTP 429 Too Many Requests" if number % 8 else f"go test ./p{number}: exit status 1")
            if failed
            else "Which rounding?" * (number == 5),
            started_at=f"{day}T00:00:00Z",
            updated_at=f"{day}T01:00:0{number % 10}Z",
            report={"passed": not failed, "findings": [finding, {**finding, "code": "always"}]},
        )
        if number == 7:
            made.once()
            workspace.write_status(
                org="acme",
                repo="api",
                status="merged",
                branch="agent/fix",
                issue=3,
                pr_url="https://example.org/acme/api/pull/7",
                started_at=f"{day}T00:00:00Z",
                updated_at=f"{day}T03:00:00Z",
            )
    made.once()
    (made.root / "acme/web/02").rename(made.root / "acme/web/moved")
    made.once()
    return made


@pytest.fixture
def busy(tmp_path: Path) -> Host:
    """Thirty committed dispatches, the newest with long texts and many findings."""
    host = Host.make(tmp_path)
    for number in range(29):
        support.make(
            host.root, f"o/r/{number:02}", repo="r", updated_at=f"2026-04-{number + 1:02}T00:00:00Z", agent="codex"
        )
    findings = [{"message": LONG, "code": f"C{number}"} for number in range(200)]
    support.make(
        host.root,
        "o/r/new",
        status="failed",
        task=LONG,
        question=LONG,
        updated_at="2026-05-01T00:00:00Z",
        report={"findings": findings, "passed": False},
    )
    host.once()
    return host


def ask(host: Host, tool: str, **arguments: Any) -> dict[str, Any]:
    (result,), _ = call(host, (tool, arguments))
    return answer(result)


def tools_of(host: Host) -> dict[str, Any]:
    """What the server tells of its tools."""
    seen: dict[str, Any] = {}

    async def conversation(client: Any) -> None:
        seen.update({tool.name: tool for tool in (await client.list_tools()).tools})

    talk(host, conversation)
    return seen


def printed(host: Host, name: str, options: Sequence[str]) -> Any:
    """What the command prints with --json: one document, or rows line by line."""
    result = run([*host.arguments(), name, "--json", *options], host.base)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()] if name == "history" else json.loads(result.stdout)


# --- what is offered


def test_the_reading_tools_say_that_they_only_read(host: Host) -> None:
    """A client may call them without asking; a commit is none, nor a wait, which commits where no daemon does."""
    seen = tools_of(host)
    assert {name for name, tool in seen.items() if tool.annotations.read_only_hint} == READING
    assert set(seen) - READING == {"agentic_commit", "agentic_watch"}


def test_every_tool_and_argument_is_in_the_reference(host: Host) -> None:
    """docs/reference.md names them in their order, and docs/mcp.md each tool: an option of a command that is new shows
    here, since it is an argument at once."""
    told, filters = {}, re.findall(r"`(\w+)`", section("MCP").partition("The filters are")[2])
    for tool, arguments, _ in re.findall(r"^\| `(agentic_\w+)` \| (.*?) \| (.*?) \|$", section("MCP"), re.MULTILINE):
        told[tool] = {*re.findall(r"`(\w+)`", arguments), *(filters if "the filters" in arguments else ())}
    seen = tools_of(host)
    assert told == {name: set(tool.input_schema["properties"]) for name, tool in seen.items()}
    assert list(told) == list(seen)
    page = (from_commands.DOCS / "mcp.md").read_text("utf-8")
    assert all(f"`{name}`" in page for name in seen)


def test_arguments_are_described_as_the_options_are(host: Host) -> None:
    """In the words of the help, with its choices; nothing else is taken, and no option's name is left in a text."""
    seen = tools_of(host)
    for tool in seen.values():
        assert tool.input_schema["additionalProperties"] is False
        assert all(told["description"] for told in tool.input_schema["properties"].values())
        assert "--" not in f"{tool.description}{tool.input_schema}"
    by = seen["agentic_stats"].input_schema["properties"]["by"]
    help_text = run(["stats", "--help"], host.base).stdout
    assert f"[{'|'.join(by['enum'])}]" in help_text
    since = seen["agentic_findings"].input_schema["properties"]["since"]["description"]
    assert since in " ".join(help_text.split())


# --- the same answers


SAME: dict[str, list[tuple[dict[str, Any], list[str]]]] = {
    "history": [
        ({}, []),
        ({"limit": 200}, ["-n", "0"]),
        ({"failed": True, "limit": "5"}, ["--failed", "-n", "5"]),
        ({"all": True, "workspace": "acme/api/07"}, ["--all", "--workspace", "acme/api/07"]),
        ({"workspace": ["acme/web/moved", "acme/api/07"]}, ["--workspace=acme/web/moved", "--workspace=acme/api/07"]),
        ({"search": "totals roun"}, ["totals", "roun"]),
        ({"status": "failed, blocked", "repo": ["api"]}, ["--status=failed,blocked", "--repo=api"]),
        ({"agent": ["codex", "claude"], "model": ["o3"]}, ["--agent=codex,claude", "--model=o3"]),
        (
            {"since": "2026-04-10", "until": "2026-04-12", "utc": True},
            ["--since=2026-04-10", "--until=2026-04-12", "--utc"],
        ),
        ({"pr": 7, "branch": ["agent/fix", "main"]}, ["--pr=7", "--branch=agent/fix", "--branch=main"]),
        (
            {"pr": "https://example.org/acme/api/pull/7", "issue": [3]},
            ["--pr=https://example.org/acme/api/pull/7", "--issue=3"],
        ),
        (
            {"issue": 4711, "session": "none", "commit": "abcdef1"},
            ["--issue=4711", "--session=none", "--commit=abcdef1"],
        ),
        ({"committed_since": "7d", "limit": 3}, ["--committed-since", "7d", "-n", "3"]),
        ({"org": "", "host": [], "since": None, "limit": 2}, ["-n", "2"]),
    ],
    "stats": [
        ({}, []),
        ({"by": "day", "limit": 3}, ["--by", "day", "-n", "3"]),
        ({"by": "repo", "org": "acme", "status": "failed"}, ["--by", "repo", "--org", "acme", "--status", "failed"]),
        ({"compare": "14d", "until": "2026-05-01"}, ["--compare", "14d", "--until", "2026-05-01"]),
        ({"org": "nobody"}, ["--org", "nobody"]),
    ],
    "failures": [
        ({}, []),
        ({"org": ["acme"], "repo": "web", "limit": 1}, ["--org", "acme", "--repo", "web", "-n", "1"]),
        ({"status": "blocked", "model": "o3"}, ["--status", "blocked", "--model", "o3"]),
    ],
    "findings": [
        ({}, []),
        ({"by": "file", "since": "2026-04-10"}, ["--by", "file", "--since", "2026-04-10"]),
        ({"new": True}, ["--new"]),
        ({"gone": True, "repo": "api", "host": []}, ["--gone", "--repo", "api"]),
        ({"persistent": 2}, ["--persistent", "2"]),
        ({"persistent": 3, "org": "acme"}, ["--persistent", "3", "--org", "acme"]),
    ],
}


@pytest.mark.parametrize("name", ANSWERING)
def test_a_tool_answers_what_its_command_prints(host: Host, name: str) -> None:
    """Key by key and row by row, whatever is asked for; of `history` each row but its report."""
    results, said = call(host, *((f"agentic_{name}", arguments) for arguments, _ in SAME[name]))
    assert said == ""
    for result, (arguments, options) in zip(results, SAME[name], strict=True):
        found, expected = answer(result), printed(host, name, options)
        if name == "history":
            # Columns that the program lists, in the order of the table: none is forgotten.
            assert [list(row) for row in found["rows"]] == [
                [k for k in r if k not in ("schema", "report")] for r in expected
            ]
            expected = [{k: v for k, v in row.items() if k not in ("schema", "report")} for row in expected]
            found = found["rows"]
        assert found == expected, arguments
        assert result.structured_content is None  # the document once


def test_one_dispatch_is_what_show_prints(host: Host) -> None:
    """By name, by absolute path, by a former name and by id: the same document but for the report."""
    by_id = str(printed(host, "history", ["-n", "1"])[0]["id"])
    given = ["acme/api/07", str(host.root / "acme/api/09"), "acme/web/02", "acme/web/moved", by_id]
    results, _ = call(host, *(("agentic_show", {"workspace": name}) for name in given))
    for name, result in zip(given, results, strict=True):
        shown = json.loads(run([*host.arguments(), "show", "--json", name], host.base).stdout)
        assert shown["dispatch"].pop("report") is not None or name == "acme/api/07"
        assert answer(result) == shown


# --- what cannot be answered


def test_what_is_not_understood_is_an_error_that_says_what_was_meant(host: Host) -> None:
    """One line each, in the words of the arguments: unknown names, impossible values, two that exclude each other."""
    wrong = {
        "agentic_history has no argument 'organisation'; it takes search, repo, org,": (
            "history",
            {"organisation": "x"},
        ),
        "agentic_history has no argument 'repos'; did you mean repo?; it takes": ("history", {"repos": "web"}),
        "agentic_stats has no argument 'search'": ("stats", {"search": "x"}),
        "by: 'agnet' is not one of agent, model, repo, org, status, host, day, week, pr; did you mean agent?": (
            "stats",
            {"by": "agnet"},
        ),
        "Invalid value for since: 'soon' is not a span (90m, 12h, 7d,": ("failures", {"since": "soon"}),
        "Invalid value for SEARCH: has no letter": ("history", {"search": "?"}),
        "limit: 500 is more than 200": ("history", {"limit": 500}),
        "limit: 0 is less than 1": ("history", {"limit": 0}),
        "limit: 'all' is not a whole number": ("stats", {"limit": "all"}),
        "persistent: 1 is less than 2": ("findings", {"persistent": 1}),
        "new: 'perhaps' is not true or false": ("findings", {"new": "perhaps"}),
        "repo: [1] is not a text or a list of texts": ("stats", {"repo": [[1]]}),
        "since: 7.5 is not a text": ("stats", {"since": 7.5}),
        "Invalid value for since: '7' is not a span": ("stats", {"since": 7}),
        "persistent, new and gone exclude each other": ("findings", {"new": True, "gone": True}),
        "by groups all findings and does not go with new": ("findings", {"new": True, "by": "rule"}),
        "compare excludes since": ("stats", {"compare": "7d", "since": "1d"}),
        "search: 'a\\x00b' holds control characters": ("history", {"search": "a\0b"}),
        "timeout: 10000000000 is more than": ("watch", {"timeout": 10**10}),
        "workspace: is required": ("show", {}),
        "nowhere: not found below any root": ("show", {"workspace": "nowhere"}),
        "no tool 'agentic_staats'; did you mean agentic_stats?": ("staats", {}),
    }
    results, said = call(host, *((f"agentic_{name}", arguments) for name, arguments in wrong.values()))
    refused = dict(zip(wrong, map(refusal, results), strict=True))
    assert {expected: text for expected, text in refused.items() if not text.startswith(expected)} == {}
    assert said == ""


def test_a_value_that_nothing_has_gets_the_one_that_was_meant(host: Host) -> None:
    """An empty answer stays one; beside it stands what the history holds, and the nearest value that it has."""
    results, _ = call(
        host,
        ("agentic_history", {"repo": "ap"}),
        ("agentic_stats", {"org": ["acne"], "agent": "cluade"}),
        ("agentic_failures", {"status": "complted"}),
        ("agentic_findings", {"model": "o33"}),
        ("agentic_history", {"repo": "api", "limit": 1}),
    )
    holds = "nothing matches; the history holds 31 commits, from 2026-04-01T01:00:00.000000000Z to"
    assert [answer(result)["rows"] for result in results[:4]] == [[]] * 4
    assert all(remarks(result)[0].startswith(holds) for result in results[:4])
    meant = [remarks(result)[1:] for result in results[:4]]
    assert meant == [
        ["did you mean repo api?"],
        ["did you mean org acme?", "did you mean agent claude?"],
        ["did you mean status completed?"],
        ["did you mean model o3?"],
    ]
    assert remarks(results[4]) == []


def test_a_history_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """One that somebody has locked whole: a tool says so, and does not answer that there is nothing."""
    host = Host.make(tmp_path)
    support.make(host.root)
    host.once()
    asked: list[tuple[str, dict[str, Any]]] = [("agentic_history", {}), ("agentic_show", {"workspace": "1"})]
    with closing(sqlite3.connect(host.history, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE about SET created_at = created_at")
        results, said = call(host, *asked)
        connection.execute("ROLLBACK")
    locked = f"{host.history}: database is locked"
    assert [refusal(result) for result in results] == [locked] * 2
    assert locked in said


# --- bounds


def test_the_history_is_listed_newest_first(busy: Host) -> None:
    """Twenty by default, with how many commits there are, and that there is more; texts are cut."""
    found = ask(busy, "agentic_history")
    assert (found["schema"], found["history_commits_count"], found["more"]) == (2, 30, True)
    assert found["history_since"] == "2026-04-01T00:00:00.000000000Z"
    first, *others = found["rows"]
    assert (first["workspace"], first["passed"], len(first["task"])) == ("o/r/new", False, 1_000)
    assert (first["updated_at"], first["updated_utc"]) == ("2026-05-01T00:00:00Z", "2026-05-01T00:00:00.000000000Z")
    assert len(others) == 19
    assert len(json.dumps(found)) < 30_000
    assert not ask(busy, "agentic_history", limit=30)["more"]


def test_one_dispatch_is_shown_within_bounds(busy: Host) -> None:
    """Its lists are cut and stay lists of what they hold; how much there is stands beside the answer."""
    workspace = support.Workspace(busy.root, "o/r/new")
    for number in range(1, 25):
        workspace.write_status(runs=number, updated_at=f"2026-05-02T00:00:{number:02}Z")
        assert busy.once_here().committed == 1
    (result,), _ = call(busy, ("agentic_show", {"workspace": "o/r/new"}))
    found = answer(result)
    assert found["on_disk"]["committed"] is True
    assert (len(found["findings"]), set(map(frozenset, found["findings"]))) == (50, {frozenset(found["findings"][0])})
    assert [row["runs"] for row in found["commits"]] == list(range(5, 25))
    assert remarks(result) == ["commits: the newest 20 of 25", "findings: the first 50 of 200"]
    assert max(len(finding["message"]) for finding in found["findings"]) == 1_000
    assert "report" not in found["dispatch"]
    assert len(json.dumps(found)) < 120_000
    shown = json.loads(run([*busy.arguments(), "show", "--json", "o/r/new"], busy.base).stdout)
    assert set(found) == set(shown)


def test_a_status_answer_is_bounded(tmp_path: Path) -> None:
    """Of many blocked ones twenty are listed, with short questions; all of them are counted."""
    host = Host.make(tmp_path)
    for number in range(25):
        support.make(host.root, f"o/r/{number}", status="blocked", question=LONG)
    for number in range(60):
        support.make(host.root, f"o/x/{number}", status=f"state {number}")
    found = ask(host, "agentic_status")
    assert (len(found["blocked"]), found["blocked_total"], found["total"]) == (20, 25, 85)
    assert sum(found["counts"].values()) == 85
    assert found["counts"]["others"] == 11
    assert len(json.dumps(found)) < 30_000
    assert len(ask(host, "agentic_status", limit=0)["blocked"]) == 25


def test_a_missing_root_is_said(tmp_path: Path) -> None:
    """What lies in a root that is not there is not counted, and the answer names it."""
    host = Host.make(tmp_path)
    support.make(host.root)
    absent = host.base / "absent"
    file = host.base / "config.toml"
    file.write_text(
        f'[[roots]]\npath = "{host.root}"\n[[roots]]\npath = "{absent}"\n[history]\npath = "{host.history}"\n'
    )
    other = Configured(host.base, host.root, host.history)
    (result,), _ = call(other, status())
    found = answer(result)
    assert (found["total"], found["missing"]) == (1, [f"{absent}: No such file or directory"])


class Configured(Host):
    """A host whose programs read its configuration file."""

    def arguments(self, history: Any = None) -> list[str]:
        return ["--config", str(self.base / "config.toml")]


def test_costs_are_those_of_the_command_line(host: Host) -> None:
    """`agentic_stats` and `agentic_failures` tell tokens and cost as `--json` does, also by pull request."""
    usage = {"usage": {"input_tokens": 7, "cost_usd": 0.5}}
    for number, ended in enumerate(("failed", "merged")):
        support.make(host.root, f"o/r/{number}", status=ended, pr_url="https://git.example/pull/7", report=usage)
    host.once()
    (row,) = [row for row in ask(host, "agentic_stats", by="pr")["rows"] if row["key"] == "https://git.example/pull/7"]
    assert row["cost_microusd"] == {"sum": 1_000_000, "known_count": 2}
    for tool, words in (("agentic_stats", ["stats"]), ("agentic_failures", ["failures"])):
        assert ask(host, tool) == json.loads(run([*host.arguments(), *words, "--json"], host.base).stdout)
