"""`agentic-watch failures`: classes of failures against plain Python, the host's faults apart."""

import csv
import io
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import generated
import pytest
from agent_stand_in import AGENTS
from support import Host, run

from agentic_watch.answers.past.failure_classes import failure_class, host_cause, normalised
from agentic_watch.dispatch.agents import known_agents
from agentic_watch.dispatch.agents.agent_verdict import judged
from agentic_watch.workspace.record import Record

COMMITS = generated.past()
BAD = ("failed", "rejected", "blocked")


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host with the generated past in its history. Not to be changed."""
    host = Host.make(tmp_path_factory.mktemp("past"))
    generated.fill(host.history, COMMITS)
    return host


def ask(host: Host, *options: str) -> Any:
    result = run([*host.arguments(), "failures", "--json", "-n", "0", *options], host.base)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def reason(one: Record) -> str:
    """The class by hand: the generator has three questions and two verdicts."""
    by_hand = {
        "exit status 1 in ./pkg/a.go:7": "exit status N in PATH",
        "exit status 22 in ./pkg/b/c.go:9": "exit status N in PATH",
        "rate limit: retry in 30 s": "rate limit: retry in N s",
        "wait 5 s": "wait N s",
    }
    if one.question:
        return by_hand[one.question]
    if one.report.get("test_passed") is False:
        return "failing: tests"
    return "failing: the report's verdict" if one.report.get("passed") is False else "no reason given"


def test_classes_count_what_plain_python_counts(past: Host) -> None:
    """Every failed or waiting dispatch is in one class, with its repositories and the newest examples."""
    those = [one for one in generated.newest(COMMITS) if one.status in BAD]
    answer = ask(past)
    assert {found["class"]: found["dispatches_count"] for found in answer["rows"]} == Counter(map(reason, those))
    assert (answer["waiting_count"], answer["failed_count"]) == (
        sum(one.status == "blocked" for one in those),
        sum(one.status != "blocked" for one in those),
    )
    for found in answer["rows"]:
        mine = [one for one in reversed(those) if reason(one) == found["class"]]
        assert found["repositories_count"] == len({(one.org, one.repo) for one in mine})
        assert found["agents"] == sorted({one.agent for one in mine})
        assert [one["updated_utc"] for one in found["examples"]] == [one.updated_at.utc() for one in mine[:3]]
        assert (found["last_utc"], found["first_utc"]) == (mine[0].updated_at.utc(), mine[-1].updated_at.utc())
        rate_limited = found["class"].startswith("rate limit")
        assert (found["fault"], found["cause"]) == (("host", "rate limit") if rate_limited else ("agent", None))


def test_filters(past: Host) -> None:
    """Only the dispatches that were asked for are told."""
    asked = ["--repo", "site", "--agent", "codex", "--since", "2026-03-10", "--utc"]
    those = [one for one in generated.newest(COMMITS) if (one.repo, one.agent) == ("site", "codex")]
    count = sum(one.status in BAD and one.updated_at.utc() >= "2026-03-10" for one in those)
    assert sum(found["dispatches_count"] for found in ask(past, *asked)["rows"]) == count > 0


def test_table_examples_and_csv(past: Host) -> None:
    """The host's faults stand below the agents'; examples are word for word; CSV has a row for each class."""
    arguments = [*past.arguments(), "failures"]
    table = run(arguments, past.base).stdout
    agents, _, hosts = table.partition("likely host failures: ")
    assert "exit status N in PATH" in agents
    assert "rate limit: retry in N s" in hosts
    assert "dispatches; history starts at 2026-02-28T23:59:50Z" in hosts
    assert ": exit status 22 in ./pkg/b/c.go:9" in run([*arguments, "--examples"], past.base).stdout
    rows = list(csv.DictReader(io.StringIO(run([*arguments, "--csv"], past.base).stdout)))
    assert {row["class"] for row in rows} >= {"rate limit: retry in N s", "no reason given"}


def test_what_an_agent_wrote_is_clean(host: Host) -> None:
    """A question cannot move the cursor, and only its first line is told."""
    question = "bad\x1b[2J thing\nsecond line"
    commit = generated.record(workspace="a/b/c", status="failed", question=question, updated_at=generated.at(10**9))
    generated.fill(host.history, [commit])
    text = run([*host.arguments(), "failures", "--examples"], host.base).stdout
    assert r"bad\x1b[N" in text
    assert "\x1b" not in text
    assert "second" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exit status 1", "exit status N"),
        ("go test ./pkg/a/b.go:12:3 failed after 3.5s", "go test PATH failed after Ns"),
        ("cannot read /srv/x y: main.go:7", "cannot read PATH y: PATH"),
        ("no such table \"users\" in `db` and 'it'", "no such table … in … and …"),
        ("don't know what isn't there", "don't know what isn't there"),
        ("commit 4f2a9bc1d0 at 0xDEADBEEF", "commit HASH at HASH"),
        ("deadbeef defaced 1234567", "deadbeef defaced N"),
        ("id 7d1e6f0a-1b2c-4d5e-8f90-0123456789ab gone", "id HASH gone"),
        ("GET https://example.org/a?b=1 gave 503", "GET URL gave N"),
        ('Get "https://a.example/v1/x?y=1": dial tcp: timeout', "Get …: dial tcp: timeout"),
        ("see <https://a.example/1> and 'https://b.example/2', then stop", "see <URL> and …, then stop"),
        ("first line\nsecond 17", "first line"),
        ("   ", ""),
        ("x" * 500, "x" * 120),
    ],
)
def test_what_is_taken_out(text: str, expected: str) -> None:
    """What differs from one failure to the next makes no class of its own."""
    assert normalised(text) == expected


def test_verdicts_make_a_class_where_there_is_no_question() -> None:
    """The checks that failed, else the report's own verdict, else nothing."""
    assert failure_class("", (0, 0, 1, 0)) == "failing: build, lint"
    assert failure_class(" ", (0, None, 1, None)) == "failing: the report's verdict"
    assert failure_class("why?", (0, 0, 0, 0)) == "why?"
    assert failure_class("", (1, None, None, None)) == ""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("HTTP 429 Too Many Requests", "rate limit"),
        ("usage limit reached", "rate limit"),
        ("fatal: Authentication failed for 'x'", "credentials"),
        ("write /tmp/x: no space left on device", "disk"),
        ("Killed", "killed"),
        ("the container was OOM-killed", "out of memory"),
        ("dial tcp: connection refused", "network"),
        ('API Error: 429 {"type":"error","error":{"type":"rate_limit_error"}}', "rate limit"),
        ("API Error (529 overloaded)", "rate limit"),
        ("Error code: 429 - slow down", "rate limit"),
        ("the server answered HTTP/1.1 429", "rate limit"),
        ("status_code=529", "rate limit"),
        ("You exceeded your current quota", "rate limit"),
        ('{"type":"overloaded_error","message":"Overloaded"}', "rate limit"),
        ("openai.RateLimitError: slow down", "rate limit"),
        ("rate limit: retry in 30 s", "rate limit"),
        ("unexpected status 401 Unauthorized", "credentials"),
        ("401 Client Error for url: https://x.example/a", "credentials"),
        ("Invalid API key", "credentials"),
        ("invalid x-api-key", "credentials"),
        ("OAuth token has expired", "credentials"),
        ("HTTP 403", "credentials"),
        ("403 Forbidden: you may not push", "credentials"),
        ("could not read credentials", "credentials"),
        ("Disk quota exceeded", "disk"),
        ("sqlite: disk I/O: ENOSPC", "disk"),
        ("fatal: exit status 137", "out of memory"),
        ("the process exited with code 137", "out of memory"),
        ("network is unreachable", "network"),
        ("NetworkError when attempting to fetch resource", "network"),
        ('Get "https://proxy.golang.org/x": dial tcp: lookup proxy.golang.org: no such host', "network"),
        ("fatal: Could not resolve host: github.com", "network"),
        ("net/http: TLS handshake timeout", "network"),
        ("signal: killed", "killed"),
        ("exit code 143", "killed"),
        ("src/menu.go:429:3: undefined", ""),
        ("src/menu.go:429:3: error: undefined", ""),
        ("main.py:403: SyntaxError", ""),
        ("lib.c:529: error: expected ';'", ""),
        ("expected 401 rows", ""),
        ("AssertionError: 401 != 200", ""),
        ("test_network_layout failed", ""),
        ("TestRateLimit failed", ""),
        ("test_rate_limiter failed", ""),
        ("internal/network/dial.go:12: undefined: Dial", ""),
        ("pkg/ratelimit: build failed", ""),
        ("test_authentication_flow failed", ""),
        ("tests/credentials/test_store.py::test_load FAILED", ""),
        ("call of overloaded 'open(int)' is ambiguous", ""),
        ("could not resolve dependency react@17", ""),
        ("2 of 40 mutants killed", ""),
        ("the forbidden import rule failed in 3 files", ""),
        ("line 429 of 530 is not covered", ""),
        ("see https://example.org/status/429", ""),
        ("Redesign the network page: 2 tests fail", ""),
        ("tests fail in parser.go", ""),
        ("skilled work", ""),
        ("status 4290", ""),
    ],
)
def test_host_causes(text: str, cause: str) -> None:
    """Messages of the host are known by their words, and words that hold them are not taken for them."""
    assert host_cause(text) == cause


def test_a_normalised_message_takes_no_time_whatever_it_is(tmp_path: Path) -> None:
    """A long message without any end to its words is cut first: no pattern meets more than a line's beginning."""
    for piece in ("a/", "'x ", "0x", "a-", "/", "1.", "ab1"):
        assert len(normalised(piece * 500_000)) <= 120


SAID = {
    "credentials": (
        "Invalid API key · Fix external API key",
        "Not logged in · Please run /login",
        "unexpected status 401 Unauthorized: invalid x-api-key, url: http://127.0.0.1:8899/v1/responses",
        "[API Error: API key not valid. Please pass a valid API key. (Status: INVALID_ARGUMENT)]",
        "[API Error: 401 invalid x-api-key]",
        "invalid x-api-key",
        "litellm.AuthenticationError: AuthenticationError: OpenAIException - no such user",
    ),
    "rate limit": (
        "API Error: Request rejected (429) · this may be a temporary capacity issue",
        "You've hit your limit · resets 3pm (Europe/Berlin)",
        "exceeded retry limit, last status: 429 Too Many Requests",
        "You've hit your usage limit. Upgrade to Pro or try again later.",
        "[API Error: You exceeded your current quota. (Status: RESOURCE_EXHAUSTED)]",
        "[API Error: 429 slow down]",
        "Rate limited",
        "litellm.RateLimitError: RateLimitError: OpenAIException - slow down",
        "API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment.",
        "unexpected status 529 <unknown status code>: Overloaded, url: http://127.0.0.1:8899/v1/responses",
        "[API Error: The model is overloaded. Please try again later. (Status: UNAVAILABLE)]",
        "[API Error: 529 Overloaded]",
        "Overloaded",
        "litellm.InternalServerError: AnthropicException - Overloaded",
    ),
    "network": (
        "API Error: Unable to connect to API (ECONNRESET)",
        "stream disconnected before completion: error sending request",
        "exception TypeError: fetch failed sending request",
        "[API Error: Connection error. (cause: fetch failed)]",
        "Cannot connect to API: The socket connection was closed unexpectedly",
        "litellm.APIConnectionError: APIConnectionError: OpenAIException - Connection error.",
    ),
    "prompt too long": (
        "Prompt is too long",
        "Codex ran out of room in the model's context window. Start a new thread or clear earlier history.",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "[API Error: 400 This model's maximum context length is 131072 tokens.]",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "litellm.ContextWindowExceededError: the messages are 140000 tokens",
    ),
    "turn limit": (
        "turn limit reached (error_max_turns)",
        "Reached max session turns for this session. Increase the number of turns by specifying maxSessionTurns.",
        "step or cost limit reached (LimitsExceeded)",
    ),
    "tool calls denied": ("tool calls were denied and nothing was changed: Bash, Write",),
    "stopped by hand": (
        "stopped by SIGINT",
        "stopped by hand",
        "interrupted: another prompt came",
        "Operation cancelled.",
    ),
    "exit status N": ("exit status 3",),
}
"""What programs say of the failures that are met most, by what is the matter."""


@pytest.mark.parametrize(("cause", "text"), [(cause, text) for cause, texts in SAID.items() for text in texts])
def test_what_agents_programs_say_falls_into_classes(cause: str, text: str) -> None:
    """Seven programs have as many words for one thing: the host's causes are told as such, others are one class."""
    of_host = host_cause(text)
    assert (of_host or failure_class(text, (0, None, None, None))) == cause
    assert bool(of_host) == (cause in ("credentials", "rate limit", "network"))


def test_few_of_them_are_no_more_than_an_exit_status() -> None:
    """Where a program says its cause, in these words or in a result that was recorded, at most one in ten has none."""
    texts = [text for texts in SAID.values() for text in texts]
    for path in AGENTS.iterdir():
        if not path.name.endswith(("hooks.jsonl", "notify.json", "options.json")):
            status, question = judged(known_agents.read(path.read_bytes()), "completed", "")
            texts += [question] if status != "completed" else []
    classes = [host_cause(text) or failure_class(text, (0, None, None, None)) for text in texts]
    assert len(classes) > 42
    assert sum(found.startswith("exit status") for found in classes) * 10 <= len(classes)


@pytest.mark.parametrize(
    "piece", ["a/", "a.", "a.b:1", "x://", "network ", "error: ", "http", "no credentials ", "(", "killed "]
)
def test_a_cause_is_found_in_linear_time(piece: str) -> None:
    """What failures reads of a question, made of nothing but the beginnings of patterns, takes milliseconds."""
    began = time.process_time()
    for _ in range(10):
        host_cause((piece * 1000)[:1000])
    assert time.process_time() - began < 1
