"""The recipes of examples/agents and the three commands of docs/agents.md, with stand-ins for the agents' programs."""

from __future__ import annotations

import configparser
import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dispatch_support import clone, git, git_environment, only_status, statuses
from support import Host, wait_for

PROJECT = Path(__file__).parents[1]
RECIPES = PROJECT / "examples" / "agents"


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
    bench.stand_in("claude", 'echo "fixed: $2" >> kept.txt')
    text = (PROJECT / "docs" / "agents.md").read_text("utf-8")
    commands = re.findall(r"^    (agentic-watch .*)$", text, re.MULTILINE)[:3]
    assert [command.split()[1] for command in commands] == ["config", "dispatch", "--once"]
    for command in commands:
        bench.run("sh", "-c", command)
    history = bench.host.base / ".local/state/agentic-watch/history.db"
    (row,) = bench.host.rows(history).values()
    assert (row["status"], row["agent"], row["repo"]) == ("completed", "claude", "billing")


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


def test_claude_code_without_a_terminal(bench: Bench) -> None:
    """An error in what it prints is a failed dispatch though its exit status is 0."""
    bench.stand_in("claude", 'echo "{\\"is_error\\": $FAILS, \\"result\\": \\"asked: $2\\"}"')
    recipe = str(RECIPES / "claude-code/headless.sh")
    assert bench.run(recipe, "Fix", environ={"FAILS": "false"}) == "asked: Fix\n"
    bench.run(recipe, "Fix", code=1, environ={"FAILS": "true", "CLAUDE_MODEL": "opus"})
    assert [(row["status"], row["agent"]) for row in bench.rows()] == [
        ("completed", "claude:default"),
        ("failed", "claude:opus"),
    ]


def test_claude_code_by_its_hooks(bench: Bench) -> None:
    """Each turn of a session is a run of one workspace; one that the session's end cut off has failed."""
    settings = json.loads((RECIPES / "claude-code/settings.json").read_text("utf-8"))
    hook = str(RECIPES / "claude-code/hook.py")

    def fire(name: str, **more: str) -> None:
        assert name in settings["hooks"]
        event = {"hook_event_name": name, "session_id": "5f1c", "cwd": str(bench.clone), **more}
        bench.run(sys.executable, hook, stdin=json.dumps(event))

    for prompt in ("First", "Second"):
        fire("UserPromptSubmit", prompt=prompt)
        assert only_status(bench.host)["status"] == "running"
        fire("Stop")
    fire("UserPromptSubmit", prompt="Third")
    fire("SessionEnd", reason="prompt_input_exit")
    rows = bench.rows()
    assert {row["workspace"] for row in rows} == {"sessions/claude-5f1c"}
    assert [(row["runs"], row["status"], row["task"]) for row in rows] == [
        (1, "ready-for-review", "First"),
        (2, "ready-for-review", "Second"),
        (3, "failed", "Third"),
    ]
    event = {"hook_event_name": "UserPromptSubmit", "session_id": "6", "prompt": "x"}
    bench.run(sys.executable, hook, stdin=json.dumps(event), environ={"AGENTIC_WATCH_WORKSPACE": "/x"})
    assert len(statuses(bench.host)) == 1


def test_codex_without_a_terminal(bench: Bench) -> None:
    """Its exit status decides."""
    bench.stand_in("codex", 'test "$1 $2 $3 $4" = "exec --full-auto --model o3" && exit 4')
    bench.run(str(RECIPES / "codex/exec.sh"), "Fix", code=4, environ={"CODEX_MODEL": "o3"})
    (row,) = bench.rows()
    assert (row["status"], row["question"], row["agent"]) == ("failed", "exit status 4", "codex:o3")


def test_codex_by_its_notify(bench: Bench) -> None:
    """Each turn that ended is a run; other events are nothing."""
    assert '"/home/me/.codex/agentic_watch_notify.py"' in (RECIPES / "codex/config.toml").read_text("utf-8")
    for turn, kind in (("1", "agent-turn-complete"), ("2", "approval-requested"), ("3", "agent-turn-complete")):
        event = {
            "type": kind,
            "thread-id": "t7",
            "turn-id": turn,
            "cwd": str(bench.clone),
            "input-messages": ["Fix", turn],
        }
        bench.run(sys.executable, str(RECIPES / "codex/notify.py"), json.dumps(event))
    assert [(row["workspace"], row["runs"], row["task"], row["process_id"]) for row in bench.rows()] == [
        ("sessions/codex-t7", 1, "Fix 1", "1"),
        ("sessions/codex-t7", 2, "Fix 3", "3"),
    ]


def test_aider(bench: Bench) -> None:
    """The tests that it runs itself leave the report."""
    bench.stand_in("aider", 'while [ "$1" != --test-cmd ]; do shift; done; sh -c "$2"; exit 0')
    failure = "echo '<testsuite><testcase name=\"t\"><failure/></testcase></testsuite>' > junit.xml"
    bench.run(str(RECIPES / "aider.sh"), "Fix", environ={"AIDER_TEST": failure})
    (row,) = bench.rows()
    assert (row["status"], row["passed"], row["test_passed"], row["findings_count"]) == ("completed", 0, 0, 1)


@pytest.mark.parametrize(("outcome", "status"), [("success", "ready-for-review"), ("cancelled", "failed")])
def test_a_job_of_a_ci(bench: Bench, outcome: str, status: str) -> None:
    """The steps of the job, run one after the other as a runner does."""
    bench.stand_in("claude", 'echo "$2" >> kept.txt')
    values = {
        "github.repository": "acme/billing",
        "github.run_id": "1712",
        "inputs.task": "Fix; it's 5 o'clock",
        "job.status": outcome,
    }
    text = (RECIPES / "ci.yml").read_text("utf-8")
    text = re.sub(r"\$\{\{ ([a-z_.]+) \}\}", lambda match: values[match[1]], text)
    environ = {"GITHUB_RUN_ID": "1712", "GITHUB_RUN_ATTEMPT": "1"}
    environ |= dict(re.findall(r"^ +([A-Z]+): (.+)$", text, re.MULTILINE))
    steps = re.findall(r"^ +(?:- )?run: (?:>\n)?((?:.+\n)(?: {10}.+\n)*)", text, re.MULTILINE)
    assert len(steps) == 3
    for step in steps:
        bench.run("sh", "-c", " ".join(step.split("\n")), environ=environ)
    (row,) = bench.rows()
    assert (row["workspace"], row["status"], row["task"]) == ("acme/billing/ci-1712", status, "Fix; it's 5 o'clock")
    assert (row["process_id"], row["files_changed"]) == ("1712-1", 1)
    assert row["question"] == ("" if outcome == "success" else "the job: cancelled")


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
