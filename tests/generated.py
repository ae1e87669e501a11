"""A generated past of many commits, and what plain Python says of it: the truth that answers are held against."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentic_watch.history import rows
from agentic_watch.history.store import History
from agentic_watch.workspace import instant
from agentic_watch.workspace.record import Record

ROOT = "/srv/root"
BEGIN = 1_772_323_200
"""2026-03-01T00:00:00Z"""

_HOUR = 3600
_STATUSES = ("completed", "completed", "merged", "ready-for-review", "failed", "failed", "rejected", "blocked", "odd")
_AGENTS = ("claude:opus", "claude:sonnet", "codex", "gemini")
_REPOSITORIES = (("acme", "api"), ("acme", "site"), ("other", "api"), ("", "alone"))
_RULES: tuple[dict[str, Any], ...] = (
    {"tool": "gosec", "code": "G304", "category": "security"},
    {"tool": "gosec", "rule_id": "G101", "code": "other"},
    {"tool": "ruff", "rule_id": "", "code": "", "category": "style"},
    {"tool": "mypy", "title": "Argument 1 has type 17"},
    {"tool": "mypy", "title": "Argument 2 has type 18"},
    {"message": "no tool at all"},
)
_QUESTIONS = ("exit status 1 in ./pkg/a.go:7", "exit status 22 in ./pkg/b/c.go:9", "rate limit: retry in 30 s", "", "")


def past(dispatches: int = 600, seed: int = 7) -> list[Record]:
    """Commits in the order of time: some dispatches were committed twice, some statuses are nobody's."""
    chance = random.Random(seed)
    made: list[Record] = []
    for number in range(dispatches):
        made += _dispatch(chance, number)
    return made


def _dispatch(chance: random.Random, number: int) -> Iterator[Record]:
    org, repo = chance.choice(_REPOSITORIES)
    ended = BEGIN + number * _HOUR
    took = chance.randrange(30, 9000)
    fields: dict[str, Any] = {
        "workspace": f"{org or 'x'}/{repo}/task-{number // 2}",
        "org": org,
        "repo": repo,
        "agent": chance.choice(_AGENTS),
        "runs": chance.choice((0, 1, 2, 3)) if number % 2 else 1,
        "status": chance.choice(_STATUSES),
        "question": chance.choice(_QUESTIONS),
        "started_at": instant.ZERO if number % 17 == 0 else at(ended - took, chance.randrange(10**9)),
        "report": _report(chance) if number % 11 else {},
    }
    if number % 5 == 0:
        earlier = chance.choice(("blocked", "merged", "failed"))
        yield record(**{**fields, "status": earlier, "updated_at": at(ended - 10), "question": "wait 5 s"})
    yield record(**{**fields, "updated_at": at(ended)})


def _report(chance: random.Random) -> dict[str, Any]:
    files = [f"pkg/{chance.choice('abc')}.go" for _ in range(chance.randrange(5))]
    findings = [{**chance.choice(_RULES), "file": file, "line": chance.randrange(900)} for file in files]
    changes = {"insertions": chance.randrange(100), "deletions": chance.randrange(50)} if chance.random() < 0.8 else {}
    verdicts = {"passed": chance.random() < 0.5, "test_passed": chance.random() < 0.5}
    return {**verdicts, **({"findings": findings} if findings else {}), **({"changes": changes} if changes else {})}


def at(seconds: int, nanoseconds: int = 0) -> instant.Instant:
    """The instant so many seconds after the epoch."""
    return instant.parse(f"{instant.now_text(seconds)[:-1]}.{nanoseconds:09}Z")


def record(**fields: Any) -> Record:
    """The record of a commit; what is not given is empty."""
    empty: dict[str, Any] = dict.fromkeys(("agent", "branch", "pr_url", "process_id", "question", "repo", "org"), "")
    empty |= {"task": "Do it", "issue": 0, "runs": 1, "report": {}, "started_at": instant.ZERO}
    whole = {**empty, **fields}
    committed = instant.now_text(whole["updated_at"].ns // 10**9 + 2)
    report = whole["report"]
    found = {"findings": report.get("findings", []), "changes": report.get("changes", {})}
    return Record(**whole, **found, committed_at=committed)


def fill(path: Path, commits: list[Record], host: str = "host-1") -> None:
    """Put commits into a history, as the program does."""
    history = History(str(path))
    history.open()
    try:
        history.insert([rows.from_record(commit, ROOT, host) for commit in commits])
    finally:
        history.close()


def newest(commits: list[Record]) -> list[Record]:
    """The newest commit of each run, in the order of time."""
    runs: dict[tuple[Any, ...], Record] = {}
    for commit in sorted(commits, key=lambda one: one.updated_at.ns):
        runs[run_of(commit)] = commit
    return sorted(runs.values(), key=lambda one: one.updated_at.ns)


def run_of(commit: Record) -> tuple[Any, ...]:
    """What makes two commits those of one run."""
    return commit.workspace, commit.runs, commit.started_at.ns


def duration_ms(commit: Record) -> int | None:
    """How long the run took; None when it has no start."""
    return None if commit.started_at.is_zero else (commit.updated_at.ns - commit.started_at.ns) // 10**6
