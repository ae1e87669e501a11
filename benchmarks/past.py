"""A year that never was: generated commits of many dispatches with findings, in the order of time, the same each time.

`python -m benchmarks.past HISTORY DISPATCHES` fills a history with them through the program's own store.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

from agentic_watch.history import rows
from agentic_watch.history.store import History
from agentic_watch.workspace import instant
from agentic_watch.workspace.instant import Instant
from agentic_watch.workspace.record import Record

END = 1_795_000_000
"""Seconds since the epoch: when the year is over (2026-11-18)."""

_YEAR = 365 * 86_400
_GROUP = 1024
_ORGS = ("acme", "core", "labs", "lthn", "ofm", "oss", "ops", "web")
_AGENTS = ("claude:opus", "claude:sonnet", "codex", "codex:gpt-5", "gemini", "gemini:pro", "local:qwen", "cursor")
_STATUSES = ("completed", "merged", "ready-for-review", "failed", "blocked", "rejected")
_TOOLS = ("gosec", "golangci-lint", "ruff", "mypy", "eslint", "semgrep")
_REPOSITORIES = 200
_RULES = 120
_TASKS = ("Round invoice totals half to even", "Fix the flaky login test", "Upgrade the TLS defaults", "Übersetzung ✓")
_QUESTIONS = (
    "go test ./pkg/{0}: exit status {1}",
    "rate limit reached, retry after {1} seconds",
    "cannot find module /srv/agents/{0}/main.go:{1}",
    'Which database should "{0}" use?',
    "merge conflict in {0}.go at 0x{1:08x}",
    "No space left on device: /var/tmp/build-{1}",
    "context deadline exceeded after {1}s while calling https://api.example/{0}",
    "authentication failed: 401 Unauthorized",
)


def commits(dispatches: int, seed: int = 1) -> Iterator[Record]:
    """The commits of so many dispatches over a year; one in twenty was blocked first and committed then too."""
    chance = random.Random(seed)
    step = _YEAR / dispatches
    for number in range(dispatches):
        ended = END - _YEAR + int(number * step)
        record = _dispatch(chance, number, ended)
        if number % 20 == 0:
            blocked = {"status": "blocked", "question": _question(chance)}
            yield _record(**{**record, **blocked, "updated_at": _at(ended - 30)})
        yield _record(**record)


def _dispatch(chance: random.Random, number: int, ended: int) -> dict[str, Any]:
    repository = min(int(chance.expovariate(6 / _REPOSITORIES)), _REPOSITORIES - 1)
    org, repo = _ORGS[repository % len(_ORGS)], f"service-{repository:03}"
    agent = chance.choice(_AGENTS)
    status = chance.choices(_STATUSES, (45 + len(agent), 15, 15, 12, 8, 5))[0]
    bad = status in ("failed", "blocked", "rejected")
    return {
        "workspace": f"{org}/{repo}/task-{number // 3 % 50_000}",
        "status": status,
        "agent": agent,
        "repo": repo,
        "org": org,
        "task": f"{chance.choice(_TASKS)} (issue {number})",
        "question": _question(chance) if bad and chance.random() < 0.7 else "",
        "runs": 1 + number % 3,
        "started_at": _at(ended - int(chance.lognormvariate(7, 1)) - 31, chance.randrange(10**9)),
        "updated_at": _at(ended),
        "report": _report(chance, bad),
    }


def _report(chance: random.Random, bad: bool) -> dict[str, Any]:
    count = min(int(chance.expovariate(1 / 3.5)), 40)
    findings = [_finding(chance) for _ in range(count)]
    verdicts = {"passed": not bad, "test_passed": not bad or chance.random() < 0.4, "build_passed": True}
    changes = {"files_changed": chance.randrange(12), "insertions": chance.randrange(600), "deletions": 20}
    return {**verdicts, "changes": changes, "usage": _usage(chance), **({"findings": findings} if findings else {})}


def _usage(chance: random.Random) -> dict[str, Any]:
    """Tokens and turns of nearly all, a cost of most."""
    turns = chance.randrange(4, 60)
    tokens = {"input_tokens": 900 * turns, "cache_read_tokens": 60_000 * turns, "cache_write_tokens": 3_000 * turns}
    cost = {"cost_usd": turns * chance.randrange(20_000, 90_000) / 1e6} if chance.random() < 0.8 else {}
    return {**tokens, "output_tokens": chance.randrange(900, 60_000), "turns": turns, **cost}


def _finding(chance: random.Random) -> dict[str, Any]:
    rule = min(int(chance.expovariate(6 / _RULES)), _RULES - 1)
    return {
        "tool": _TOOLS[rule % len(_TOOLS)],
        "severity": "warning",
        "category": "security" if rule % 3 else "style",
        "file": f"pkg/part{chance.randrange(40)}/file{chance.randrange(20)}.go",
        "line": chance.randrange(1, 900),
        ("code" if rule % 2 else "rule_id"): f"R{rule:03}",
        "message": f"potential problem number {rule}",
    }


def _question(chance: random.Random) -> str:
    return chance.choice(_QUESTIONS).format(f"part{chance.randrange(40)}", chance.randrange(5000))


def _at(seconds: int, nanoseconds: int = 0) -> Instant:
    return instant.parse(f"{instant.now_text(seconds)[:-1]}.{nanoseconds:09}Z")


def _record(**fields: Any) -> Record:
    report = fields["report"]
    missing = {"branch": "", "process_id": "", "pr_url": "", "issue": 0}
    found = {"findings": report.get("findings", []), "changes": report["changes"]}
    committed = {"committed_at": instant.now_text(fields["updated_at"].ns // 10**9 + 2)}
    return Record(**{**missing, **fields, **found, **committed})


def fill(path: str, dispatches: int) -> dict[str, Any]:
    """Insert the commits of so many dispatches; says how many rows, findings and seconds it took."""
    history = History(path)
    history.open()
    made, timed = commits(dispatches), 0.0
    count = findings = 0
    try:
        while group := [rows.from_record(one, "/srv/root", "host-1") for one in itertools.islice(made, _GROUP)]:
            findings += sum(len(row.findings) for row in group)
            started = time.perf_counter()
            count += history.insert(group)
            timed += time.perf_counter() - started
    finally:
        history.close()
    return {"rows": count, "findings": findings, "seconds": timed}


if __name__ == "__main__":
    print(json.dumps(fill(sys.argv[1], int(sys.argv[2]))))
