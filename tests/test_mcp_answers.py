"""The reading tools of the MCP server: the command line's answers, within bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
import support
from support import Host, run
from test_mcp import answer, call, refusal, status, talk

READING = {"agentic_status", "agentic_history", "agentic_show"} | {
    f"agentic_{name}" for name in ("stats", "failures", "findings")
}
LONG = "w" * 5_000


@pytest.fixture
def busy(host: Host) -> Host:
    """Thirty committed dispatches, the newest with long texts and many findings."""
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


def test_the_reading_tools_say_that_they_only_read(host: Host) -> None:
    """A client may call them without asking."""
    seen: dict[str, Any] = {}

    async def conversation(client: Any) -> None:
        seen.update({tool.name: tool for tool in (await client.list_tools()).tools})

    talk(host, conversation)
    assert set(seen) >= READING
    assert all(tool.annotations.read_only_hint for name, tool in seen.items() if name != "agentic_commit")


def test_the_history_is_listed_newest_first(busy: Host) -> None:
    """Twenty by default, with how many commits there are, and that there is more; texts are cut."""
    found = ask(busy, "agentic_history")
    assert (found["schema"], found["history_commits_count"], found["more"]) == (2, 30, True)
    assert found["history_since"] == "2026-04-01T00:00:00.000000000Z"
    first, *others = found["rows"]
    assert (first["workspace"], first["passed"], len(first["task"])) == ("o/r/new", False, 1_000)
    assert (first["updated_at"], first["updated_utc"]) == ("2026-05-01T00:00:00Z", "2026-05-01T00:00:00.000000000Z")
    assert "commit_id" in first
    assert "report" not in first
    assert len(others) == 19
    assert len(json.dumps(found)) < 30_000


def test_the_history_can_be_filtered(busy: Host) -> None:
    """Several statuses, an agent, a span; what cannot be understood is a tool error."""
    assert len(ask(busy, "agentic_history", status="failed, blocked")["rows"]) == 1
    assert len(ask(busy, "agentic_history", agent="codex", until="2026-04-03", limit=5)["rows"]) == 3
    results, _ = call(busy, ("agentic_history", {"since": "soon"}), ("agentic_history", {"search": "?"}))
    assert ["since: 'soon' is not" in refusal(results[0]), "no letter" in refusal(results[1])] == [True, True]


def test_one_dispatch_is_shown_within_bounds(busy: Host) -> None:
    """The same document as on the command line, without the report, and with as many findings as are useful."""
    found = ask(busy, "agentic_show", workspace="o/r/new")
    assert found["on_disk"]["committed"] is True
    assert (len(found["findings"]), found["findings"][-1]) == (51, {"more": 150})
    assert "report" not in found["dispatch"]
    assert len(json.dumps(found)) < 80_000
    by_id = ask(busy, "agentic_show", workspace=str(found["dispatch"]["id"]))
    assert by_id["workspace"] == "o/r/new"


def test_the_answer_tools_give_the_command_lines_answers(busy: Host) -> None:
    """Rates, classes of failures and rules: the numbers are those that `--json` prints."""
    tools = {"stats": ["--by", "agent"], "failures": [], "findings": ["--by", "rule"]}
    for name, options in tools.items():
        found = ask(busy, f"agentic_{name}")
        printed = json.loads(run([*busy.arguments(), name, "--json", *options], busy.base).stdout)
        assert {**found, "rows": []} == {**printed, "rows": []}
        assert len(found["rows"]) == min(20, found["rows_count"])
        assert [list(row) for row in found["rows"]] == [list(row) for row in printed["rows"][:20]]
        assert len(json.dumps(found)) < 40_000


def test_what_changed_over_runs_is_asked_of_findings(busy: Host) -> None:
    """New, gone and persistent findings, as of the command line; an unknown kind is refused by its schema."""
    assert ask(busy, "agentic_findings", kind="new")["kind"] == "new"
    assert ask(busy, "agentic_findings", kind="persistent", runs=2)["runs"] == 2
    (result,), _ = call(busy, ("agentic_findings", {"kind": "old"}))
    assert result.is_error


def test_what_is_not_there_is_a_tool_error(busy: Host) -> None:
    """An unknown dispatch, and a history that cannot be read, are one line each."""
    (unknown,), _ = call(busy, ("agentic_show", {"workspace": "o/r/nowhere"}))
    assert "nor in the history" in refusal(unknown)
    busy.forget_history()
    results, _ = call(busy, ("agentic_history", {"status": "x"}))
    assert answer(results[0])["rows"] == []


def test_a_status_answer_is_bounded(host: Host) -> None:
    """Of many blocked ones twenty are listed, with short questions; all of them are counted."""
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


def test_a_missing_root_is_said(host: Host) -> None:
    """What lies in a root that is not there is not counted, and the answer names it."""
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
    (row,) = ask(host, "agentic_stats", by="pr")["rows"]
    assert (row["key"], row["cost_microusd"]) == ("https://git.example/pull/7", {"sum": 1_000_000, "known_count": 2})
    for tool, words in (("agentic_stats", ["stats"]), ("agentic_failures", ["failures"])):
        assert ask(host, tool) == json.loads(run([*host.arguments(), *words, "--json"], host.base).stdout)
