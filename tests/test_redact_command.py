"""`redact`: afterwards no byte of the secret is in the history or in a journal, and nothing else has changed."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import Service
from support import CAP_CHOWN, NOBODY, Host, environment, held_lock, make, query, run

from agentic_watch.config import Limits
from agentic_watch.exchange import redacting_journals
from agentic_watch.exchange.redacting_journals import RedactedJournals, redact_journals
from agentic_watch.workspace import files, journal_rewrite, undo
from agentic_watch.workspace.redactor import Redactor
from agentic_watch.workspace.workspace_errors import Busy

SECRET = "correct horse battery staple"
TOKEN = "ghp_" + "Ab3" * 12
TEXTS = {"task": f"log in with {SECRET}", "question": f"is {SECRET} still good?", "agent": f"codex:{SECRET}"}
REPORT = {
    "findings": [{"tool": "x", "message": f"leaks {SECRET}", "file": f"{SECRET}.py"}],
    "changes": {"files_changed": 1, "files": [f"src/{SECRET}.py"]},
    "usage": {"session_id": SECRET, "models": ["m"]},
}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host that has recorded the secret three times, and three dispatches without it."""
    made = Host.make(tmp_path)
    for number in range(3):
        make(made.root, f"org/repo/leaky-{number}", report=REPORT, status="blocked", **TEXTS)
        make(made.root, f"org/repo/plain-{number}", report={"passed": True}, task=f"task {number}")
    made.once()
    assert SECRET.encode() in recorded(made)
    return made


def recorded(host: Host) -> bytes:
    """All bytes of the history, its logs and the files beside it, and of the journals."""
    beside = [path for path in host.history.parent.iterdir() if path.is_file()]
    return b"\0".join(path.read_bytes() for path in [*beside, *host.root.rglob("journal.jsonl*")])


def secret_file(host: Host, *lines: str) -> str:
    """A file for --text-file."""
    path = host.base / "leaked"
    path.write_text("\n".join(lines or [SECRET]) + "\n")
    return str(path)


def redact(host: Host, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `redact`."""
    return run([*host.arguments(), "redact", *(options or ["--text-file", secret_file(host)])], host.base)


def test_no_byte_is_left(host: Host) -> None:
    """Not in rows, findings, search, index, log or free pages of the history, nor in a journal; the rest stays."""
    plain = (host.root / "org/repo/plain-1/.meta/journal.jsonl").read_bytes()
    before = host.query("SELECT commit_id, committed_at, updated_utc FROM dispatch_history ORDER BY id")
    result = redact(host)
    assert result.returncode == 0
    assert SECRET not in result.stdout + result.stderr
    assert result.stdout.startswith("3 commits, 3 findings, 0 kept files, 3 lines of 3 journals redacted")
    assert SECRET.encode() not in recorded(host)
    after = host.query("SELECT commit_id, committed_at, updated_utc FROM dispatch_history ORDER BY id")
    assert [tuple(row) for row in after] == [tuple(row) for row in before]
    assert (host.root / "org/repo/plain-1/.meta/journal.jsonl").read_bytes() == plain
    row = host.rows()["org/repo/leaky-1"]
    assert (row["task"], row["session_id"]) == ("log in with [redacted:text]", "[redacted:text]")
    assert json.loads(row["report"])["changes"]["files"] == ["src/[redacted:text].py"]
    assert run([*host.arguments(), "history", "battery", "--json"], host.base).stdout.count("leaky") == 0
    assert "battery" not in run([*host.arguments(), "export"], host.base).stdout
    assert query(host.history, "PRAGMA integrity_check")[0][0] == "ok"
    assert "the search index matches the rows" in run([*host.arguments(), "check"], host.base).stdout


def test_nothing_comes_back(host: Host) -> None:
    """Not by another pass, though the status files have it still, nor from the journals into a lost history."""
    redact(host)
    assert host.once().counts == {"scanned": 6, "skipped": 6}
    assert SECRET.encode() not in recorded(host)
    host.forget_history()
    again = host.once()
    assert again.counts == {"scanned": 6, "skipped": 6, "recovered_rows": 6}
    assert again.stderr == ""
    assert SECRET.encode() not in recorded(host)


def test_a_second_time_changes_nothing(host: Host) -> None:
    """What was redacted is found no more; the journals are not even touched."""
    redact(host)
    journal = host.root / "org/repo/leaky-0/.meta/journal.jsonl"
    before = journal.stat()
    result = redact(host, "--text-file", secret_file(host), "--json")
    counts = {key: value for key, value in json.loads(result.stdout).items() if key.endswith("_count")}
    assert set(counts.values()) == {0}
    assert (journal.stat().st_ino, journal.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_dry_run_only_counts(host: Host) -> None:
    """The same numbers, no change, and no secret in what is printed."""
    before = {path: path.read_bytes() for path in host.root.rglob("journal.jsonl")}
    result = redact(host, "--text-file", secret_file(host), "--dry-run", "--json")
    document = json.loads(result.stdout)
    assert (document["dry_run"], document["commits_count"], document["findings_count"]) == (True, 3, 3)
    assert (document["journals_count"], document["lines_count"]) == (3, 3)
    assert {left["where"].rpartition("/")[2] for left in document["left"]} >= {"status.json", "report.json"}
    assert SECRET not in result.stdout + result.stderr
    assert {path: path.read_bytes() for path in host.root.rglob("journal.jsonl")} == before
    assert host.rows()["org/repo/leaky-0"]["task"] == TEXTS["task"]


def test_free_pages_are_gone(host: Host) -> None:
    """What was deleted from the history before is in none of its bytes afterwards."""
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM dispatch_history WHERE workspace LIKE '%leaky%'")
        connection.execute("DELETE FROM workspaces")
    assert SECRET.encode() in host.history.read_bytes()
    redact(host)
    assert SECRET.encode() not in recorded(host)


def test_a_workspace_that_is_named_by_a_secret(tmp_path: Path) -> None:
    """Its name stays, since it says which commit it is; that is said without it."""
    host = Host.make(tmp_path)
    make(host.root, f"org/repo/{TOKEN}")
    host.once()
    result = redact(host, "--built-in")
    assert "not changed: the names of 1 workspace:" in result.stderr
    assert TOKEN not in result.stdout + result.stderr
    assert host.once().counts == {"scanned": 1, "skipped": 1}


def test_kept_files(host: Host) -> None:
    """A kept file is as it was but for the secret."""
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        content = zlib.compress(f"line\n{SECRET} \udcff\n".encode("utf-8", "surrogateescape"))
        (number,) = connection.execute("SELECT min(id) FROM dispatch_history").fetchone()
        connection.execute("INSERT INTO kept_files VALUES (?, 'agent.log', 40, 7, ?)", (number, content))
    assert "1 kept file," in redact(host).stdout
    row = host.query("SELECT * FROM kept_files")[0]
    assert zlib.decompress(row["content"]) == b"line\n[redacted:text] \xff\n"
    assert (row["bytes"], row["kept_from"]) == (40, 7)


def test_by_pattern_and_by_what_is_built_in(tmp_path: Path) -> None:
    """--pattern takes out its matches; without an option all that new records leave out goes."""
    host = Host.make(tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(f"[[roots]]\npath = '{host.root}'\n[redact]\nenabled = false\n")
    make(host.root, task=f"{TOKEN} and itk-1234")
    run(["--config", str(config), "--history", str(host.history), "--once"], host.base)
    assert redact(host, "--pattern", "itk-[0-9]+").returncode == 0
    assert host.rows()["org/repo/task"]["task"] == f"{TOKEN} and [redacted:pattern]"
    assert redact(host, "--built-in").returncode == 0
    assert host.rows()["org/repo/task"]["task"] == "[redacted:github-token] and [redacted:pattern]"
    assert TOKEN.encode() not in recorded(host)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--pattern", "("], "is not a valid regular expression"),
        (["--pattern", "x*"], "matches the empty text"),
        (["--pattern", "x", "--built-in"], "exclude each other"),
        (["--text-file", "/nowhere"], "cannot be read: No such file"),
        (["--text-file", "SHORT"], "line 2 has fewer than 6 characters"),
        (["--text-file", "EMPTY"], "is empty"),
    ],
)
def test_what_cannot_be_looked_for(tmp_path: Path, options: list[str], problem: str) -> None:
    """A usage error says why, and repeats no secret."""
    host = Host.make(tmp_path)
    (tmp_path / "SHORT").write_text("long enough\nabc\n")
    (tmp_path / "EMPTY").write_text("\n")
    result = redact(host, *(str(tmp_path / one) if one.isupper() else one for one in options))
    assert result.returncode == 2
    assert problem in result.stderr
    assert "abc" not in result.stderr


def test_without_a_history(tmp_path: Path) -> None:
    """None is made."""
    host = Host.make(tmp_path)
    result = redact(host, "--built-in")
    assert (result.returncode, host.history.exists()) == (1, False)
    assert "no history" in result.stderr


def test_beside_a_daemon(host: Host) -> None:
    """It waits for none: it says that the daemon must stop, and a dry run needs not even that."""
    with Service(host):
        refused = redact(host)
        assert refused.returncode == 75
        assert "stop it before redacting" in refused.stderr
        assert redact(host, "--text-file", secret_file(host), "--dry-run").returncode == 0
    assert redact(host).returncode == 0
    assert SECRET.encode() not in recorded(host)


def test_only_lines_that_change(tmp_path: Path) -> None:
    """Other lines, of whatever program, and a torn last one stay byte for byte; so do mode and order."""
    host = Host.make(tmp_path)
    workspace = make(host.root, **TEXTS)
    host.once()
    mine = workspace.journal.read_bytes()
    theirs = mine.replace(SECRET.encode(), b"nothing \\u003c&\\u003e").replace(b'"runs":0', b'"runs": 7')
    other = b'{"not": "a record", "text": "' + SECRET.encode() + b'"}\n'
    broken = b"no JSON, " + SECRET.encode() + b"\n"
    double = mine.replace(b'{"agent"', b'{"task":"' + SECRET.encode() + b'","agent"')
    workspace.journal.write_bytes(theirs + mine + b"   \n" + other + broken + double + theirs + b'{"torn": "')
    workspace.journal.chmod(0o640)
    result = redact(host)
    lines = workspace.journal.read_bytes().split(b"\n")
    assert lines[0] + b"\n" == theirs == lines[6] + b"\n"
    assert lines[2] == b"   "
    assert lines[-1] == b'{"torn": "'
    assert json.loads(lines[1])["task"] == "log in with [redacted:text]"
    assert lines[4] == b"no JSON, [redacted:text]"
    assert SECRET.encode() not in workspace.journal.read_bytes()
    assert workspace.journal.stat().st_mode & 0o777 == 0o640
    assert os.listdir(workspace.meta).count("journal.jsonl") == 1
    assert "4 lines of 1 journal redacted" in result.stdout


def test_a_torn_line_with_the_secret_is_named(tmp_path: Path) -> None:
    """It may yet be in the making: it is left, and said."""
    host = Host.make(tmp_path)
    workspace = make(host.root, task="t")
    host.once()
    with workspace.journal.open("ab") as file:
        file.write(b'{"task":"' + SECRET.encode())
    result = redact(host)
    assert "its torn last line" in result.stderr
    assert workspace.journal.read_bytes().endswith(SECRET.encode())


def test_planted_journals(host: Host) -> None:
    """A link is never followed and a second name never written through; each is named, the others are done."""
    victim = host.base / "victim"
    victim.write_text(SECRET)
    linked, doubled = (host.root / f"org/repo/leaky-{number}/.meta/journal.jsonl" for number in (0, 1))
    linked.unlink()
    linked.symlink_to(victim)
    os.link(doubled, host.base / "second name")
    result = redact(host)
    assert result.returncode == 3
    assert result.stderr.count("failed: ") == 2
    assert victim.read_text() == SECRET
    assert SECRET in doubled.read_text()
    assert SECRET not in (host.root / "org/repo/leaky-2/.meta/journal.jsonl").read_text()
    assert SECRET.encode() not in host.history.read_bytes()


def test_what_is_out_of_reach_is_named(host: Host) -> None:
    """Status files, archives, old copies and targets, each with what to do there."""
    archive = f"{host.history}.pruned-20260101T000000Z.jsonl"
    Path(archive).write_text(json.dumps({"task": SECRET}) + "\n")
    Path(f"{host.history}.backup-v2-20260101T000000Z").write_text("")
    config = host.base / "config.toml"
    config.write_text(
        f"[[roots]]\npath = '{host.root}'\n[[push]]\nname = 'fleet'\nkind = 'postgres'\n"
        "[[push]]\nname = 'web'\nkind = 'http'\nurl = 'https://h.example'\n"
        "[[hooks]]\non = ['blocked']\ncommand = ['/x']\n"
    )
    arguments = ["--config", str(config), "--history", str(host.history), "redact", "--json"]
    document = json.loads(run([*arguments, "--text-file", secret_file(host)], host.base).stdout)
    left = {one["where"]: one["next_step"] for one in document["left"]}
    leaky = host.query("SELECT commit_id FROM dispatch_history WHERE workspace LIKE '%leaky%'")
    assert "recreate it" in left[archive]
    assert "rm " in left[f"{host.history}.backup-v2-20260101T000000Z"]
    assert all(row["commit_id"] in left["[[push]] fleet (3 commits)"] for row in leaky)
    assert "DELETE FROM dispatches WHERE host_id = '" in left["[[push]] fleet (3 commits)"]
    assert "[[push]] web (3 commits)" in left
    assert "[[hooks]] /x" in left
    assert f"{host.root}/org/repo/leaky-0/.meta/status.json" in left


STEPS = (
    "agentic_watch.workspace.files.replace",
    "agentic_watch.workspace.files.sync",
    "agentic_watch.exchange.redacting._redact_some",
    "agentic_watch.exchange.slices.Slices.pause",
    "agentic_watch.exchange.redacting.clean",
    "agentic_watch.exchange.redacting._empty_log",
)
_KILLED = """
import os, sys
from agentic_watch.cli import command_line
module, _, name = sys.argv.pop(1).rpartition(".")
owner, _, last = module.rpartition(".")
import importlib
try:
    place = importlib.import_module(module)
except ImportError:
    place = getattr(importlib.import_module(owner), last)
setattr(place, name, lambda *_, **__: os._exit(9))
sys.exit(command_line.run())
"""


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(host: Host, step: str) -> None:
    """Killed there and run again it is as if it had never been killed; nothing is lost and no file is left."""
    arguments = [*host.arguments(), "redact", "--text-file", secret_file(host)]
    killed = [sys.executable, "-c", _KILLED, step, *arguments]
    assert subprocess.run(killed, env=environment(host.base), capture_output=True, check=False).returncode == 9
    assert redact(host).returncode == 0
    assert SECRET.encode() not in recorded(host)
    assert host.once().counts == {"scanned": 6, "skipped": 6}
    assert not list(host.root.rglob("*.tmp"))
    assert len(host.rows()) == 6
    assert all(len(path.read_bytes().splitlines()) == 1 for path in host.root.rglob("journal.jsonl"))


def test_interrupted(host: Host) -> None:
    """Ctrl-C ends it with one line of what was done; the next run does the rest."""
    interrupting = _KILLED.replace(
        "lambda *_, **__: os._exit(9)", "lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)"
    )
    arguments = [*host.arguments(), "redact", "--text-file", secret_file(host)]
    stopped = [sys.executable, "-c", interrupting, "agentic_watch.exchange.redacting._redact_some", *arguments]
    result = subprocess.run(stopped, env=environment(host.base), capture_output=True, check=False, text=True)
    assert result.returncode == 130
    assert "interrupted: 3 journal lines and 0 rows are done; run it again for the rest" in result.stderr
    assert redact(host).returncode == 0
    assert SECRET.encode() not in recorded(host)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_owner_of_a_journal_stays(host: Host) -> None:
    """Root gives the new file to the old one's owner; who cannot leaves the journal as it is, and says so."""
    journal = host.root / "org/repo/leaky-0/.meta/journal.jsonl"
    before = journal.read_bytes()
    os.chown(journal, NOBODY, NOBODY)
    arguments = [*host.arguments(), "redact", "--text-file", secret_file(host)]
    refused = run(arguments, host.base, lacking=[CAP_CHOWN])
    assert refused.returncode == 1
    assert "belongs to another user" in refused.stderr
    assert journal.read_bytes() == before
    assert run(arguments, host.base).returncode == 0
    assert (journal.stat().st_uid, journal.stat().st_gid) == (NOBODY, NOBODY)
    assert SECRET.encode() not in recorded(host)


def test_a_held_workspace_is_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for ever: then it is a failure that is named, and the others are done."""
    monkeypatch.setattr(redacting_journals, "_PATIENCE_SECONDS", 0.2)
    done = RedactedJournals()
    with held_lock(host.root / "org/repo/leaky-1/.meta"):
        redact_journals(
            host.config(), Redactor([("text", SECRET)], built_in=False), done, lambda _: None, dry_run=False
        )
    assert (done.journals, len(done.failed)) == (2, 1)
    assert "leaky-1" in done.failed[0]


@contextlib.contextmanager
def opened(host: Host) -> Iterator[int]:
    """The `.meta` of a workspace."""
    descriptor = os.open(host.root / "org/repo/leaky-0/.meta", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_journal_that_another_program_has_open(host: Host) -> None:
    """Whoever has it open may append to it: it is tried again later, and as it was."""
    journal = host.root / "org/repo/leaky-0/.meta/journal.jsonl"
    before = journal.read_bytes()
    with opened(host) as meta, journal.open("ab"), pytest.raises(Busy):
        journal_rewrite.rewrite(meta, Limits(), Redactor([("text", SECRET)]), dry_run=False)
    assert journal.read_bytes() == before
    assert os.listdir(journal.parent).count("journal.jsonl") == 1
    assert not [name for name in os.listdir(journal.parent) if name.endswith(".tmp")]


def test_what_is_appended_meanwhile_is_brought_over(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no lease can be had, somebody may append to the old file until it is replaced."""
    journal = host.root / "org/repo/leaky-0/.meta/journal.jsonl"
    os.utime(journal, (1, 1))

    @contextlib.contextmanager
    def alone(_: int) -> Iterator[None]:
        yield None

    replace = files.replace

    def append_and_replace(*arguments: object) -> None:
        with journal.open("ab") as file:
            file.write(b'{"late":1}\n')
        replace(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(undo, "alone", alone)
    monkeypatch.setattr(undo, "REST_SECONDS", 0.0)
    monkeypatch.setattr(files, "replace", append_and_replace)
    with opened(host) as meta:
        journal_rewrite.rewrite(meta, Limits(), Redactor([("text", SECRET)]), dry_run=False)
    assert journal.read_bytes().endswith(b'{"late":1}\n')
    assert len(journal.read_bytes().splitlines()) == 2
    assert SECRET.encode() not in journal.read_bytes()
