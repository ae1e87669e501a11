"""The attack catalogue, played against the real program: no hang, no crash, nothing outside touched or told."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from attack_cases import CASES, COMMITTED, EITHER, FAILED, HELD, SECRET, SOUND, UNSEEN, Case, Ground, line, meanwhile
from daemon_support import Service
from support import Host, Once, Workspace, command, environment, make, snapshot, wait_for

from agentic_watch.commit.committer import Committer
from agentic_watch.commit.outcome import Verdict
from agentic_watch.history.store import History
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.workspace.jsontext import text_size

RUNS = 2
MEMORY_MIB = 200
DEADLINE_SECONDS = 300
MIB = 1 << 20

# ru_maxrss of a child begins with its parent's size: so a small process stands between.
_MEASURE = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss // 1024, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """A run of `--once` and its peak memory in MiB."""

    once: Once
    peak: int

    @property
    def log(self) -> list[str]:
        return self.once.stderr.splitlines()


def measured(host: Host) -> Measured:
    """Run `--once --json` to its end, which has to come in time and without a traceback."""
    arguments = [
        sys.executable,
        "-S",
        "-c",
        _MEASURE,
        *map(os.fsdecode, command([*host.arguments(), "--once", "--json"])),
    ]
    process = subprocess.Popen(
        arguments,
        env=environment(host.base),
        cwd=host.base,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert "Traceback" not in err, err[-2000:]
    log, _, peak = err.rstrip("\n").rpartition("\n")
    return Measured(Once(process.returncode, json.loads(out), log), int(peak))


def make_outside(base: Path) -> Path:
    """What lies outside the root: a secret, a victim, a FIFO and a directory that looks like a `.meta`."""
    outside = base / "outside"
    (outside / "victims").mkdir(parents=True)
    (outside / "secret.txt").write_text(json.dumps({**SOUND, "task": SECRET, "question": SECRET}))
    (outside / "victim.txt").write_text(json.dumps(SOUND) + "\n")
    (outside / "victims/status.json").write_text(json.dumps({**SOUND, "task": SECRET}))
    os.mkfifo(outside / "pipe")
    return outside


def plant(host: Host, cases: Iterable[Case]) -> Path:
    """Plant every case, and three honest neighbours; gives the directory outside."""
    outside = make_outside(host.base)
    for case in cases:
        workspace = make(host.root, case.workspace)
        case.plant(Ground(workspace, outside))
    for number in range(3):
        make(host.root, f"neighbour/repo/{number}", report={"findings": [{"message": "honest"}]})
    return outside


def neighbours(host: Host) -> list[Workspace]:
    return [Workspace(host.root, f"neighbour/repo/{number}") for number in range(3)]


@contextlib.contextmanager
def tormented(host: Host, cases: Iterable[Case]) -> Iterator[None]:
    """Have the cases' other processes at work."""
    running = []
    try:
        for case in cases:
            if case.meanwhile:
                directory = host.root / case.workspace
                running.append(subprocess.Popen([sys.executable, "-S", "-c", meanwhile(case)], cwd=directory))
                wait_for((directory / "ready").exists)
        yield
        assert all(process.poll() is None for process in running)
    finally:
        for process in running:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class Attacked:
    """A host with the whole catalogue after three runs."""

    host: Host
    outside: Path
    untouched: dict[str, tuple[Any, ...]]
    runs: list[Measured]
    entries: list[dict[str, int]]


def entries(host: Host) -> dict[str, int]:
    """The size of each regular file in a `.meta` of the catalogue that no other process changes."""
    found = {}
    for case in CASES:
        meta = host.root / case.workspace / ".meta"
        if case.meanwhile or meta.is_symlink() or meta.parent.is_symlink() or not meta.is_dir():
            continue
        for path in meta.iterdir():
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(host.root))] = path.stat().st_size
    return found


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """The catalogue in one tree, and three runs over it."""
    host = Host.make(tmp_path_factory.mktemp("attack"))
    outside = plant(host, CASES)
    untouched = snapshot(outside)
    runs, sizes = [], []
    with tormented(host, CASES):
        for _ in range(RUNS):
            runs.append(measured(host))
            sizes.append(entries(host))
    yield Attacked(host, outside, untouched, runs, sizes)
    # pytest's own removal recurses, and the deepest tree is deeper than Python.
    subprocess.run(["rm", "-rf", host.root / "attack"], check=True)


def printed(case: Case) -> str:
    """The workspace's name as the program prints it."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in case.workspace
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_attack_ends_as_wanted(attacked: Attacked, case: Case) -> None:
    """The outcome of the catalogue's line, in the first run and in every later one."""
    name, rows = printed(case), attacked.host.query("SELECT * FROM dispatch_history WHERE workspace = ?", printed(case))
    causes = [run.once.failures.get(name) for run in attacked.runs]
    workspace = Workspace(attacked.host.root, case.workspace)
    if case.wanted == FAILED:
        assert all(cause is not None and case.says in cause for cause in causes), causes
        assert not rows
        return
    if case.wanted == EITHER:
        assert len(rows) <= 1
        assert len(workspace.lines() if workspace.journal.exists() else []) <= 1
        return
    assert causes == [None] * RUNS
    if case.wanted == UNSEEN:
        assert not rows
        return
    assert case.wanted == COMMITTED
    said = [line.partition(f" {name}: ")[2] for line in attacked.runs[0].log if f" {name}: " in line]
    assert any(case.says in words for words in said) if case.says else not said, said
    assert workspace.mark()["workspace"] == name
    identity = workspace.mark()["updated_at"], workspace.mark()["runs"]
    assert [(row["updated_at"], row["runs"]) for row in rows].count(identity) == 1
    lines = [json.loads(text) for text in workspace.journal.read_bytes().splitlines() if identity[0].encode() in text]
    assert [(one["updated_at"], one["runs"]) for one in lines if one.get("workspace") == name].count(identity) == 1


def test_honest_neighbours_are_committed_by_the_first_run(attacked: Attacked) -> None:
    """No attack costs another workspace its record, or adds to it."""
    for workspace in neighbours(attacked.host):
        assert workspace.line()["updated_at"] == workspace.mark()["updated_at"]
        rows = attacked.host.query("SELECT findings_count FROM dispatch_history WHERE workspace = ?", workspace.name)
        assert [tuple(row) for row in rows] == [(1,)]
    names = {workspace.name for workspace in neighbours(attacked.host)}
    assert not any(names & run.once.failures.keys() for run in attacked.runs)


def test_nothing_outside_is_changed(attacked: Attacked) -> None:
    """Every victim keeps its bytes, its mtime and its place, and every directory its listing."""
    assert snapshot(attacked.outside) == attacked.untouched


def test_no_secret_is_told(attacked: Attacked) -> None:
    """What links lead to appears in no line, no marker, no row and no log."""
    with contextlib.closing(sqlite3.connect(attacked.host.history)) as connection:
        assert SECRET not in "\n".join(connection.iterdump())
        kept = [zlib.decompress(content) for (content,) in connection.execute("SELECT content FROM kept_files")]
    assert kept and not any(SECRET.encode() in content for content in kept)
    assert not any(SECRET in run.once.stderr or SECRET in json.dumps(run.once.summary) for run in attacked.runs)
    for name in attacked.entries[-1]:
        path = attacked.host.root / name
        if path.stat().st_nlink == 1 and path.stat().st_size < MIB:
            assert SECRET.encode() not in path.read_bytes(), name


def test_the_log_is_clean(attacked: Attacked) -> None:
    """One printable line of bounded length for each thing said, on stderr and in the summary."""
    for run in attacked.runs:
        said = [*run.log, *(text for failure in run.once.summary["failures"] for text in failure.values())]
        assert said
        assert [text for text in said if not text.isprintable() or len(text) > 1000] == []


def test_retries_write_nothing(attacked: Attacked) -> None:
    """After the first run no file of any attacked workspace grows or appears."""
    first, *later = attacked.entries
    assert len(first) > len(CASES)
    assert all(sizes == first for sizes in later)


def test_memory_stays_flat(attacked: Attacked) -> None:
    """The catalogue as a whole is judged in bounded memory."""
    assert max(run.peak for run in attacked.runs) < MEMORY_MIB


def memory_of(pid: int) -> int:
    """A process's peak memory so far in MiB (VmHWM, proc(5))."""
    for text in Path(f"/proc/{pid}/status").read_text().splitlines():
        if text.startswith("VmHWM:"):
            return int(text.split()[1]) // 1024
    raise AssertionError("no VmHWM")


def test_the_daemon_stands_all_of_it(host: Host) -> None:
    """Under the whole catalogue at once the daemon commits what is honest in time, stays small, and ends as told."""
    cases = [*CASES, HELD]
    outside = plant(host, cases)
    untouched = snapshot(outside)
    late = make(host.root, "neighbour/repo/late", status="running")
    with tormented(host, cases), Service(host) as service:
        service.wait_committed(*neighbours(host), seconds=60)
        late.write_status()
        service.wait_committed(late)
        assert memory_of(service.pid) < MEMORY_MIB
        assert service.stop() == 0
        log = service.log()
    assert snapshot(outside) == untouched
    assert SECRET not in log
    assert all(text.isprintable() for text in log.split("\n"))
    subprocess.run(["rm", "-rf", host.root / "attack"], check=True)


def test_a_workspace_whose_name_is_no_text_fails_only_while_it_is_there(host: Host) -> None:
    """It is refused by name, and once removed it is forgotten like any other, by the index too."""
    workspace = make(host.root, os.fsdecode(b"org/repo/\xff"))
    with contextlib.closing(History(str(host.history))) as history:
        committer, last_seen = Committer(host.config(), history), LastSeen(history)
        refused = committer.commit(host.candidate(workspace.name))
        assert (refused.verdict, refused.cause) == (Verdict.FAILED, "the name is not UTF-8")
        last_seen.note(refused, 0.0)
        assert len(last_seen.failing) == 1
        shutil.rmtree(workspace.path)
        last_seen.note(committer.commit(host.candidate(workspace.name)), 1.0)
        assert not last_seen.failing
        last_seen.flush()
        committer.close()


def test_the_index_keeps_only_the_beginning_of_a_huge_text(host: Host) -> None:
    """The index of many workspaces is held in memory, and a status may be 1 MiB of one text; the record is whole."""
    make(host.root, question="q" * 900_000)
    host.once()
    assert host.query("SELECT length(question) FROM workspaces")[0][0] < 5000
    assert host.query("SELECT length(question) FROM dispatch_history")[0][0] == 900_000


@pytest.mark.parametrize("text", ["a", "é", "ÿ", "Ā", "€", "\U0001f680"])
def test_the_memory_of_a_text_is_known_from_its_bytes(text: str) -> None:
    """PEP 393: one wide character widens all the others."""
    for whole in (text * 1000, "a" * 10_000 + text):
        header = sys.getsizeof(whole[-1] * 2) - 2 * (sys.getsizeof(whole[-1] * 3) - sys.getsizeof(whole[-1] * 2))
        assert text_size(whole.encode()) == pytest.approx(sys.getsizeof(whole) - header, abs=8)


# --- what is made to cost memory and time

_LIMIT = 8 * MIB
_ROCKET = "\U0001f680".encode()


def _message(body: bytes) -> bytes:
    return b'{"findings":[{"message":"' + body + b'"}]}'


def _list(items: Iterable[bytes]) -> bytes:
    return b'{"x":[' + b",".join(items) + b"]}"


REPORTS = {
    "one astral character": lambda: _message(b"x" * (_LIMIT - 100) + _ROCKET),
    "astral characters": lambda: _message(_ROCKET * (_LIMIT // 4 - 100)),
    "empty objects": lambda: b'{"findings":[' + b",".join([b"{}"] * 124_990) + b"]}",
    "small objects": lambda: b'{"findings":[' + b",".join([b'{"message":"ab"}'] * 124_990) + b"]}",
    "floats": lambda: _list([b"1e15"] * 249_990),
    "integers": lambda: _list(b"%d" % (2**40 + n) for n in range(249_990)),
    "texts": lambda: _list(b'"%06d%s%s"' % (n, _ROCKET, b"y" * 15) for n in range(249_980)),
    "keys": lambda: b'{"x":{' + b",".join(b'"%06d%s":{}' % (n, _ROCKET) for n in range(124_980)) + b"}}",
    "long keys": lambda: (
        b'{"findings":[{"x":{' + b",".join(b'"%06d%s%s":{}' % (n, _ROCKET, b"y" * 45) for n in range(124_980)) + b"}}]}"
    ),
    "escaped letters": lambda: _message(b"\\u0041" * ((_LIMIT - 200) // 6) + b"\\ud83d\\ude80"),
    "escaped NUL": lambda: _message(b"\\u0000" * ((_LIMIT - 200) // 6)),
}
_EVIL = "org/evil/task"


def _line(**values: Any) -> bytes:
    return line(workspace=_EVIL, **values)


JOURNALS = {
    "50 MB of newlines": lambda: b"\n" * (50 * MIB),
    "50 MB of empty objects": lambda: b"{}\n" * (50 * MIB // 3),
    "50 MB of nesting": lambda: (b"[" * 1000 + b"\n") * 50_000,
    "50 MB in one line": lambda: b"x" * (50 * MIB),
    "50 MB in one record": lambda: _line(report={"x": "y" * (50 * MIB)}),
    "50 MB of values": lambda: (_line(runs=1, report={"x": [{}] * 370_000}).replace(b" ", b"")) * 45,
    "250,000 own lines": lambda: b"".join(_line(runs=run) for run in range(250_000)),
    "250,000 lines of another": lambda: line(workspace="neighbour/repo/0") * 250_000,
    "16 MiB with one astral character": lambda: _line(report={"x": "y" * (16 * MIB)}).replace(b"yy", _ROCKET, 1),
    "16 MiB of astral characters": lambda: _line(report={"x": ""}).replace(b'""', b'"' + _ROCKET * (4 * MIB) + b'"'),
    "8 MiB with one astral character": lambda: _line(report={"x": "y" * (8 * MIB)}).replace(b"yy", _ROCKET, 1),
}


@pytest.fixture
def swollen(host: Host) -> Iterator[Host]:
    """A host that takes gigabytes: they go with the test."""
    yield host
    shutil.rmtree(host.base)


def assert_stands(host: Host, *, evil: int, runs: int = 2) -> None:
    """A run, and others that rebuild the history: small, and the neighbour committed by the first."""
    neighbour = make(host.root, "neighbour/repo/0")
    for _ in range(runs):
        host.forget_history()
        result = measured(host)
        assert result.peak < MEMORY_MIB
        assert len(result.once.failures) <= evil
        assert neighbour.line() and neighbour.mark()
        assert host.query("SELECT count(*) FROM dispatch_history WHERE workspace = ?", neighbour.name)[0][0] == 1


def plant_reports(host: Host, each: int, kinds: Iterable[str]) -> list[Workspace]:
    made = []
    for kind in kinds:
        body = REPORTS[kind]()
        assert len(body) <= _LIMIT
        for number in range(each):
            made.append(make(host.root, f"org/{kind.replace(' ', '-')}/{number}"))
            (made[-1].meta / "report.json").write_bytes(body)
    return made


def test_swollen_reports(swollen: Host, kinds: Iterable[str] = ("one astral character", "texts", "long keys")) -> None:
    """Reports just under the limit that swell in memory are committed, and read again from the journals."""
    made = plant_reports(swollen, 1, kinds)
    assert_stands(swollen, evil=0)
    assert all(workspace.mark()["workspace"] == workspace.name for workspace in made)


@pytest.mark.faults
def test_every_swollen_report(swollen: Host) -> None:
    """The same holds for every report of the list."""
    test_swollen_reports(swollen, REPORTS)


@pytest.mark.faults
@pytest.mark.parametrize("kind", REPORTS)
def test_64_swollen_reports_in_one_group(swollen: Host, kind: str) -> None:
    """A whole group of them is committed in bounded memory too."""
    made = plant_reports(swollen, 64, [kind])
    assert_stands(swollen, evil=0, runs=1)
    assert all(len(workspace.lines()) == 1 for workspace in made)


@pytest.mark.parametrize("kind", ["50 MB of newlines", "50 MB in one line"])
def test_a_swollen_journal(swollen: Host, kind: str) -> None:
    """A journal of tens of megabytes is read or refused in bounded time and memory, and does not grow by retries."""
    workspace = make(swollen.root, _EVIL, runs=7_777_777)
    workspace.journal.write_bytes(JOURNALS[kind]())
    assert_stands(swollen, evil=1)
    total = sum(path.stat().st_size for path in workspace.meta.iterdir())
    measured(swollen)
    assert sum(path.stat().st_size for path in workspace.meta.iterdir()) == total


@pytest.mark.faults
@pytest.mark.parametrize("kind", JOURNALS)
def test_every_swollen_journal(swollen: Host, kind: str) -> None:
    """The same holds for every journal of the list."""
    test_a_swollen_journal(swollen, kind)
