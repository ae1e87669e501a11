"""A past with every oddity that an agent can plant, and what plain Python says of it: the truth for all answers.

Nothing here is the program's own: times are integers, classes and rules are known by the template that a text was made
of, and every number is counted by loops over dictionaries.
"""

from __future__ import annotations

import functools
import math
import random
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

SECOND = 10**9
BEGIN = 1_772_323_200 * SECOND
"""2026-03-01T00:00:00Z"""
ZERO = -62_135_596_800 * SECOND
LAST = 253_402_300_799 * SECOND + 999_999_999
OLD = -1_100_000_000 * SECOND
"""In 1935, when zones had minutes and seconds of their own."""
HUGE = 2**63 - 1

PLACES = (("/srv/agents", "host-1"), ("named", "host-1"), ("/srv/two", "host-2"))
"""Each root, and the host whose it is."""
PASSED, FAILED = ("completed", "merged", "ready-for-review"), ("failed", "rejected")

# A text, and what its class and cause are: {} is a number that differs each time.
QUESTIONS = (
    ("go test ./pkg/a{}/b.go:{}: exit status {}", "go test PATH: exit status N", ""),
    ("src/menu.go:429:{}: undefined", "PATH: undefined", ""),
    ("main.py:403: SyntaxError {}", "PATH: SyntaxError N", ""),
    ("expected 401 rows, got {}", "expected N rows, got N", ""),
    ("test_network_layout failed", "test_network_layout failed", ""),
    ('Get "https://a.example/v{}/x?y={}": dial tcp: no such host', "Get …: dial tcp: no such host", "network"),
    ('Which "menu {}" stays?', "Which … stays?", ""),
    ("HTTP 429: retry in {} s", "HTTP N: retry in N s", "rate limit"),
    ("API Error: 529 overloaded_error", "API Error: N overloaded_error", "rate limit"),
    ("status code 401", "status code N", "credentials"),
    ("no space left on device: /var/tmp/build-{}", "no space left on device: PATH", "disk"),
    ("Disk quota exceeded", "Disk quota exceeded", "disk"),
    ("Какое меню останется, №{}?", "Какое меню останется, №N?", ""),
    ("first line {}\nsecond line {}", "first line N", ""),
    ("=HYPERLINK({})", "=HYPERLINK(N)", ""),
)
# A finding, and its rule.
RULES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"tool": "gosec", "code": "G304", "category": "security", "message": "path from a variable"}, "G304"),
    ({"tool": "gosec", "rule_id": "G101", "code": "other", "title": "secret"}, "G101"),
    ({"tool": "ruff", "rule_id": "", "code": "", "category": "style"}, "style"),
    ({"tool": "mypy", "title": "Argument {} has type {}"}, "Argument N has type N"),
    ({"message": "no tool at all, {}"}, "no tool at all, N"),
    ({"severity": "high"}, "(none)"),
    ({}, "(none)"),
    ({"tool": "линтер", "code": "ПРАВИЛО-½", "message": "новое правило"}, "ПРАВИЛО-½"),
    ({"tool": 7, "code": True, "line": 2**70, "title": ["x"]}, "true"),
)
WORDS = (
    "menu",
    "café",
    "ünïcode",
    "задача",
    "Ελλάδα",
    "日本語",
    "½",
    "task-101",
    "acme/billing",
    "“quoted”",
    "snake_case",
)
_AGENTS = ("claude:opus", "claude:sonnet", "codex", "codex:gpt-5", "gemini:pro", "", "=evil", "агент:x")
_REPOSITORIES = (("acme", "api"), ("acme", "site"), ("other", "api"), ("", "alone"), ("", ""), ("o-ü", "репо"))
_STATUSES = (*PASSED, "completed", "merged", *FAILED, "failed", "blocked", "odd", "running")


@dataclass(slots=True)
class Commit:
    """One commit: times in nanoseconds since the epoch; `reason` and `cause` are those of its question."""

    root: str
    host: str
    workspace: str
    runs: int
    started: int | None
    updated: int
    status: str
    agent: str
    org: str
    repo: str
    task: str
    question: str = ""
    reason: str = ""
    cause: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    rules: list[tuple[str, str, str]] = field(default_factory=list)
    usage: dict[str, int] = field(default_factory=dict)
    moved_to: str | None = None

    @property
    def utc(self) -> str:
        return utc(self.updated)

    @property
    def place(self) -> str:
        return f"{self.org}/{self.repo}" if self.org else self.repo

    @property
    def run(self) -> tuple[Any, ...]:
        return self.root, self.workspace, self.runs, self.started

    @property
    def duration(self) -> int | None:
        took = None if self.started is None else (self.updated - self.started) // 10**6
        return took if took is not None and took >= 0 else None

    @property
    def lines(self) -> int | None:
        both = [number(self.report.get("changes", {}).get(name)) for name in ("insertions", "deletions")]
        return None if None in both else sum(one for one in both if one is not None)

    def used(self, kind: str) -> int | None:
        """What it used of a kind, the cost in millionths of a dollar; None when nobody said so."""
        return self.usage.get(kind)

    @property
    def findings(self) -> list[dict[str, Any]]:
        return list(self.report.get("findings", []))

    def record(self) -> dict[str, Any]:
        """The line that its workspace's journal has of it."""
        found = {key: self.report[key] for key in ("findings", "changes") if self.report.get(key)}
        return {
            "agent": self.agent,
            "branch": "",
            "committed_at": "2026-11-01T00:00:00Z",
            "issue": HUGE if self.runs == 3 else 7,
            "org": self.org,
            "pr_url": "",
            "process_id": "",
            "question": self.question,
            "repo": self.repo,
            "runs": self.runs,
            "started_at": written(ZERO if self.started is None else self.started, self.runs),
            "status": self.status,
            "task": self.task,
            "updated_at": written(self.updated, self.runs + 1),
            "workspace": self.workspace,
            **({"report": self.report} if self.report else {}),
            **found,
        }


def number(value: Any) -> int | None:
    """A whole number that 64 bits hold."""
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def utc(ns: int) -> str:
    seconds, fraction = divmod(ns, SECOND)
    days, second = divmod(seconds, 86_400)
    day = date.fromordinal(days + date(1970, 1, 1).toordinal())
    return f"{day.isoformat()}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{fraction:09}Z"


def written(ns: int, spelling: int) -> str:
    """The time as one dispatcher or another writes it."""
    if spelling % 3 or not ZERO + 10**15 < ns < LAST - 10**15:
        return utc(ns)
    return utc(ns + 5400 * SECOND)[:-1] + "+01:30"


def past(dispatches: int = 22_000, seed: int = 11) -> list[Commit]:
    """About 30,000 commits of so many dispatches, in the order in which they were committed."""
    chance = random.Random(seed)
    made: list[Commit] = []
    for turn in range(dispatches):
        made += _dispatch(chance, turn)
    return made


def _dispatch(chance: random.Random, turn: int) -> Iterator[Commit]:
    root, host = PLACES[turn % 3]
    org, repo = _REPOSITORIES[turn // 12 % len(_REPOSITORIES)]
    ended = BEGIN + turn * 700 * SECOND + chance.randrange(SECOND)
    started: int | None = ended - chance.randrange(30, 9000) * SECOND
    if turn % 17 == 0:
        started = None
    elif turn % 29 == 0:
        started = ended + 5 * SECOND  # a clock that was set back: no duration is known of what ends before it began
    first = Commit(
        *(root, host, f"{org or 'x'}/{repo or 'y'}/task-{turn // 12}", chance.choice((0, 1, 1, 2, 3))),
        *(started, ended, chance.choice(_STATUSES), chance.choice(_AGENTS), org, repo),
        task=f"{chance.choice(WORDS)} {chance.choice(WORDS)} {turn}",
        moved_to=f"moved/{turn}" if turn % 101 == 0 else None,
    )
    if turn % 400 == 7:
        first.updated = (ZERO, ZERO + SECOND // 2, LAST - turn, OLD + turn * SECOND, LAST - 86_400 * SECOND)[
            turn // 400 % 5
        ]
        first.workspace += f"-{turn}"
    _fill(chance, first)
    yield first
    if turn % 4 == 0 and first.updated == ended:
        for again in range(1, chance.randrange(2, 5)):
            later = Commit(*(getattr(first, name) for name in Commit.__slots__))
            later.updated += again * 9 * SECOND
            later.status = chance.choice((*_STATUSES, "merged", "merged"))
            _fill(chance, later)  # another report: findings come and go within a run
            yield later


def _fill(chance: random.Random, one: Commit) -> None:
    one.question = one.reason = one.cause = ""
    if chance.random() < 0.6:
        text, one.reason, one.cause = chance.choice(QUESTIONS)
        one.question = text.format(*(chance.randrange(2, 90) for _ in range(4)))
    one.report, one.rules = _report(chance) if chance.random() < 0.85 else ({}, [])
    one.usage = {}
    if one.report or one.agent.startswith("claude"):  # of one agent nearly all is known
        # Of its own chance: what else is generated stays as it was.
        written, one.usage = _used(random.Random(f"{one.workspace} {one.updated}"))
        one.report |= {"usage": written} if written is not None else {}
    if not one.reason:
        failed = [name for name in ("test_passed", "passed") if one.report.get(name) is False]
        one.reason = _VERDICTS[failed[0]] if failed else "no reason given"


_VERDICTS = {"test_passed": "failing: tests", "passed": "failing: the report's verdict"}


def _report(chance: random.Random) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """A report, and (tool, rule, file) of each of its findings."""
    report: dict[str, Any] = {
        name: chance.random() < 0.6 for name in ("passed", "test_passed") if chance.random() < 0.8
    }
    findings, rules = [], []
    for _ in range(chance.choice((0, 0, 1, 2, 3))):
        finding, rule = chance.choice(RULES)
        file = {"file": f"pkg/{chance.choice('abc')}.go"} if chance.random() < 0.8 else {}
        values = [chance.randrange(2, 90) for _ in range(2)]
        filled = {key: value.format(*values) if isinstance(value, str) else value for key, value in finding.items()}
        findings.append({"line": chance.randrange(900), **filled, **file})
        rules.append((str(finding.get("tool", "")), rule, file.get("file", "")))
    if findings:
        report["findings"] = findings
    if chance.random() < 0.8:
        numbers: Sequence[Any] = (chance.randrange(600), chance.randrange(90), 12.0, None, True, 2**63, HUGE, -5)
        report["changes"] = {
            name: value
            for name in ("files_changed", "insertions", "deletions")
            if (value := chance.choices(numbers, (400, 400, 5, 5, 5, 5, 3, 5))[0]) is not None
        }
    return report, rules


KINDS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "turns", "cost_microusd")
# What is written of tokens and turns, and of a cost in dollars; and what that means, None for nothing.
_ODD_COUNTS: tuple[tuple[Any, int | None], ...] = (
    *((0, 0), (12.0, 12), (HUGE, HUGE), (2**53 + 1, 2**53 + 1)),
    *((2**63, None), (-1, None), (True, None), ("7", None), (1.5, None), (None, None), ([7], None)),
)
_ODD_COSTS: tuple[tuple[Any, int | None], ...] = (
    *((0, 0), (3, 3_000_000), (9e12, 9 * 10**18)),
    *((1e13, None), (-0.01, None), (True, None), ("1.5", None), (None, None), ({}, None)),
)


def _used(chance: random.Random) -> tuple[Any, dict[str, int]]:
    """What a report says in `usage` (None: nothing), and what that means: here and there what nobody can use."""
    if chance.random() < 0.02:
        return (None, {}) if chance.random() < 0.5 else (["no", "object"], {})
    written: dict[str, Any] = {}
    used: dict[str, int] = {}
    for kind in KINDS:
        roll = chance.random()
        if roll < 0.01:
            continue
        name = "cost_usd" if kind == "cost_microusd" else kind
        number_of = chance.randrange(4_000_000)
        meant: int | None = number_of
        written[name] = number_of / 1e6 if name == "cost_usd" else number_of
        if roll < 0.02:
            written[name], meant = chance.choice(_ODD_COSTS if name == "cost_usd" else _ODD_COUNTS)
        if meant is not None:
            used[kind] = meant
    return written, used


class Truth:
    """What is so of some commits; `newest` are the dispatches, in the order of time."""

    def __init__(self, commits: Iterable[Commit]) -> None:
        self.commits = sorted(commits, key=lambda one: one.updated)
        runs: dict[tuple[Any, ...], Commit] = {}
        self._merged: dict[tuple[Any, ...], Commit] = {}
        for one in self.commits:
            runs[one.run] = one
            if one.status == "merged":
                self._merged.setdefault(one.run, one)
        self.newest = sorted(runs.values(), key=lambda one: one.updated)

    def of(self, wanted: Callable[[Commit], bool]) -> list[Commit]:
        """The dispatches that are wanted, the oldest first."""
        return [one for one in self.newest if wanted(one)]

    def group(self, those: Sequence[Commit]) -> dict[str, Any]:
        """What `stats` tells of some dispatches."""
        durations = sorted(one.duration for one in those if one.duration is not None)
        judged = [one for one in those if one.status in PASSED + FAILED]
        lines = [one.lines for one in those if one.lines is not None]
        merged = sorted(
            first.duration
            for one in those
            if (first := self._merged.get(one.run)) is not None and first.duration is not None
        )
        waiting = sum(one.status == "blocked" for one in those)
        return {
            "dispatches_count": len(those),
            "passed_count": sum(one.status in PASSED for one in those),
            "failed_count": sum(one.status in FAILED for one in those),
            "waiting_count": waiting,
            "unjudged_count": len(those) - len(judged) - waiting,
            "pass_rate": rate(judged),
            "first_try": rate([one for one in judged if one.runs <= 1]),
            "duration_ms": {"median": middle(durations), "p90": nearest_rank(durations, 90)},
            "findings_per_dispatch": sum(len(one.findings) for one in those) / len(those) if those else 0.0,
            "lines_per_dispatch": sum(lines) / len(lines) if lines else None,
            "merged_count": len(merged),
            "time_to_merged_ms": middle(merged),
            **{kind: total(those, kind) for kind in KINDS},
            "cost_per_passed_microusd": per_passed(those),
        }

    def groups(self, those: Sequence[Commit], key: Callable[[Commit], str]) -> dict[str | None, dict[str, Any]]:
        """The same by a key; None where there is none."""
        parts: dict[str, list[Commit]] = defaultdict(list)
        for one in those:
            parts[key(one)].append(one)
        return {name or None: self.group(part) for name, part in parts.items()}


def total(those: Sequence[Commit], kind: str) -> dict[str, int | None]:
    """The sum of what is known, and of how many."""
    known = [used for one in those if (used := one.used(kind)) is not None]
    return {"sum": sum(known) if known else None, "known_count": len(known)}


def per_passed(those: Sequence[Commit]) -> int | None:
    """The cost of all by those that passed, to the next millionth of a dollar."""
    cost, passed = total(those, "cost_microusd"), sum(one.status in PASSED for one in those)
    if not passed or cost["sum"] is None or Fraction(cost["known_count"] or 0, len(those)) < Fraction(95, 100):
        return None
    return math.floor(Fraction(cost["sum"], passed) + Fraction(1, 2))


def rate(judged: Sequence[Commit]) -> dict[str, Any]:
    """The share that passed, with Wilson's interval as its author wrote it down (1927)."""
    count, passed = len(judged), sum(one.status in PASSED for one in judged)
    low = high = share = None
    if count:
        share, z = passed / count, statistics.NormalDist().inv_cdf(0.975)
        centre, spread = passed + z * z / 2, z * math.sqrt(passed * (count - passed) / count + z * z / 4)
        low, high = (centre - spread) / (count + z * z), (centre + spread) / (count + z * z)
        low, high = (low if passed else 0.0), (high if passed < count else 1.0)
    return {
        "passed_count": passed,
        "judged_count": count,
        "rate": share,
        "low": low,
        "high": high,
        "ranked": count >= 20,
    }


def middle(ordered: Sequence[int]) -> int | None:
    return math.floor(statistics.median(ordered)) if ordered else None


def nearest_rank(ordered: Sequence[int], percent: int) -> int | None:
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else None


def day(one: Commit, zone: str = "UTC") -> date:
    """The day there; in the first and the last year of all, UTC's."""
    if one.utc[:4] in ("0001", "9999"):
        return date.fromisoformat(one.utc[:10])
    return datetime.fromtimestamp(one.updated // SECOND, UTC).astimezone(ZoneInfo(zone)).date()


def week(one: Commit) -> str:
    year, number_of, _ = day(one).isocalendar()
    return f"{year}-W{number_of:02}"


def failures(those: Sequence[Commit]) -> dict[tuple[str, str | None], dict[str, Any]]:
    """By (class, cause), what `failures` tells of the dispatches that failed or wait."""
    parts: dict[tuple[str, str | None], list[Commit]] = defaultdict(list)
    for one in those:
        if one.status in (*FAILED, "blocked"):
            parts[one.reason, one.cause or None].append(one)
    return {
        key: {
            "fault": "host" if key[1] else "agent",
            "dispatches_count": len(part),
            "failed_count": sum(one.status in FAILED for one in part),
            "waiting_count": sum(one.status == "blocked" for one in part),
            "repositories_count": len({(one.org, one.repo) for one in part}),
            "agents": sorted({one.agent for one in part if one.agent}),
            "first_utc": part[0].utc,
            "last_utc": part[-1].utc,
            "cost_microusd": total(part, "cost_microusd"),
        }
        for key, part in parts.items()
    }


FINDING_KEYS: dict[str, Callable[[Commit, tuple[str, str, str]], tuple[str, ...]]] = {
    "rule": lambda _, found: found[:2],
    "file": lambda one, found: (one.place, found[2]),
    "tool": lambda _, found: found[:1],
    "repo": lambda one, _: (one.place,),
}
FINDING_NAMES = {"rule": ("tool", "rule"), "file": ("repo", "file"), "tool": ("tool",), "repo": ("repo",)}


def findings(those: Sequence[Commit], by: str) -> dict[tuple[str | None, ...], dict[str, Any]]:
    """By what they are grouped by: how many findings, in how many dispatches and repositories, and when last."""
    counts: Counter[tuple[str, ...]] = Counter()
    where: dict[tuple[str, ...], list[Commit]] = defaultdict(list)
    for one in those:
        keys = [FINDING_KEYS[by](one, found) for found in one.rules]
        counts.update(keys)
        for key in set(keys):
            where[key].append(one)
    return {
        absent_as_none(key): {
            "findings_count": count,
            "dispatches_count": len(where[key]),
            "repositories_count": len({one.place for one in where[key]}),
            "last_utc": where[key][-1].utc,
        }
        for key, count in counts.items()
    }


def absent_as_none(values: Iterable[str]) -> tuple[str | None, ...]:
    """What was not said is null in JSON."""
    return tuple(value or None for value in values)


def changes(truth: Truth, kind: str, runs: int) -> set[tuple[str | None, ...]]:
    """(repository, tool, rule, file) of what stays in the newest runs of each repository, comes or went."""
    by_repository: dict[tuple[str, str], list[Commit]] = defaultdict(list)
    for one in truth.newest:
        if one.repo and one.report:
            by_repository[one.org, one.repo].append(one)
    found: set[tuple[str, str, str, str]] = set()
    for those in by_repository.values():
        if len(those) < runs:
            continue
        sets = [{(one.place, *rule) for rule in one.rules} for one in those[-runs:]]
        last, before = sets[-1], sets[-2]
        found |= set.intersection(*sets) if kind == "persistent" else last - before if kind == "new" else before - last
    return set(map(absent_as_none, found))


@functools.cache
def tokens(text: str, folded: bool) -> str:
    """The words of a text, a space around each: letters and numbers in lower case; `folded`: without accents."""
    plain = unicodedata.normalize("NFD", text.lower()) if folded else text.lower()
    kept = (c if unicodedata.category(c)[0] in "LN" else "" if unicodedata.category(c) == "Mn" else " " for c in plain)
    return f" {' '.join(unicodedata.normalize('NFC', ''.join(kept)).split())} "


def searched(one: Commit) -> Iterator[str]:
    """The texts of a commit in which words are looked for."""
    yield from (one.workspace, one.repo, one.agent, one.task, one.question)
    for finding in one.findings:
        for name in ("tool", "file", "code", "rule_id", "title", "message"):
            value = finding.get(name)
            if isinstance(value, (str, int)):
                yield value if isinstance(value, str) else str(value).lower()


def matches(one: Commit, search: str, folded: bool) -> bool:
    """Whether every word of a search is in a commit, the last one perhaps only begun."""
    texts = [tokens(text, folded) for text in searched(one)]
    *whole, begun = [tokens(word, folded) for word in search.split()]
    return all(any(word in text for text in texts) for word in whole) and any(begun[:-1] in text for text in texts)
