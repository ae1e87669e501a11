"""The attack catalogue: what a hostile agent plants in its workspace, and what is to become of it."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import UPDATED, Workspace, write_marker

SECRET = "correct-horse-battery-staple"
SOUND = {"status": "completed", "updated_at": UPDATED}
FOREVER = "import signal; signal.pause()"


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a case is planted: a workspace with a sound status, and what lies outside the root:
    `secret.txt`, `victim.txt`, a FIFO `pipe` and a directory `victims/` with a sound status.json."""

    workspace: Workspace
    outside: Path

    def path(self, name: str) -> Path:
        """A path inside the workspace, with nothing there any more."""
        path = self.workspace.path / name
        if path.is_dir() and not path.is_symlink():
            for inner in path.iterdir():
                inner.unlink()
            path.rmdir()
        path.unlink(missing_ok=True)
        return path


Plant = Callable[[Ground], None]
Put = Callable[[Path, Ground], None]

COMMITTED, FAILED, UNSEEN, EITHER = "committed", "failed", "unseen", "either"


@dataclass(frozen=True, slots=True)
class Case:
    """One attack: `wanted` is what becomes of the workspace, `says` what its cause or warning holds ("" for no
    warning), `directory` its directory's name, `meanwhile` Python that another process runs in the workspace."""

    name: str
    plant: Plant
    wanted: str
    says: str = ""
    directory: str = ""
    meanwhile: str = ""

    @property
    def workspace(self) -> str:
        """The workspace's name."""
        return f"attack/{self.directory or re.sub('[^a-z0-9]+', '-', self.name.lower())}/task"


def link(target: str) -> Put:
    """A symbolic link, to something outside when the target is relative."""
    return lambda path, ground: path.symlink_to(ground.outside / target)


def content(data: bytes) -> Put:
    return lambda path, _: [path.write_bytes(data), None][1]


def sparse(size: int) -> Put:
    def put(path: Path, _: Ground) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return put


def listening(path: Path, _: Ground) -> None:
    """A socket; bound by a short relative name, since sun_path takes 108 bytes."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def put(name: str, what: Put) -> Plant:
    return lambda ground: what(ground.path(name), ground)


def status(data: bytes) -> Plant:
    return put(".meta/status.json", content(data))


def fields(**values: Any) -> Plant:
    return status(json.dumps({**SOUND, **values}).encode())


def report(data: bytes) -> Plant:
    return put(".meta/report.json", content(data))


def journal(data: bytes) -> Plant:
    return put(".meta/journal.jsonl", content(data))


def beside(*plants: Plant) -> Plant:
    """The status lies beside `.meta`, and then the rest is planted."""

    def plant(ground: Ground) -> None:
        (ground.path("status.json")).write_text(json.dumps(SOUND))
        for one in plants:
            one(ground)

    return plant


def both(*plants: Plant) -> Plant:
    return lambda ground: [one(ground) for one in plants][-1]


def line(**values: Any) -> bytes:
    """A forged journal line."""
    return json.dumps({**SOUND, "committed_at": "2020-01-01T00:00:00Z", **values}).encode() + b"\n"


def own_lines(number: int, **values: Any) -> Plant:
    """Forged lines in the workspace's own name."""

    def plant(ground: Ground) -> None:
        name = ground.workspace.name
        journal(b"".join(line(workspace=name, runs=run, **values) for run in range(1, number + 1)))(ground)

    return plant


def forged_marker(ground: Ground) -> None:
    write_marker(ground.workspace)


def foreign_marker(ground: Ground) -> None:
    ground.workspace.write_status(task="of its own")
    write_marker(ground.workspace, workspace="neighbour/repo/0")


def deep_tree(ground: Ground) -> None:
    """2000 directories below the workspace, where it is none: each level is only reached by descriptor."""
    ground.path(".meta")
    current = os.open(ground.workspace.path, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=current)
        inner = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = inner
    os.close(current)


def crowd(ground: Ground) -> None:
    for number in range(2000):
        (ground.workspace.meta / f".commit.json.{number}.tmp").touch()


def crowd_of_logs(ground: Ground) -> None:
    for number in range(2000):
        (ground.workspace.meta / f"{number}.log").touch()


def replaced_by_link(target: str) -> Plant:
    """The workspace itself is a symbolic link."""

    def plant(ground: Ground) -> None:
        ground.path(".meta")
        for inner in ground.workspace.path.iterdir():
            inner.rmdir()
        ground.workspace.path.rmdir()
        ground.workspace.path.symlink_to(ground.outside / target if target else ground.workspace.path)

    return plant


def nothing(_: Ground) -> None:
    """The name alone is the attack."""


def meta_loop(ground: Ground) -> None:
    ground.path(".meta").symlink_to(".meta")


DEEP = b'{"x":' * 100_000 + b"1" + b"}" * 100_000
HUGE = b'{"x":' + b"9" * 5000 + b"}"
ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\n\x00\x7f\u009b31m\u202e'; DROP TABLE dispatch_history; --"

# What stands in place of a file: (what, how it is put there, the cause that is said).
OBJECTS: tuple[tuple[str, Put, str], ...] = (
    ("a symlink to a secret", link("secret.txt"), "is a symbolic link"),
    ("a symlink to a sound file", link("victims/status.json"), "is a symbolic link"),
    ("a symlink to a device", link("/dev/zero"), "is a symbolic link"),
    ("a symlink to a FIFO", link("pipe"), "is a symbolic link"),
    ("a symlink to a directory", link("victims"), "is a symbolic link"),
    ("a dangling symlink", link("nowhere"), "is a symbolic link"),
    ("a symlink to itself", lambda path, _: path.symlink_to(path), "is a symbolic link"),
    ("a FIFO", lambda path, _: os.mkfifo(path), "is "),
    ("a socket", listening, "is a FIFO or a socket"),
    ("a directory", lambda path, _: path.mkdir(), "is "),
    ("a hard link to a victim", lambda path, ground: os.link(ground.outside / "victim.txt", path), "hard links"),
    ("a hard link to a secret", lambda path, ground: os.link(ground.outside / "secret.txt", path), "hard links"),
    ("sparse gigabytes", sparse(8 << 30), "over the limit of"),
)
# And what the content can be: (what, bytes, the cause in a status, report or marker).
CONTENTS: tuple[tuple[str, bytes, str], ...] = (
    ("empty", b"", "is empty"),
    ("torn", b'{"status":"compl', "is not JSON"),
    ("all NUL", b"\0" * 4096, "is not JSON"),
    ("100,000 deep", DEEP, "is nested deeper than"),
    ("100,000 open", b"[" * 100_000, "is nested deeper than"),
    ("a 5000-digit integer", HUGE, "too many digits"),
    ("NaN", b'{"x":NaN}', "holds NaN"),
    ("-Infinity", b'{"x":-Infinity}', "holds -Infinity"),
    ("1e999", b'{"x":1e999}', "number out of range"),
    ("a lone surrogate", b'{"x":"\\ud800"}', "surrogate"),
    ("a lone surrogate as key", b'{"\\udfff":1}', "surrogate"),
    ("invalid UTF-8", b'{"x":"\xff\xfe"}', "is not UTF-8"),
    ("UTF-16", '{"status":"completed"}'.encode("utf-16"), "is not UTF-8"),
    ("a BOM alone", b"\xef\xbb\xbf", "is empty"),
    ("a list", b"[]", "is not a JSON object"),
    ("a string", b'"x"', "is not a JSON object"),
    ("250,001 values", b'{"x":[' + b"{}," * 125_001 + b"{}]}", "values"),
    ("two documents", b"{}{}", "is not JSON"),
)
ODD_TIMES = (
    "2016-12-31T23:59:60Z",
    "10000-01-01T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "2026-02-29T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T00:00:00.1234567890Z",
    "2026-01-01T00:00:00+24:00",
    "2026-01-01T00:00:00",
    "2026-01-01",
    "1767225600",
    "٢٠٢٦-01-01T00:00:00Z",
    "2026-01-01T00:00:00Z\n",
    "2026-01-01T00:00:00Z" + "0" * (1 << 19),
    "\x1b[31m",
)
TEXTS = ("agent", "repo", "org", "task", "branch", "process_id", "question", "pr_url", "started_at", "updated_at")
WRONG_STATUS: tuple[dict[str, Any], ...] = (
    *({name: value} for name in TEXTS for value in (1, [], {})),
    *({name: value} for name in ("issue", "pid", "runs") for value in ("1", 1.5, True, [], 2**63, -(2**63) - 1)),
    *({"status": value} for value in (1, None, "", [], {})),
    {"updated_at": None},
)
WRONG_REPORTS: tuple[Any, ...] = (
    {"findings": "x", "changes": [], "passed": "yes"},
    {"findings": [1, None, "x"], "changes": {"files_changed": "1", "insertions": 1e308, "deletions": 2**70}},
    {"findings": [{"line": [], "column": {}, "message": {}, "file": 1.5, "code": True, "severity": None}]},
    {"findings": [{"line": 2**63, "column": -1e300, "message": ESCAPES, "tool": 10**4000}]},
    {"findings": {}, "build_passed": 2, "test_passed": [], "lint_passed": {}, "": {"": [[]]}, ESCAPES: ESCAPES},
)
# What the agent names its directory: (what, name, outcome, what is said).
NAMES: tuple[tuple[str, bytes, str, str], ...] = (
    ("a newline", b"a\nfailed: b", FAILED, "control characters"),
    ("ANSI escapes", b"\x1b[2J\x1b[31mred", FAILED, "control characters"),
    ("a C1 control", "\u009b31m".encode(), FAILED, "control characters"),
    ("a right-to-left override", "\u202egnp".encode(), FAILED, "control characters"),
    ("bytes that are no UTF-8", b"\xff\xfe\x80", FAILED, "not UTF-8"),
    ("an encoded surrogate", b"\xed\xa0\x80", FAILED, "not UTF-8"),
    ("255 bytes", b"n" * 255, COMMITTED, ""),
    ("a leading dash", b"--config=x", COMMITTED, ""),
    ("SQL", b"'); DROP TABLE dispatch_history; --", COMMITTED, ""),
    ("format directives", b"%s%n{0}", COMMITTED, ""),
    ("wildcards", b"*?[a-z]%_", COMMITTED, ""),
    ("astral characters", "\U0001f680".encode(), COMMITTED, ""),
)


_MOVED = "moved to commit.json.corrupt-"
# Of two names: it is read, believed as little as any other, and replaced by another file.
_MARKER_SAYS = {"a hard link to a victim": "", "a hard link to a secret": ""}


def _replaced() -> list[Case]:
    """Each object in place of each file: a broken status or journal fails, a report is left out, a marker moved."""
    cases = []
    for what, how, cause in OBJECTS:
        cases += [
            Case(f"status is {what}", put(".meta/status.json", how), FAILED, cause),
            Case(f"status beside is {what}", both(beside(), put("status.json", how)), COMMITTED, cause),
            Case(f"report is {what}", put(".meta/report.json", how), COMMITTED, "committed without the report"),
            Case(f"journal is {what}", put(".meta/journal.jsonl", how), FAILED, cause),
            Case(f"marker is {what}", put(".meta/commit.json", how), COMMITTED, _MARKER_SAYS.get(what, _MOVED)),
            Case(f"temporary is {what}", put(".meta/.commit.json.0.tmp", how), COMMITTED),
        ]
    return cases


def _kept() -> list[Case]:
    """Each object in place of a failed one's log: it is left out, and the dispatch is committed."""
    failure = fields(status="failed")
    return [
        *(
            Case(
                f"a failed one's log is {what}",
                both(failure, put(".meta/agent.log", how)),
                COMMITTED,
                "" if what == "sparse gigabytes" else cause,
            )
            for what, how, cause in OBJECTS
        ),
        Case(
            "a failed one's log holds escapes", both(failure, put(".meta/a.log", content(ESCAPES.encode()))), COMMITTED
        ),
        Case("2000 logs", both(failure, crowd_of_logs), COMMITTED, "more than is kept of one dispatch; not kept (and "),
        Case(
            "a write lease on a log",
            both(failure, put(".meta/agent.log", content(b"x"))),
            COMMITTED,
            "is leased",
            "",
            _LEASE.format(name=".meta/agent.log"),
        ),
    ]


def _broken() -> list[Case]:
    cases = []
    for what, data, cause in CONTENTS:
        torn = "" if not data else "torn last line"
        cases += [
            Case(f"status holds {what}", status(data), FAILED, cause),
            Case(f"report holds {what}", report(data), COMMITTED, "committed without the report"),
            Case(f"journal holds {what}", journal(data), COMMITTED, torn),
            Case(f"journal line holds {what}", journal(data + b"\n"), COMMITTED, "1 invalid line"),
            Case(f"marker holds {what}", put(".meta/commit.json", content(data)), COMMITTED, "moved to commit.json."),
        ]
    return cases


def _wrong() -> list[Case]:
    return [
        *(Case(f"wrong type {n}", fields(**values), FAILED, "status.json: ") for n, values in enumerate(WRONG_STATUS)),
        *(Case(f"odd time {n}", fields(updated_at=text), FAILED, "updated_at ") for n, text in enumerate(ODD_TIMES)),
        *(Case(f"odd start {n}", fields(started_at=text), FAILED, "started_at ") for n, text in enumerate(ODD_TIMES)),
        *(Case(f"odd report {n}", report(json.dumps(r).encode()), COMMITTED) for n, r in enumerate(WRONG_REPORTS)),
        *(Case(f"named with {what}", nothing, wanted, s, os.fsdecode(name)) for what, name, wanted, s in NAMES),
    ]


_SWAP = """
import os
while True:
    os.rename(".meta", "was")
    os.symlink({target!r}, ".meta")
    os.unlink(".meta")
    os.rename("was", ".meta")
"""
_LEASE = """
import fcntl, os, signal
signal.signal(signal.SIGIO, signal.SIG_IGN)
held = os.open({name!r}, os.O_RDWR)
fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
"""
_REWRITE = """
import os
while True:
    for text in (b"", b"{", b"\\0" * 65536, b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z"}'):
        with open(".meta/new", "wb") as file:
            file.write(text)
        os.rename(".meta/new", ".meta/status.json")
"""
_LOCK = "import fcntl, os\nheld = os.open('.meta', os.O_RDONLY)\nfcntl.flock(held, fcntl.LOCK_EX)\n"
_READY = "open('ready', 'w').close()\n"

CASES: tuple[Case, ...] = (
    *_replaced(),
    *_kept(),
    *_broken(),
    *_wrong(),
    # directories
    Case(".meta is a symlink", put(".meta", link("victims")), FAILED, ".meta: is a symbolic link"),
    Case(".meta beside a status is a symlink", beside(put(".meta", link("victims"))), FAILED, "is a symbolic link"),
    Case(".meta beside a status is a loop", beside(meta_loop), FAILED, ".meta: is a symbolic link"),
    Case(".meta beside a status dangles", beside(put(".meta", link("nowhere"))), FAILED, "is a symbolic link"),
    Case(".meta is a loop", meta_loop, UNSEEN),
    Case(".meta beside a status is a file", beside(put(".meta", content(b"x"))), FAILED, ".meta: is not a directory"),
    Case(".meta beside a status is a FIFO", beside(put(".meta", lambda p, _: os.mkfifo(p))), FAILED, "not a directory"),
    Case("the workspace is a symlink", replaced_by_link("victims"), UNSEEN),
    Case("the workspace is a loop", replaced_by_link(""), UNSEEN),
    Case("2000 directories deep", deep_tree, UNSEEN),
    Case("2000 files in .meta", crowd, COMMITTED),
    # what a status can say
    Case("duplicate keys", status(json.dumps(SOUND)[:-1].encode() + b',"runs":1,"runs":2}'), COMMITTED),
    Case("unknown fields", fields(x={"y": [1, ESCAPES]}, workspace="../../etc", committed_at="never"), COMMITTED),
    Case("escapes in every text", fields(**dict.fromkeys(TEXTS[:8], ESCAPES)), COMMITTED),
    Case("paths in every text", fields(**dict.fromkeys(TEXTS[:8], "../" * 50 + "etc/passwd")), COMMITTED),
    Case("a text of almost 1 MiB", fields(question="q" * ((1 << 20) - 200)), COMMITTED),
    Case("a text of 1 MiB", fields(question="q" * (1 << 20)), FAILED, "over the limit of"),
    Case("a text of 4-byte characters", fields(task="\U0001f680" * 50_000), COMMITTED),
    Case("a status that is an essay", fields(status="x" * 100_000), UNSEEN),
    Case("the pid of init", fields(pid=1, status="completed"), COMMITTED),
    Case("the largest numbers", fields(runs=2**63 - 1, issue=-(2**63), pid=2**63 - 1), COMMITTED),
    Case("the last instant", fields(updated_at="9999-12-31T23:59:59.999999999Z"), COMMITTED),
    Case("the zero time", fields(updated_at="0001-01-01T00:00:00Z"), COMMITTED),
    # forgeries
    Case("a forged marker", forged_marker, COMMITTED),
    Case("a marker of another workspace", foreign_marker, COMMITTED),
    Case("a marker of 64 KiB and one byte", put(".meta/commit.json", sparse(65_537)), COMMITTED, "over the limit of"),
    Case("forged lines", own_lines(100), COMMITTED),
    Case("lines of another", journal(line(workspace="neighbour/repo/0", runs=7) * 50), COMMITTED, "50 lines name an"),
    Case("lines with paths", journal(line(workspace="../neighbour/repo/0") * 3), COMMITTED, "3 lines name another"),
    Case("lines with escapes", own_lines(3, task=ESCAPES, question=ESCAPES), COMMITTED),
    Case(
        "lines of wrong types",
        journal(line(workspace=1) + line(runs="x") + line(report=1)),
        COMMITTED,
        "2 invalid lines",
    ),
    Case("newlines only", journal(b"\n" * 9_000), COMMITTED, "9000 invalid lines"),
    Case("newlines without end", journal(b"\n" * 200_000), FAILED, "more than 10,000 lines"),
    Case("a line too long", put(".meta/journal.jsonl", sparse(20 << 20)), COMMITTED, "torn last line of 20971520"),
    # changed while we look
    Case("a write lease on the status", nothing, FAILED, "is leased", "", _LEASE.format(name=".meta/status.json")),
    Case(
        "a write lease on the journal", journal(b""), FAILED, "is leased", "", _LEASE.format(name=".meta/journal.jsonl")
    ),
    Case(
        ".meta swapped for a symlink",
        nothing,
        EITHER,
        "",
        "",
        _READY + _SWAP.format(target="../../../../outside/victims"),
    ),
    Case("a status rewritten all the time", nothing, EITHER, "", "", _READY + _REWRITE),
)
HELD = Case("a held flock", nothing, FAILED, "is held", "", _LOCK + _READY + FOREVER)
"""Apart from the others: `--once` waits ten seconds for it."""


def meanwhile(case: Case) -> str:
    """What the other process runs; it makes a file `ready` in the workspace once it has what it wants."""
    return case.meanwhile if _READY in case.meanwhile else case.meanwhile + _READY + FOREVER
