"""What agents' programs print at their end becomes status, question, verdict and usage, without the model's words."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dispatch_support import (
    clone,
    dispatch,
    dispatching_arguments,
    git_environment,
    only_report,
    only_status,
    statuses,
)
from support import Host

from agentic_watch.dispatch.agents import known_agents
from agentic_watch.dispatch.agents.agent_verdict import judged
from agentic_watch.dispatch.input_file import Unreadable

AGENTS = Path(__file__).parent / "fixtures" / "agents"
OVERLOADED = (
    "API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment. "
    "If it persists, check your inference gateway (127.0.0.1:8899)."
)
CODEX_529 = (
    "unexpected status 529 <unknown status code>: Overloaded, "
    "url: http://127.0.0.1:8899/m/after1:http:529/x2-after1-529/v1/responses"
)


def tokens(*numbers: int | None) -> dict[str, int]:
    """Input, from the cache, into the cache, output and reasoning; None is unknown."""
    kinds = ("input", "cache_read", "cache_write", "output", "reasoning")
    return {f"{kind}_tokens": number for kind, number in zip(kinds, numbers, strict=True) if number is not None}


NOTHING = {**tokens(0, 0, 0, 0, None), "cost_usd": 0.0, "turns": 1}
OPUS = {"models": ["claude-opus-4-8"]}
RECORDED: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "claude-2.1.197-result-success.json": (
        0,
        "completed",
        "",
        {**tokens(33, 15000, 6000, 170, None), "cost_usd": 0.049415, "turns": 3, **OPUS}
        | {"session_id": "93c009ae-9338-40f1-bcbc-0d49101e81b2"},
    ),
    "claude-2.1.197-stream.jsonl": (
        0,
        "completed",
        "",
        {**tokens(33, 15000, 6000, 170, None), "cost_usd": 0.049415, "turns": 3, **OPUS}
        | {"session_id": "1c830e89-6417-45ac-8927-c708d9359fa6", "agent_version": "2.1.197"},
    ),
    "claude-2.1.197-result-subagent.json": (
        0,
        "completed",
        "",
        {**tokens(55, 25000, 10000, 280, None), "cost_usd": 0.082275, "turns": 3, **OPUS}
        | {"session_id": "0ffd87b0-bede-4751-a6f5-2e25987c78d6"},
    ),
    "claude-2.1.197-result-denied.json": (
        0,
        "blocked",
        "tool calls were denied and nothing was changed: Bash, Write",
        {**tokens(33, 15000, 6000, 170, None), "cost_usd": 0.029649000000000002, "turns": 3}
        | {"models": ["claude-sonnet-4-5"], "session_id": "070de5a1-11ca-48b0-8461-5aa8139d65e3"},
    ),
    "claude-2.1.197-result-401.json": (
        1,
        "failed",
        "Invalid API key · Fix external API key",
        {**NOTHING, "session_id": "bde3ec24-e36e-459c-82c6-e6576ff25a75"},
    ),
    "claude-2.1.197-result-529.json": (
        1,
        "failed",
        OVERLOADED,
        {**NOTHING, "session_id": "331f9c08-5c3a-4ab8-9366-c8f6cc6b8e76"},
    ),
    "claude-2.1.197-result-529-after-one-turn.json": (
        1,
        "failed",
        OVERLOADED,
        {**tokens(11, 5000, 2000, 60, None), "cost_usd": 0.016555, "turns": 2, **OPUS}
        | {"session_id": "4a19fe4e-a83b-4b79-b20b-ee836856e1d0"},
    ),
    "claude-2.1.197-result-drop.json": (
        0,
        "failed",
        "API Error: Unable to connect to API (ECONNRESET)",
        {**NOTHING, "session_id": "dbceb8b8-292d-4eb6-a0ed-35ec81cf1806"},
    ),
    "codex-0.171.0-exec-json.jsonl": (
        0,
        "completed",
        "",
        {**tokens(1500, 3000, 0, 210, 60), "session_id": "01a229a5-693b-7170-bf8f-6481ac29cea1"},
    ),
    "codex-0.171.0-exec-json-529-after-one-turn.jsonl": (
        1,
        "failed",
        CODEX_529,
        {"session_id": "01a229ae-7398-7550-ac8b-856a0b08ee9a"},
    ),
    "gemini-0.61.0-json.json": (
        0,
        "completed",
        "",
        {**tokens(1500, 3000, None, 270, 60), "requests": 3, "models": ["gemini-fake"]}
        | {"session_id": "814f96d0-68ab-4f4e-ad3f-253ff85139f5"},
    ),
    "gemini-0.61.0-stream.jsonl": (
        0,
        "completed",
        "",
        {**tokens(1500, 3000, None, 270, 60), "models": ["gemini-fake"]}
        | {"session_id": "c9e8bd29-4099-40dc-8da8-772a1c43deb5"},
    ),
    "qwen-0.15.10-json.json": (
        0,
        "completed",
        "",
        {**tokens(1500, 3000, None, 210, 60), "turns": 3, "requests": 3, "models": ["fake-model"]}
        | {"session_id": "abb2af29-f8da-4d5f-9f17-bda10da8173c", "agent_version": "0.15.10"},
    ),
    "qwen-0.15.10-json-401-exit0.json": (
        0,
        "failed",
        "[API Error: 401 invalid x-api-key]",
        {**tokens(0, 0, None, 0, 0), "turns": 1, "requests": 1, "models": ["fake-model"]}
        | {"session_id": "a112b63f-43db-4981-8702-508dcbb131b3", "agent_version": "0.15.10"},
    ),
    "opencode-1.18.33-run-json.jsonl": (
        0,
        "completed",
        "",
        {**tokens(1500, 3000, 0, 210, 60), "cost_usd": pytest.approx(0.00855), "requests": 3}
        | {"session_id": "ses_dd64c1e85ffeZfMeHxA107uh0q"},
    ),
    "opencode-1.18.33-run-json-401.jsonl": (
        1,
        "failed",
        "invalid x-api-key",
        {"session_id": "ses_dd63d4a40ffeJBirKlYbXCSnSw"},
    ),
    "mini-swe-agent-2.4.6-traj.json": (
        0,
        "completed",
        "",
        {**tokens(1000, 2000, None, 140, 40), "requests": 2, "models": ["openai/fake-model"], "agent_version": "2.4.6"},
    ),
}
"""Exit status, and what is recorded: status, question, usage."""


def test_every_result_that_was_recorded_is_in_the_table() -> None:
    """A new one is given its line; what hooks get is no result."""
    files = {path.name for path in AGENTS.iterdir()}
    assert {name for name in files if "hooks" not in name and "notify" not in name} - {"options.json"} == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_what_a_program_printed_is_recorded(host: Host, name: str) -> None:
    """Status and question by what it says itself, `passed` with them, its tokens in one measure, and nothing else."""
    code, status, question, usage = RECORDED[name]
    result = dispatch(host, "-q", "--usage", "out", "--", "sh", "-c", f"cat {AGENTS / name} > out; exit {code}")
    assert (result.returncode, result.stderr) == (code, "")
    said = only_status(host)
    assert (said["status"], said.get("question", "")) == (status, question)
    assert only_report(host) == {"passed": status == "completed", "usage": usage}
    assert "CANNED" not in json.dumps([said, only_report(host)])


def ending(data: bytes | str, status: str = "completed", cause: str = "", **known: bool) -> tuple[str, str]:
    """(status, question) of a run whose program printed this."""
    whole = data if isinstance(data, bytes) else data.encode()
    return judged(known_agents.read(whole), status, cause, **known)


def recorded(name: str) -> bytes:
    return (AGENTS / name).read_bytes()


def lines(name: str, count: int) -> bytes:
    """The first lines of what was recorded: what is there when the program is killed."""
    return b"\n".join(recorded(name).splitlines()[:count])


@pytest.mark.parametrize(
    "data",
    [
        lines("claude-2.1.197-stream.jsonl", 5),
        lines("claude-2.1.197-stream.jsonl", 8) + b'\n{"type": "result", "subtype": "succ',
        lines("codex-0.171.0-exec-json.jsonl", 4),
        lines("gemini-0.61.0-stream.jsonl", 6),
        lines("opencode-1.18.33-run-json.jsonl", 8),
        json.dumps(json.loads(recorded("qwen-0.15.10-json.json"))[:-1]).encode(),
        recorded("mini-swe-agent-2.4.6-traj.json").replace(b'"exit_status": "Submitted"', b'"exit_status": ""', 1),
        b"",
        b" \n",
    ],
)
def test_a_program_that_was_cut_off_has_no_result(data: bytes) -> None:
    """Without a result at its end a run has failed, whatever its exit status; a signal is a better cause."""
    assert ending(data) == ("failed", "ended without a result")
    assert ending(data, "failed", "exit status 3") == ("failed", "ended without a result (exit status 3)")
    assert ending(data, "failed", "killed by SIGTERM", stopped=True) == ("failed", "killed by SIGTERM")
    assert ending(data, "blocked") == ("blocked", "")


def claude(**result: Any) -> str:
    return json.dumps({"type": "result", "subtype": "success", "is_error": False, "modelUsage": {}, **result})


def trajectory(status: str, **extra: Any) -> str:
    messages = [{"role": "exit", "content": "x", "extra": {"exit_status": status, **extra}}]
    return json.dumps(
        {"info": {"exit_status": status}, "messages": messages, "trajectory_format": "mini-swe-agent-1.1"}
    )


GEMINI_INIT = '{"type":"init","timestamp":"x","session_id":"s","model":"m"}\n'


@pytest.mark.parametrize(
    ("data", "question"),
    [
        (claude(is_error=True, result="Prompt is too long"), "Prompt is too long"),
        (claude(subtype="error_max_turns"), "turn limit reached (error_max_turns)"),
        (
            claude(subtype="error_during_execution", is_error=True, errors=["one", "two"], result="MODEL"),
            "one; two",
        ),
        (claude(is_error=True, result="x" * 900), "x" * 500),
        (claude(is_error=True), "an error that was not named"),
        ('{"type":"turn.failed","error":{"message":"You\'ve hit your usage limit."}}', "You've hit your usage limit."),
        ('{"type":"thread.started","thread_id":"t"}\n{"type":"error","message":"no route"}', "no route"),
        (
            GEMINI_INIT + '{"type":"result","status":"error","error":{"type":"FatalTurnLimitedError","message":'
            '"Reached max session turns for this session."}}',
            "Reached max session turns for this session.",
        ),
        (
            'Loaded cached credentials.\n{\n "session_id": "s",\n "error": {\n  "type": "Error",\n'
            '  "message": "API key not valid.",\n  "code": 400\n }\n}\n',
            "API key not valid.",
        ),
        (
            '{"type":"result","is_error":false,"result":"[API Error: 429 slow down]","stats":{"models":{"m":'
            '{"api":{"totalRequests":4,"totalErrors":1},"tokens":{"candidates":9}}}}}',
            "[API Error: 429 slow down]",
        ),
        (
            '{"type":"step_finish","sessionID":"s","part":{"reason":"length"}}',
            "the model's answer ended early: length",
        ),
        (trajectory("LimitsExceeded"), "step or cost limit reached (LimitsExceeded)"),
        (
            trajectory("AuthenticationError", exception_str="litellm.AuthenticationError: no key", traceback="T"),
            "litellm.AuthenticationError: no key",
        ),
        ('{"usage": {"input_tokens": 1}, "error": "the linter crashed"}', "the linter crashed"),
    ],
)
def test_an_error_is_the_question_whatever_the_exit_status(data: str, question: str) -> None:
    """What the program says of its failure, at most 500 characters of it."""
    assert ending(data) == ending(data, "failed", "exit status 1") == ending(data, "blocked") == ("failed", question)


def test_an_error_that_was_tried_again_is_none() -> None:
    """Codex says each request that failed; the turn decides. opencode's and Claude Code's ends do."""
    again = '{"type":"error","message":"Reconnecting... 1/5"}\n'
    assert ending(again.encode() + recorded("codex-0.171.0-exec-json.jsonl")) == ("completed", "")
    assert ending(claude(is_error=True, result="no") + "\n" + claude()) == ("completed", "")


def test_denied_calls_block_only_what_changed_nothing() -> None:
    """Who was denied one call and did the work another way has completed."""
    denied = recorded("claude-2.1.197-result-denied.json")
    assert ending(denied, changed=True) == ("completed", "")
    assert ending(denied, "failed", "exit status 2") == ("failed", "exit status 2")
    decisions = {"run_shell_command": {"decisions": {"reject": 2}}, "edit": {"decisions": {"reject": 1}}}
    stats = {"models": {"m": {}}, "tools": {"byName": decisions}}
    assert ending(json.dumps({"response": "", "stats": stats})) == (
        "blocked",
        "tool calls were denied and nothing was changed: run_shell_command 2×, edit",
    )
    stream = recorded("gemini-0.61.0-stream.jsonl").decode()
    refused = stream.replace('"status": "success"}', '"status": "error", "error": {"type": "policy_violation"}}')
    assert ending(refused)[1].endswith("write_file 2×")
    declined = '{"type":"item.completed","item":{"type":"command_execution","status":"declined","command":"SECRET"}}\n'
    assert "SECRET" not in ending(declined + recorded("codex-0.171.0-exec-json.jsonl").decode())[1]
    rejected = {"tool": "edit", "state": {"status": "error", "error": "The user rejected permission to use this"}}
    event = json.dumps({"type": "tool_use", "sessionID": "s", "part": rejected})
    assert ending(event + "\n" + recorded("opencode-1.18.33-run-json.jsonl").decode())[0] == "blocked"


def test_denied_calls_beside_a_change_in_the_clone(host: Host) -> None:
    """Git says whether something was changed; the program's own result beside it is no change."""
    place = clone(host.base / "clone")
    copy = f"cat {AGENTS / 'claude-2.1.197-result-denied.json'} > out.json"
    for script, status, files in ((copy, "blocked", 0), (f"{copy}; echo more >> kept.txt", "completed", 1)):
        dispatch(host, "--workspace", status, "--usage", "out.json", "--", "sh", "-c", script, cwd=place)
        assert statuses(host)[status]["status"] == status
        report = json.loads((host.root / status / ".meta/report.json").read_bytes())
        assert (report["changes"]["files_changed"], report["passed"]) == (files, status == "completed")


def test_several_results_are_one(host: Host) -> None:
    """Numbers are added where each is known; the first error makes the run failed; one may lie in the workspace."""
    one = "claude-2.1.197-result-success.json"
    script = (
        f'cat {AGENTS / one} > one; cat {AGENTS / "claude-2.1.197-result-drop.json"} > "$AGENTIC_WATCH_WORKSPACE/two"'
    )
    dispatch(host, "--usage", "one", "--usage", "two", "--", "sh", "-c", script)
    assert (only_status(host)["status"], only_status(host)["question"][:10]) == ("failed", "API Error:")
    usage = only_report(host)["usage"]
    assert (usage["input_tokens"], usage["turns"], usage["session_id"][:4]) == (33, 4, "dbce")
    two = [AGENTS / "codex-0.171.0-exec-json.jsonl", AGENTS / "gemini-0.61.0-stream.jsonl"]
    dispatch(host, "begin", "--workspace", "w")
    for path in two:
        (host.base / path.name).write_bytes(path.read_bytes())
    result = dispatch(host, "finish", "w", *(word for path in two for word in ("--usage", path.name)))
    assert result.stdout.endswith("w: completed, run 1\n")
    usage = json.loads((host.root / "w/.meta/report.json").read_bytes())["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (3000, 480)
    assert "cache_write_tokens" not in usage


@pytest.mark.parametrize(
    ("arguments", "status", "question"),
    [
        ([], "failed", "Invalid API key · Fix external API key"),
        (["--status", "ready-for-review"], "failed", "Invalid API key · Fix external API key"),
        (["--status", "rejected"], "rejected", "Invalid API key · Fix external API key"),
        (["--status", "failed", "--question", "the job"], "failed", "Invalid API key · Fix external API key"),
    ],
)
def test_finish_takes_the_verdict_too(host: Host, arguments: list[str], status: str, question: str) -> None:
    """An error makes a success failed, and is the question: the program knows better why than its caller."""
    dispatch(host, "begin", "--workspace", "w")
    (host.base / "out").write_bytes(recorded("claude-2.1.197-result-401.json"))
    assert dispatch(host, "finish", "w", "--usage", "out", *arguments).returncode == 0
    assert (only_status(host)["status"], only_status(host)["question"]) == (status, question)
    assert only_report(host)["passed"] is False


def test_what_a_caller_of_finish_says_stands_where_the_program_says_nothing(host: Host) -> None:
    """A result that is not there is no cause that anybody can use, where one is given."""
    dispatch(host, "begin", "--workspace", "w")
    (host.base / "out").touch()
    dispatch(host, "finish", "w", "--usage", "out", "--status", "blocked", "--question", "Which API?")
    assert (only_status(host)["status"], only_status(host)["question"]) == ("blocked", "Which API?")
    dispatch(host, "--workspace", "v", "--usage", "out", "--", "touch", "out")
    assert statuses(host)["v"]["question"] == "ended without a result"


def test_a_program_that_is_stopped_by_hand_needs_no_result(host: Host) -> None:
    """Claude Code ends with 0 on Ctrl-C, and prints nothing: who stopped it is the cause."""
    script = "trap 'exit 0' INT; touch out; echo ready; while :; do sleep 0.05; done"
    words = dispatching_arguments(host, ["-q", "--usage", "out", "--", "sh", "-c", script])
    with subprocess.Popen(words, env=git_environment(host.base), cwd=host.base, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert (only_status(host)["status"], only_status(host)["question"]) == ("failed", "stopped by SIGINT")


def test_finish_of_a_finished_run_adds_what_it_used(host: Host) -> None:
    """What git counted before says that something was changed."""
    place = clone(host.base / "clone")
    dispatch(host, "begin", "--workspace", "w", cwd=place)
    (place / "kept.txt").write_text("changed\n", "utf-8")
    dispatch(host, "finish", "w", cwd=place)
    out = host.base / "out"
    out.write_bytes(recorded("claude-2.1.197-result-denied.json"))
    assert dispatch(host, "finish", "w", "--usage", str(out), cwd=place).stdout.endswith("w: completed, run 1\n")
    assert only_report(host)["usage"]["turns"] == 3
    assert only_report(host)["changes"]["files_changed"] == 1


def thread(*counts: int) -> str:
    """What Codex prints of a turn of one thread: input with the cache, cached, output."""
    used = dict(zip(("input_tokens", "cached_input_tokens", "output_tokens"), counts, strict=True))
    events = [{"type": "thread.started", "thread_id": "T"}, {"type": "turn.completed", "usage": used}]
    return "\n".join(map(json.dumps, events))


def test_a_resumed_thread_counts_what_came_new(host: Host) -> None:
    """Codex counts a thread from its beginning: what earlier runs used is in this workspace or in one beside it."""
    out = host.base / "out"

    def used(workspace: str, text: str) -> dict[str, Any]:
        out.write_text(text, "utf-8")
        assert dispatch(host, "--workspace", workspace, "--usage", "out", "--", "touch", "out").returncode == 0
        found: dict[str, Any] = json.loads((host.root / workspace / ".meta/report.json").read_bytes())["usage"]
        del found["session_id"]
        return found

    assert used("acme/api/a-1", thread(1000, 400, 50)) == {
        "input_tokens": 600,
        "cache_read_tokens": 400,
        "output_tokens": 50,
    }
    second = {"input_tokens": 700, "cache_read_tokens": 800, "output_tokens": 25}
    assert used("acme/api/b-2", thread(2500, 1200, 75)) == second
    assert used("acme/api/b-2", thread(2600, 1250, 85)) == {
        "input_tokens": 50,
        "cache_read_tokens": 50,
        "output_tokens": 10,
    }
    assert used("acme/api/c-3", thread(5, 0, 1)) == {"input_tokens": 5, "cache_read_tokens": 0, "output_tokens": 1}
    assert used("acme/web/d-4", thread(2600, 1250, 85))["output_tokens"] == 85
    host.once()
    rows = host.query("SELECT SUM(json_extract(report, '$.usage.output_tokens')) FROM dispatch_history")
    assert rows[0][0] == 50 + 25 + 10 + 1 + 85


def test_an_agent_s_result_is_no_report(host: Host) -> None:
    """Given as a report, or written as one, it would keep the model's words: it is left out, and why is said."""
    result = AGENTS / "claude-2.1.197-result-success.json"
    says = "is the result of Claude Code, not a report; give it with --usage; recorded without it\n"
    copy = f'cat {result} | tee given.json > "$AGENTIC_WATCH_WORKSPACE/.meta/report.json"'
    ended = dispatch(host, "-q", "--report", "given.json", "--", "sh", "-c", copy)
    assert ended.stderr.count(says) == 2
    assert only_report(host) == {"passed": True}


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda path: None, "is not there"),
        (lambda path: path.write_text("done\n", "utf-8"), "holds no result of a known agent's program"),
        (lambda path: path.write_text('{"type": "greeting"}', "utf-8"), "holds no result"),
        (lambda path: path.mkdir(), "is not a regular file"),
        (lambda path: path.symlink_to("/etc/passwd"), "symbolic link"),
    ],
)
def test_a_file_that_says_nothing_costs_one_warning(host: Host, prepare: Callable[[Path], Any], says: str) -> None:
    """The exit status decides then."""
    prepare(host.base / "out")
    result = dispatch(host, "-q", "--usage", "out", "--", "touch", "-ch", "out")  # by the run
    assert result.stderr.startswith("warning: out: ")
    assert says in result.stderr
    assert (only_status(host)["status"], only_report(host)) == ("completed", {"passed": True})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"type":"result","stats":' + b'{"a":' * 100_000, "nested deeper"),
        (b'[{"type":"result"}' + b",1" * 2_000_001 + b"]", "more than 2000000 values"),
        (b'{"a\n' * 100_000, "holds no result"),
        (b"[1,\n" * 500 + b"x", "holds no result"),
        (b"{\n" * 500_000, "holds no result"),
        (b"[2026-11-30 02:00:00] INFO working\n" * 500_000, "holds no result"),
        (b'{"n": ' + b"9" * 5000 + b"}", "holds no result"),
        (b'{"type": "turn.completed", "usage": NaN}' * 2, ""),
    ],
)
def test_hostile_results_cost_little_time(data: bytes, says: str) -> None:
    """Deep, wide, broken at each line: read once, or refused with one line."""
    begun = time.process_time()
    if says:
        with pytest.raises(Unreadable, match=says):
            known_agents.read(data)
    else:
        assert known_agents.read(data).usage.document() == {}
    assert time.process_time() - begun < 20


def test_values_of_a_wrong_type_are_unknown() -> None:
    """Numbers that are none, or too large, names that are none: what can be read stays."""
    odd: list[Any] = [None, True, -1, 2**70, 1.5, "7", [], {}]
    for value in odd:
        usage = {"modelUsage": {"m[1m]": {"inputTokens": value, "outputTokens": 3}}, "permission_denials": [value]}
        result = known_agents.read(claude(**usage, num_turns=value, total_cost_usd=value, session_id=value).encode())
        known = result.usage.document()
        assert (known.pop("output_tokens"), known.pop("models")) == (3, ["m"])
        assert known.pop("cost_usd", None) in (None, 1.5, 2**70)
        assert known in ({}, {"session_id": "7"})
    own = {"usage": {"input_tokens": 4, "text": "MODEL", "models": ["a", 3, {}], "cost_usd": float("inf")}}
    assert known_agents.read(json.dumps(own).encode()).usage.document() == {"input_tokens": 4, "models": ["a"]}


def test_no_price_is_no_cost() -> None:
    """0 for a run that used tokens says that the program knows no price; nobody else says 0 for unknown."""
    used = {"modelUsage": {"m": {"inputTokens": 1, "outputTokens": 1, "cacheReadInputTokens": 0}}}
    assert "cost_usd" not in known_agents.read(claude(**used, total_cost_usd=0).encode()).usage.document()
    assert known_agents.read(b'{"usage": {"output_tokens": 5, "cost_usd": 0}}').usage.cost_usd == 0


def mutations(value: Any, random: Random) -> Any:
    """The same document with some of its values replaced by others of any type."""
    if random.random() < 0.08:
        return random.choice(
            [None, True, -1, 2**70, 1e308, "\ud800", "x" * 3000, [], {}, [None], {"": {}}, "\x00\x1b[2J"]
        )
    if isinstance(value, dict):
        return {key: mutations(item, random) for key, item in value.items() if random.random() > 0.03}
    return [mutations(item, random) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", RECORDED)
def test_a_result_of_any_shape_breaks_nothing(name: str) -> None:
    """What is kept of it is bounded and of the right type, whatever stands where."""
    documents = list(known_agents.objects(recorded(name)))
    for seed in range(150):
        random = Random(seed)
        text = "\n".join(json.dumps(mutations(document, random)) for document in documents)
        try:
            result = known_agents.read(text.encode())
        except Unreadable:
            continue
        known = result.usage.document()
        assert all(type(known[key]) is int and 0 <= known[key] < 2**63 for key in known if key.endswith("_tokens"))
        assert len(json.dumps(known)) < 5000
        assert len(judged(result, "completed", "")[1]) <= 500


def test_a_text_that_is_none_is_recorded_all_the_same(host: Host) -> None:
    """Half of a surrogate pair in an error, and an escape: the status can be read, and a terminal is left alone."""
    (host.base / "out").write_text(claude(is_error=True, result="bad \ud800 \x1b[2J"), "utf-8")
    assert dispatch(host, "-q", "--usage", "out", "--", "touch", "out").returncode == 0
    host.once()
    (row,) = host.rows().values()
    assert (row["status"], row["question"]) == ("failed", "bad \\ud800 \x1b[2J")


def test_a_result_beside_a_report_that_says_passed(host: Host) -> None:
    """What the program says of its own failure is believed more than a report of its checks."""
    (host.base / "report").write_text('{"passed": true, "usage": {"turns": 9}}', "utf-8")
    (host.base / "out").write_bytes(recorded("claude-2.1.197-result-401.json"))
    dispatch(host, "--report", "report", "--usage", "out", "--", "sh", "-c", "touch report out; exit 1")
    assert (only_report(host)["passed"], only_report(host)["usage"]["turns"]) == (False, 1)
