"""The recipes of examples/agents and the three commands of docs/agents.md, with stand-ins for the agents' programs."""

from __future__ import annotations

import configparser
import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agent_stand_in import AGENTS
from dispatch_support import clone, dispatch, git, git_environment, only_report, only_status, statuses
from support import Host, wait_for

PROJECT = Path(__file__).parents[1]
RECIPES = PROJECT / "examples" / "agents"
HOOK = RECIPES / "claude-code/hook.py"
STAND_IN = Path(__file__).parent / "agent_stand_in.py"


@dataclass(frozen=True, slots=True)
class Bench:
    """A host, a clone to work in, and a directory of stand-ins that comes first on the path."""

    host: Host
    clone: Path
    programs: Path

    def stand_in(self, name: str, script: str) -> None:
        """A program of this name: a shell script."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        path.chmod(0o755)

    def agent(self, name: str) -> None:
        """A program that takes the options of the real one, and prints what that one printed."""
        self.stand_in(name, f'exec {sys.executable} {STAND_IN} {name} "$@"')

    @property
    def environ(self) -> dict[str, str]:
        environ = git_environment(self.host.base)
        config = self.host.base / "config.toml"
        return {**environ, "PATH": f"{self.programs}:{environ['PATH']}", "AGENTIC_WATCH_CONFIG": str(config)}

    def run(self, *words: str, stdin: str = "", code: int = 0, environ: Mapping[str, str] | None = None) -> str:
        """Run a recipe in the clone; gives its stdout."""
        result = subprocess.run(
            words,
            cwd=self.clone,
            env={**self.environ, **(environ or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == code, result.stderr
        return result.stdout

    def rows(self) -> list[dict[str, Any]]:
        """The history after one pass, in the order of the commits."""
        self.host.once()
        return [dict(row) for row in self.host.query("SELECT * FROM dispatch_history ORDER BY updated_utc, runs")]


@pytest.fixture
def bench(host: Host) -> Bench:
    """A configured host with `agentic-watch` on the path."""
    (host.base / "config.toml").write_text(
        f'[[roots]]\npath = "{host.root}"\n[history]\npath = "{host.history}"\n', encoding="utf-8"
    )
    (host.base / "bin").mkdir()
    bench = Bench(host, clone(host.base / "clone"), host.base / "bin")
    bench.stand_in("agentic-watch", f'exec {sys.executable} -m agentic_watch "$@"')
    return bench


def test_every_recipe_is_listed_and_tested() -> None:
    """The list names each file of the directory, and this file names it too."""
    files = {str(path.relative_to(RECIPES)) for path in RECIPES.rglob("*") if path.is_file()} - {"README.md"}
    listed = set(re.findall(r"\]\(((?!\.\.)[^)]+)\)", (RECIPES / "README.md").read_text("utf-8")))
    assert files == listed
    tested = Path(__file__).read_text("utf-8")
    assert [name for name in files if f'"{name}"' not in tested] == []


def test_three_commands_lead_to_a_row(bench: Bench) -> None:
    """The first commands of the documentation, as they stand there."""
    (bench.host.base / "config.toml").unlink()
    bench.agent("claude")
    text = (PROJECT / "docs" / "agents.md").read_text("utf-8").replace("\\\n", "")
    commands = re.findall(r"^    (agentic-watch .*)$", text, re.MULTILINE)[:3]
    assert [command.split()[1] for command in commands] == ["config", "dispatch", "--once"]
    for command in commands:
        bench.run("sh", "-c", command)
    history = bench.host.base / ".local/state/agentic-watch/history.db"
    (row,) = bench.host.rows(history).values()
    assert (row["status"], row["agent"], row["repo"]) == ("completed", "claude", "billing")
    assert (row["files_changed"], json.loads(row["report"])["usage"]["turns"]) == (1, 3)


def test_a_shell_script_of_ones_own(bench: Bench) -> None:
    """It runs its tests, and their report is the verdict."""
    junit = "<testsuite><testcase name='t'/></testsuite>"
    bench.stand_in("make", f'echo "{junit}" > junit.xml')
    bench.run(str(RECIPES / "shell.sh"), "Write it down")
    (row,) = bench.rows()
    assert (row["status"], row["task"], row["test_passed"], row["files_changed"]) == (
        "completed",
        "Write it down",
        1,
        2,
    )


@pytest.mark.parametrize("program", ["claude", "codex", "gemini", "qwen", "opencode", "mini", "aider"])
def test_the_stand_in_refuses_what_the_program_does_not_know(bench: Bench, program: str) -> None:
    """An option that a version does not have is an error, as it is there: `codex exec --full-auto` is gone."""
    bench.agent(program)
    for option in ("--full-auto", "--no-such-option"):
        result = subprocess.run(
            [str(bench.programs / program), option, "Fix"],
            env=bench.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (result.returncode, f"unexpected argument '{option}'" in result.stderr) == (1, True)


HEADLESS = {
    "claude-code/headless.sh": ("claude", "CLAUDE_MODEL"),
    "codex/exec.sh": ("codex", "CODEX_MODEL"),
    "gemini.sh": ("gemini", "GEMINI_MODEL"),
    "qwen.sh": ("qwen", "QWEN_MODEL"),
    "opencode.sh": ("opencode", "OPENCODE_MODEL"),
    "mini-swe-agent.sh": ("mini", "MSWEA_MODEL_NAME"),
}


@pytest.mark.parametrize("recipe", HEADLESS)
def test_a_program_without_a_terminal_does_its_work(bench: Bench, recipe: str) -> None:
    """With the recipe's options it may write; what it did, and what that took, are in the history."""
    program, model = HEADLESS[recipe]
    bench.agent(program)
    bench.run(str(RECIPES / recipe), "Fix it's tests", environ={model: "some/model"})
    bench.run(str(RECIPES / recipe), "Again")
    assert (bench.clone / "kept.txt").read_text("utf-8").endswith("done: Fix it's tests\ndone: Again\n")
    first, second = bench.rows()
    assert (first["status"], first["task"], first["agent"]) == ("completed", "Fix it's tests", f"{program}:some/model")
    assert (first["files_changed"], first["insertions"], second["agent"]) == (1, 1, program)
    assert json.loads(first["report"])["usage"]["output_tokens"] > 0
    assert "CANNED" not in first["report"] + second["report"]


@pytest.mark.parametrize(
    ("recipe", "recorded", "code", "question"),
    [
        ("claude-code/headless.sh", "claude-2.1.197-result-529.json", 1, "API Error: 529 Overloaded."),
        ("claude-code/headless.sh", "claude-2.1.197-result-401.json", 0, "Invalid API key"),
        ("codex/exec.sh", "codex-0.171.0-exec-json-529-after-one-turn.jsonl", 1, "unexpected status 529"),
        ("qwen.sh", "qwen-0.15.10-json-401-exit0.json", 0, "[API Error: 401 invalid x-api-key]"),
        ("opencode.sh", "opencode-1.18.33-run-json-401.jsonl", 1, "invalid x-api-key"),
    ],
)
def test_a_program_that_failed_is_recorded_with_its_cause(
    bench: Bench, recipe: str, recorded: str, code: int, question: str
) -> None:
    """Whatever its exit status is, which the caller sees."""
    bench.agent(HEADLESS[recipe][0])
    environ = {"RECORDED": str(AGENTS / recorded), "RECORDED_STATUS": str(code)}
    said = bench.run(str(RECIPES / recipe), "Fix", code=code, environ=environ)
    assert (only_status(bench.host)["status"], only_report(bench.host)["passed"]) == ("failed", False)
    assert only_status(bench.host)["question"].startswith(question)
    if recipe.startswith("claude"):
        assert question in said


def test_without_its_options_claude_code_is_blocked(bench: Bench) -> None:
    """Each write is denied, and it ends with 0: no success."""
    bench.agent("claude")
    words = ["sh", "-c", 'claude -p "Fix" --output-format json > "$AGENTIC_WATCH_WORKSPACE/out"']
    result = dispatch(bench.host, "-q", "--usage", "out", "--", *words, cwd=bench.clone, environ=bench.environ)
    assert (result.returncode, only_status(bench.host)["status"]) == (0, "blocked")


def hooked(recorded: str, title: str) -> list[dict[str, Any]]:
    """What a session's hooks got on stdin, in order; `title` is how the record names the session."""
    found: list[dict[str, Any]] = []
    inside = not title
    for line in (AGENTS / recorded).read_text("utf-8").splitlines():
        if line.startswith("####"):
            inside = line == f"#### {title}"
            continue
        event = json.loads(line)
        event = event.get("ev", event)
        if event["hook_event_name"].startswith("#####"):
            inside = event["hook_event_name"] == f"##### {title}"
        elif inside:
            found.append(event)
        if not title and found and found[-1]["hook_event_name"] == "SessionEnd":
            break
    return found


def fire(bench: Bench, events: Sequence[dict[str, Any]], agent: str = "claude", **environ: str) -> None:
    """Run the hook for each event that the settings name, by a shell as the programs do."""
    file = "claude-code/settings.json" if agent == "claude" else "codex/hooks.json"
    settings = json.loads((RECIPES / file).read_text("utf-8"))["hooks"]
    for event in events:
        for hook in settings.get(event["hook_event_name"], []):
            (one,) = hook["hooks"]
            words = one["command"].split()
            assert words[1].endswith("/agentic_watch.py")
            command = f"{sys.executable} {HOOK} {' '.join(words[2:])}; true"
            bench.run("sh", "-c", command, stdin=json.dumps({**event, "cwd": str(bench.clone)}), environ=environ)


OVERLOADED = "API Error: 529 Overloaded."


@pytest.mark.parametrize(
    ("title", "ends"),
    [
        ("ok", [("ready-for-review", "")]),
        ("529", [("failed", OVERLOADED)]),
        ("after1-529", [("failed", "the session ended in the middle of the turn: other"), ("failed", OVERLOADED)]),
        ("denied", [("ready-for-review", "")]),
        ("agent", [("ready-for-review", "")]),
        ("sigint", [("failed", "the session ended in the middle of the turn: other")]),
        ("sigterm", [("failed", "the session ended in the middle of the turn: other")]),
        ("maxturns", [("failed", "the session ended in the middle of the turn: other")]),
    ],
)
def test_what_claude_code_s_hooks_say_is_recorded(bench: Bench, title: str, ends: list[tuple[str, str]]) -> None:
    """One run a prompt, with the cause of an API error, also where the session's end is told before it."""
    fire(bench, hooked("claude-2.1.197-hooks.jsonl", title))
    rows = bench.rows()
    assert [(row["runs"], row["status"]) for row in rows] == [(1, status) for status, _ in ends]
    assert [row["question"].startswith(question) for row, (_, question) in zip(rows, ends, strict=True)] == [
        True
    ] * len(ends)
    (newest,) = bench.host.query("SELECT agent, task, question, process_id FROM dispatches")
    assert (newest["agent"], newest["task"]) == ("claude", "Fix")
    assert newest["question"].startswith(ends[-1][1])
    assert len(newest["process_id"]) == 36


@pytest.mark.parametrize(
    ("title", "status", "question"),
    [
        ("", "ready-for-review", ""),
        ("401", "failed", "the session ended in the middle of the turn: other"),
        ("sigint", "failed", "stopped by hand"),
    ],
)
def test_what_codex_hooks_say_is_recorded(bench: Bench, title: str, status: str, question: str) -> None:
    """The same hook does for Codex, whose events name the model; its `notify` is silent on turns that failed."""
    fire(bench, hooked("codex-0.171.0-hooks.jsonl", title), "codex")
    (row,) = bench.rows()
    assert (row["status"], row["question"], row["agent"]) == (status, question, "codex:gpt-5.2-codex")
    assert row["workspace"].startswith("sessions/codex-01a229c")


def test_a_prompt_after_an_interrupted_turn(bench: Bench) -> None:
    """Esc sends no hook: the next prompt records the turn before as interrupted, and is a run of its own."""
    session = hooked("claude-2.1.197-hooks.jsonl", "ok")
    start, prompt, end = session[0], session[1], session[-1]
    fire(bench, [start, prompt])
    status = only_status(bench.host)
    assert (status["status"], status["process_id"]) == ("running", prompt["prompt_id"])
    fire(bench, [{**prompt, "prompt": "Second", "prompt_id": "p2"}, {**session[-2], "prompt_id": "p2"}])
    fire(bench, [{**prompt, "prompt": "Third"}, end])
    assert [(row["runs"], row["task"], row["status"], row["question"]) for row in bench.rows()] == [
        (1, "Fix", "failed", "interrupted: another prompt came"),
        (2, "Second", "ready-for-review", ""),
        (3, "Third", "failed", "the session ended in the middle of the turn: other"),
    ]


def test_the_process_of_a_hook_s_run_is_the_agent_s(bench: Bench) -> None:
    """It is above the shell that runs the hook: when it is gone without a word, the run is a ghost."""
    event = {**hooked("claude-2.1.197-hooks.jsonl", "ok")[1], "cwd": str(bench.clone)}
    (bench.host.base / "event").write_text(json.dumps(event), "utf-8")
    hook = f"{sys.executable} {HOOK} claude < {bench.host.base / 'event'}"
    bench.stand_in("claude", f"sh -c '{hook}; true'; echo hooked; read end")
    with subprocess.Popen(
        [str(bench.programs / "claude")], env=bench.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hooked\n"
        assert only_status(bench.host)["pid"] == process.pid


def test_a_hook_inside_of_a_dispatch_does_nothing(bench: Bench) -> None:
    """`agentic-watch dispatch -- claude` records the session itself."""
    fire(bench, hooked("claude-2.1.197-hooks.jsonl", "ok"), AGENTIC_WATCH_WORKSPACE="/x")
    assert statuses(bench.host) == {}


def test_aider(bench: Bench) -> None:
    """The tests that it runs itself leave the report, and its own files are no change."""
    bench.agent("aider")
    failure = "<testsuite><testcase name='t'><failure/></testcase></testsuite>"
    test = f'echo "{failure}" > "$AGENTIC_WATCH_WORKSPACE/junit.xml"'
    bench.run(str(RECIPES / "aider.sh"), "Fix", environ={"TEST_COMMAND": test, "AIDER_MODEL": "gpt-4o"})
    (row,) = bench.rows()
    assert (row["status"], row["passed"], row["test_passed"], row["findings_count"]) == ("completed", 0, 0, 1)
    assert (row["files_changed"], row["agent"]) == (1, "aider:gpt-4o")
    assert (bench.clone / ".aider.chat.history.md").exists()


@pytest.mark.parametrize(
    ("printed", "status", "question", "usage"),
    [
        (
            "Main model: gpt-4o with diff edit format\nlitellm.AuthenticationError: AuthenticationError: no key\n"
            "The API provider is not able to authenticate you. Check your API key.\n",
            "failed",
            "litellm.AuthenticationError: AuthenticationError: no key",
            {"models": ["gpt-4o"]},
        ),
        (
            "litellm.RateLimitError: 429\nRetrying in 0.2 seconds...\nTokens: 4.5k sent, 1k cache hit, 210 received. "
            "Cost: $0.0051 message, $0.01 session.\n",
            "completed",
            "",
            {"cost_usd": 0.01},
        ),
    ],
)
def test_what_aider_prints_decides(
    bench: Bench, printed: str, status: str, question: str, usage: dict[str, Any]
) -> None:
    """It ends with 0 where the API refused it; an error that was tried again with success is none."""
    (bench.host.base / "printed").write_text(printed, "utf-8")
    bench.agent("aider")
    said = bench.run(
        str(RECIPES / "aider.sh"),
        "Fix",
        environ={"RECORDED": str(bench.host.base / "printed"), "TEST_COMMAND": "true"},
    )
    assert printed in said
    assert (only_status(bench.host)["status"], only_status(bench.host).get("question", "")) == (status, question)
    assert only_report(bench.host).get("usage") == usage


@pytest.mark.parametrize(("outcome", "status"), [("success", "ready-for-review"), ("cancelled", "failed")])
def test_a_job_of_a_ci(bench: Bench, outcome: str, status: str) -> None:
    """The steps of the job, run one after the other as a runner does."""
    bench.agent("claude")
    values = {
        "github.repository": "acme/billing",
        "github.run_id": "1712",
        "inputs.task": "Fix; it's 5 o'clock",
        "job.status": outcome,
    }
    text = (RECIPES / "ci.yml").read_text("utf-8")
    text = re.sub(r"\$\{\{ ([a-z_.]+) \}\}", lambda match: values[match[1]], text)
    environ = {"GITHUB_RUN_ID": "1712", "GITHUB_RUN_ATTEMPT": "1", "RUNNER_TEMP": str(bench.host.base)}
    environ |= dict(re.findall(r"^ +([A-Z]+): (.+)$", text, re.MULTILINE))
    steps = re.findall(r"^ +(?:- )?run: (?:>\n)?((?:.+\n)(?: {10}.+\n)*)", text, re.MULTILINE)
    assert len(steps) == 3
    for step in steps:
        bench.run("sh", "-c", " ".join(step.split("\n")), environ=environ)
    (row,) = bench.rows()
    assert (row["workspace"], row["status"], row["task"]) == ("acme/billing/ci-1712", status, "Fix; it's 5 o'clock")
    assert (row["process_id"], row["files_changed"]) == ("1712-1", 1)
    assert row["question"] == ("" if outcome == "success" else "the job: cancelled")
    assert json.loads(row["report"])["usage"]["turns"] == 3


def test_a_systemd_unit(bench: Bench) -> None:
    """The unit's command runs the task's program; stopping it as systemd does is recorded."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(RECIPES / "agentic-dispatch@.service")
    bench.stand_in("billing", "exec sleep 60")
    line = unit["Service"]["ExecStart"].replace("%i", "billing")
    assert line.startswith("agentic-watch ")  # systemd looks for it in its own path
    line = line.replace("agentic-watch", f"{sys.executable} -m agentic_watch", 1)
    assert (unit["Service"]["User"], unit["Service"]["Group"], unit["Service"]["UMask"]) == ("agent", "agents", "0002")
    words = line.replace("/etc/agentic-dispatch", str(bench.programs)).split()
    with subprocess.Popen(words, cwd=bench.clone, env=bench.environ, stderr=subprocess.PIPE) as process:
        wait_for(lambda: bool(statuses(bench.host)))
        assert unit["Service"]["KillMode"] == "mixed"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
    (row,) = bench.rows()
    assert (row["status"], row["question"], row["agent"]) == ("failed", "killed by SIGTERM", "unit")


def test_twenty_tasks_a_few_at_a_time(bench: Bench) -> None:
    """Each task of the file is a dispatch with a branch of its own; one that fails is told by xargs, and recorded."""
    bench.stand_in("agent", 'echo "$1" > new.txt; git add new.txt; git commit -qm "$1"; test "$1" != "task 7"')
    tasks = bench.host.base / "tasks"
    tasks.write_text("".join(f"task {number}\n" for number in range(20)), "utf-8")
    bench.run(str(RECIPES / "fan-out.sh"), str(tasks), "5", code=123, environ={"AGENT": "agent"})
    rows = {row["task"]: row for row in bench.rows()}
    assert set(rows) == {f"task {number}" for number in range(20)}
    assert {task for task, row in rows.items() if row["status"] == "failed"} == {"task 7"}
    assert {row["files_changed"] for row in rows.values()} == {1}
    assert {row["repo"] for row in rows.values()} == {"billing"}
    assert len({row["branch"] for row in rows.values()}) == 20
    assert len(git(bench.clone, "worktree", "list").splitlines()) == 1


def test_fan_out_without_words_of_its_own_runs_claude_code(bench: Bench) -> None:
    """By its own recipe, with the options that let it write and the cause of a failure."""
    bench.agent("claude")
    tasks = bench.host.base / "tasks"
    tasks.write_text("one\n", "utf-8")
    bench.run(str(RECIPES / "fan-out.sh"), str(tasks))
    (row,) = bench.rows()
    assert (row["status"], row["task"], row["agent"], row["files_changed"]) == ("completed", "one", "claude", 1)
