"""`history --pr`, `--issue`, `--branch`, `--commit` and `--session`: which dispatches belong to a change."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import Host, environment, make, run

GITHUB = "https://github.com/acme/billing/pull/42"
GITLAB = "https://gitlab.example/acme/billing/-/merge_requests/42/"
HASH = "bc0d6c1b8b5d9bb2c4ae3b4d3d7a38ee1f1ad7f0"
OTHER = "bc0e" + "0" * 36


@pytest.fixture
def changes(host: Host) -> Host:
    """Four dispatches, each of another change."""
    usage = {"session_id": "session-1", "cost_usd": 0.25, "turns": 3, "output_tokens": 0}
    report = {"usage": usage, "commits": {"start": OTHER, "end": HASH}}
    make(host.root, "a/b/github", pr_url=GITHUB, issue=7, branch="agent/fix", report=report)
    make(host.root, "a/b/gitlab", pr_url=GITLAB, issue=70, branch="agent/fix-2", report={"commits": {"end": OTHER}})
    make(host.root, "a/b/longer", pr_url=f"{GITHUB}0", branch="main")
    make(host.root, "a/b/none")
    assert host.once().code == 0
    return host


def listed(host: Host, *options: str) -> list[dict[str, Any]]:
    """What is listed, by name."""
    result = run([*host.arguments(), "history", *options, "--json"], host.base)
    assert result.returncode == 0, result.stderr
    return sorted(map(json.loads, result.stdout.splitlines()), key=lambda row: row["workspace"])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("--pr 42", "github gitlab"),
        ("--pr #42", "github gitlab"),
        (f"--pr {GITHUB}", "github"),
        (f"--pr {GITHUB}/", "github"),
        (f"--pr {GITHUB}/files#diff-1", "github"),
        (f"--pr {GITLAB}diffs?page=2", "gitlab"),
        (f"--pr {GITLAB[:-1]}", "gitlab"),
        ("--pr 4", ""),
        ("--pr 420,42 --branch main", "longer"),
        ("--issue 7", "github"),
        ("--issue #70", "gitlab"),
        ("--issue 7,70", "github gitlab"),
        ("--issue 0", ""),
        ("--branch agent/fix", "github"),
        ("--branch agent", ""),
        (f"--commit {HASH}", "github"),
        ("--commit bc0d", "github"),
        ("--commit BC0", "github gitlab"),
        ("--commit bc0f", ""),
        ("--commit 100%", ""),
        ("--session session-1", "github"),
        ("--session session", ""),
        ("--pr 42 --issue 70", "gitlab"),
    ],
)
def test_what_belongs_to_a_change(changes: Host, options: str, wanted: str) -> None:
    """Exactly that; of a hash the beginning will do, and a request's number is that of any forge."""
    assert [row["workspace"].removeprefix("a/b/") for row in listed(changes, *options.split())] == wanted.split()


@pytest.mark.parametrize(
    ("option", "value", "cause"),
    [
        ("--pr", "billing", "neither a number nor a URL"),
        ("--issue", "seven", "is no number"),
        ("--issue", "-1", "is no number"),
        ("--issue", "9" * 30, "is no number"),
    ],
)
def test_a_value_that_cannot_be_one_is_usage(changes: Host, option: str, value: str, cause: str) -> None:
    """One line, and 2."""
    result = run([*changes.arguments(), "history", option, value], changes.base)
    assert (result.returncode, cause in result.stderr) == (2, True)


def test_what_was_meant_is_told(changes: Host) -> None:
    """A branch that is nearly right."""
    result = run([*changes.arguments(), "history", "--branch", "agent/fx"], changes.base)
    assert "did you mean --branch agent/fix?" in result.stderr


def test_the_columns_are_printed(changes: Host) -> None:
    """In JSON what is unknown is null and 0 is 0; in CSV it is empty; a table takes them by name."""
    github, gitlab = listed(changes, "--pr", "42")
    assert (github["session_id"], github["head_commit"], github["cost_microusd"]) == ("session-1", HASH, 250_000)
    assert (github["turns"], github["output_tokens"], github["input_tokens"]) == (3, 0, None)
    assert (gitlab["session_id"], gitlab["turns"], gitlab["cost_microusd"]) == (None, None, None)
    named = ["--columns", "workspace,session_id,output_tokens,cost_microusd"]
    result = run([*changes.arguments(), "history", "--pr", "42", *named, "--csv"], changes.base)
    rows = sorted(csv.reader(io.StringIO(result.stdout)))
    assert rows == [
        ["a/b/github", "session-1", "0", "250000"],
        ["a/b/gitlab", "", "", ""],
        ["workspace", "session_id", "output_tokens", "cost_microusd"],
    ]
    table = run([*changes.arguments(), "history", "--pr", "42", *named], changes.base).stdout
    assert "SESSION_ID" in table
    assert "session-1" in table


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("history --branch agent", "agent/fix agent/fix-2"),
        ("history --session s", "session-1"),
        ("history --commit bc0d", HASH),
        ("history --issue 7", "7 70"),
    ],
)
def test_the_shell_completes_them(changes: Host, words: str, wanted: str) -> None:
    """To what the history holds."""
    line = f"agentic-watch {' '.join(changes.arguments())} {words}"
    result = subprocess.run(
        [Path(sys.executable).parent / "agentic-watch"],
        env={**environment(changes.base), "_AGENTIC_WATCH_COMPLETE": "bash_complete", "COMP_LINE": line},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [one.partition(",")[2] for one in result.stdout.splitlines()] == wanted.split()
