"""What each answer prints as JSON has the keys that docs/reference.md lists for it, and no other."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import generated
import pytest
from support import Host, run
from test_reference import listed, paths

DAY = 86_400
SHAPES = {
    "agentic-watch stats --json": [["--by", by] for by in ("agent", "day")],
    "agentic-watch stats --compare --json": [["--compare", "14d"]],
    "agentic-watch failures --json": [[]],
    "agentic-watch findings --json": [[]],
    "agentic-watch findings --new --json": [["--new"], ["--gone"], ["--persistent", "2"]],
    "agentic-watch digest --json": [["--since", "14d"]],
    "agentic-watch history --json": [["--all"]],
}
ROW = "rows[]"
LIKE = {
    "agentic-watch stats --json": {"total": ("agentic-watch stats --json", ROW)},
    "agentic-watch stats --compare --json": {
        "rows[].before": ("agentic-watch stats --json", ROW),
        "rows[].after": ("agentic-watch stats --json", ROW),
    },
    "agentic-watch digest --json": {
        "total": ("agentic-watch stats --json", ROW),
        "agents[]": ("agentic-watch stats --json", ROW),
        "classes[]": ("agentic-watch failures --json", ROW),
        "new_findings[]": ("agentic-watch findings --new --json", ROW),
    },
}
"""What a table says by `.*`: the keys of another table, below another name."""
NO_NAME = ("total", "rows[].before", "rows[].after")
"""Groups that need no key of their own."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host whose agent became worse two weeks ago, with something for every key."""
    made = Host.make(tmp_path_factory.mktemp("keys"))
    now = int(time.time())
    commits = []
    for number in range(80):
        late = number >= 40
        finding = {
            "tool": "gosec",
            "code": f"G{number % 2}",
            "file": "a.go",
            "line": 3,
            "severity": "high",
            "message": "m",
        }
        findings = [finding, {**finding, "code": "always"}]
        ended = now - (5 if late else 20) * DAY + number
        commits.append(
            generated.record(
                workspace=f"w{number}",
                status=("blocked" if number % 10 == 0 else "failed") if late else "merged",
                agent="codex:gpt-5",
                org="acme",
                repo="api",
                question="why?" if late else "",
                started_at=generated.at(ended - 60),
                updated_at=generated.at(ended),
                report={"passed": not late, "findings": findings, "changes": {"insertions": 1, "deletions": 2}},
            )
        )
    generated.fill(made.history, commits)
    return made


def documented(title: str) -> set[str]:
    """The keys of a table, those of other tables that it refers to included."""
    keys = set(listed(f"`{title}`"))
    for below, (other, prefix) in LIKE.get(title, {}).items():
        assert f"{below}.*" in keys, f"{title}: nothing is said of {below}"
        keys.discard(f"{below}.*")
        more = {below + key.removeprefix(prefix) for key in listed(f"`{other}`") if key.startswith(f"{prefix}.")}
        keys |= more - ({f"{below}.key"} if below in NO_NAME else set())
    return keys


@pytest.mark.parametrize("title", SHAPES)
def test_keys_are_those_of_the_reference(host: Host, title: str) -> None:
    """Both ways: nothing is printed that is not listed, and nothing is listed that is not printed."""
    printed: set[str] = set()
    for options in SHAPES[title]:
        words = [word for word in title.split()[1:] if not word.startswith("--")]
        result = run([*host.arguments(), *words, *options, "--json"], host.base)
        assert result.returncode == 0, result.stderr
        texts = [result.stdout] if result.stdout.startswith("{\n") else result.stdout.splitlines()
        printed |= {path for text in texts for path in paths(json.loads(text))}
    wanted = documented(title)
    free = {key.removesuffix("*") for key in wanted if key.endswith(".*")}
    printed = {
        f"{next(it for it in free if path.startswith(it))}*" if path.startswith(tuple(free)) else path
        for path in printed
    }
    assert printed - wanted == set(), "printed, and not in the reference"
    assert wanted - printed == set(), "in the reference, and not printed"


def test_every_form_of_findings_is_listed(host: Host) -> None:
    """By file, tool and repository the names of a group are those that the reference tells beside the table."""
    for by, names in {"file": {"repo", "file"}, "tool": {"tool"}, "repo": {"repo"}}.items():
        answer: Any = json.loads(run([*host.arguments(), "findings", "--by", by, "--json"], host.base).stdout)
        keys = {f"rows[].{name}" for name in answer["rows"][0]}
        counts = {key for key in listed("`agentic-watch findings --json`") if key.startswith("rows[].")}
        assert keys == counts - {"rows[].tool", "rows[].rule"} | {f"rows[].{name}" for name in names}
    text = (Path(__file__).parent.parent / "docs/reference.md").read_text("utf-8")
    assert "with `--by file` `repo` and `file`, with `--by repo` `repo`" in text
