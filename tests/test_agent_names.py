"""Who the agent is: the program that a command line comes to run, and its process above a hook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dispatch_support import dispatch, dispatching_arguments, git_environment, only_status
from support import Host

from agentic_watch.dispatch.agent_names import agent_of


@pytest.mark.parametrize(
    ("line", "agent"),
    [
        (["claude", "-p", "Fix"], "claude"),
        (["/opt/bin/codex", "exec"], "codex"),
        (["timeout", "6", "claude"], "claude"),
        (["timeout", "-k", "5", "--signal=INT", "60s", "env", "-u", "A", "B=1", "nice", "-n", "5", "codex"], "codex"),
        (["nice", "-10", "stdbuf", "-oL", "gemini", "-p", "x"], "gemini"),
        (["sudo", "-u", "agents", "HOME=/x", "claude"], "claude"),
        (["npx", "-y", "@openai/codex@0.171.0", "exec"], "codex"),
        (["npx", "@anthropic-ai/claude-code", "-p"], "claude"),
        (["npx", "-p", "@google/gemini-cli", "gemini"], "gemini"),
        (["uvx", "--from", "aider-chat[help]", "aider", "--yes"], "aider"),
        (["uvx", "aider-chat@latest"], "aider"),
        (["sh", "-c", "claude -p 'Fix; it' | tee log"], "claude"),
        (["bash", "-euo", "pipefail", "-c", "cd repo && X=1 timeout 5 claude -p x"], "claude"),
        (["sh", "-c", "exec opencode run x > out 2>&1"], "opencode"),
        (["bash", "-lc", "source env\nqwen -p x"], "qwen"),
        (["sh", "-c", "exit 3"], "sh"),
        (["sh", "-c", '"$AGENT" x'], "sh"),
        (["sh", "-c", "for task in a b; do claude; done"], "sh"),
        (["sh", "-c", "echo 'unbalanced"], "sh"),
        (["sh", "fix.sh"], "sh"),
        (["timeout", "5"], "timeout"),
        (["sh", "-c"], "sh"),
    ],
)
def test_a_launcher_is_looked_through(line: list[str], agent: str) -> None:
    """What starts the agent is not the agent; where the text of a shell does not tell it, the shell is named."""
    assert agent_of(line) == agent


def test_a_launched_agent_is_in_the_record(host: Host) -> None:
    """Without --agent, and with it as it was given."""
    dispatch(host, "--workspace", "a", "--", "timeout", "60", "env", "A=1", "true")
    assert only_status(host)["agent"] == "true"
    dispatch(host, "--workspace", "a", "--agent", "mine:v1", "--", "timeout", "60", "true")
    assert only_status(host)["agent"] == "mine:v1"


@pytest.mark.parametrize("interpreter", ["/bin/sh", sys.executable])
def test_a_hook_has_the_agents_process(host: Host, interpreter: str) -> None:
    """`begin --agent NAME` in a hook, behind a shell, names the process of the agent: its end makes a ghost."""
    begin = dispatching_arguments(host, ["begin", "--workspace", "w", "--agent", "codex:o3"])
    hook = f"sh -c '{' '.join(begin)}; :'; :"
    script = f"import os\nprint(os.getpid())\nos.system({hook!r})" if interpreter != "/bin/sh" else f"echo $$\n{hook}"
    agent = host.base / "codex"
    agent.write_text(f"#!{interpreter}\n{script}\n", "utf-8")
    agent.chmod(0o755)
    environ = git_environment(host.base)
    result = subprocess.run([agent], env=environ, cwd=host.base, capture_output=True, text=True, check=True)
    assert str(only_status(host)["pid"]) in result.stdout.split()
    # The agent has ended, so the next one begins a run of its own.
    begun = json.loads(dispatch(host, "begin", "--workspace", "w", "--json").stdout)
    assert (begun["begun"], begun["runs"]) == (True, 2)


def test_without_such_a_process_a_run_has_none(host: Host) -> None:
    """A job of a CI names its agent too, and nobody above it is called so; --pid goes before all of it."""
    dispatch(host, "begin", "--workspace", "w", "--agent", "claude")
    assert "pid" not in only_status(host)
    dispatch(host, "finish", "w")
    dispatch(host, "begin", "--workspace", "w", "--agent", "claude", "--pid", "1")
    assert only_status(host)["pid"] == 1
    assert Path("/proc/1").exists()
