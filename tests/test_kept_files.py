"""What is kept of a dispatch's files: from its workspace into the history, and to whoever asks when that is gone."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from dispatch_support import dispatch
from support import POWERLESS, Host, Workspace, command, environment, make, run, wait_for

from agentic_watch.commit.committer import Committer
from agentic_watch.history.store import History

LOG = b"".join(b"line %02d\n" % number for number in range(30)) + b"ValueError: \x1b[31mtotals\x1b[0m differ\n"


def failed(host: Host, name: str = "org/repo/task", log: bytes = LOG, **fields: Any) -> Workspace:
    """A workspace whose dispatch failed, with a log as core-agent leaves it."""
    workspace = make(host.root, name, **{"status": "failed", **fields})
    (workspace.meta / "agent-codex.log").write_bytes(log)
    return workspace


def kept(host: Host, workspace: str = "org/repo/task") -> dict[str, tuple[int, int, bytes]]:
    """(bytes, kept_from, content) of each kept file of a workspace's commits."""
    rows = host.query(
        "SELECT k.name, k.bytes, k.kept_from, k.content FROM kept_files AS k JOIN dispatch_history AS d "
        "ON d.id = k.dispatch_id WHERE d.workspace = ? ORDER BY k.name",
        workspace,
    )
    return {row["name"]: (row["bytes"], row["kept_from"], zlib.decompress(row["content"])) for row in rows}


def configured(host: Host, text: str) -> list[str]:
    """The arguments for a configuration of this host with more in it."""
    path = host.base / "config.toml"
    path.write_text(f'[[roots]]\npath = "{host.root}"\n[history]\npath = "{host.history}"\n{text}\n')
    return ["--config", str(path)]


def show(host: Host, *options: str) -> subprocess.CompletedProcess[str]:
    return run([*host.arguments(), "show", "org/repo/task", *options], host.base)


def test_the_log_of_a_failure_is_in_the_history(host: Host) -> None:
    """With the row, in one transaction, and not in the journal."""
    workspace = failed(host)
    assert host.once().counts == {"scanned": 1, "committed": 1}
    assert kept(host) == {".meta/agent-codex.log": (len(LOG), 0, LOG)}
    assert b"ValueError" not in workspace.journal.read_bytes()
    assert "kept_files" not in workspace.line()


@pytest.mark.parametrize(("status", "is_kept"), [("rejected", True), ("blocked", True), ("completed", False)])
def test_whose_files_are_kept(host: Host, status: str, is_kept: bool) -> None:
    """By default those of dispatches that did not pass."""
    failed(host, status=status)
    host.once()
    assert bool(kept(host)) == is_kept


def test_the_configuration_says_what_is_kept(host: Host) -> None:
    """Other files, of every status, up to a size; an empty list keeps none."""
    workspace = make(host.root)
    (workspace.path / "logs").mkdir()
    (workspace.path / "logs/out.txt").write_bytes(b"0123456\n" * 400)
    wanted = '[keep]\nfiles = ["logs/*.txt"]\nstatuses = ["*"]\ntail_bytes = "1 KiB"'
    assert run([*configured(host, wanted), "--once"], host.base).returncode == 0
    assert kept(host) == {"logs/out.txt": (3200, 3200 - 1024, b"0123456\n" * 128)}
    failed(host, "org/repo/other")
    assert run([*configured(host, "[keep]\nfiles = []"), "--once"], host.base).returncode == 0
    assert kept(host, "org/repo/other") == {}


def test_what_cannot_be_read_is_a_warning(host: Host) -> None:
    """The dispatch is committed all the same, with what can be read."""
    workspace = failed(host)
    (workspace.meta / "b.log").write_text("text")
    (workspace.meta / "b.log").chmod(0)
    once = host.once(lacking=POWERLESS)
    assert (once.code, once.counts) == (0, {"scanned": 1, "committed": 1})
    assert f"{workspace.name}: .meta/b.log: Permission denied; not kept" in once.stderr
    assert list(kept(host)) == [".meta/agent-codex.log"]
    assert host.once().stderr == ""


def test_secrets_are_taken_out(host: Host) -> None:
    """Before anything is stored, of bytes that are no UTF-8 too; not where the operator wants them recorded."""
    token = "ghp_" + "a1B2" * 9
    failed(host, log=b"\xff cloning https://x:" + token.encode() + b"@github.com/acme/billing\n")
    host.once()
    ((_, _, content),) = kept(host).values()
    assert token.encode() not in content and content.startswith(b"\xff cloning https://") and b"[redacted:" in content
    failed(host, "org/repo/other", log=token.encode())
    run([*configured(host, "[redact]\nenabled = false"), "--once"], host.base)
    ((_, _, content),) = kept(host, "org/repo/other").values()
    assert content == token.encode()


def test_a_lost_history_gets_them_from_the_workspace(host: Host) -> None:
    """A rebuilt row has the files that are still there; those of an earlier run are nobody's any more."""
    workspace = failed(host, runs=1)
    host.once()
    workspace.write_status(status="failed", runs=2, updated_at="2026-04-15T09:00:00Z")
    (workspace.meta / "agent-codex.log").write_bytes(b"second\n")
    host.once()
    host.forget_history()
    assert host.once().counts["recovered_rows"] == 2
    rows = host.query(
        "SELECT d.runs, k.content FROM dispatch_history AS d LEFT JOIN kept_files AS k ON k.dispatch_id = d.id"
    )
    assert {row["runs"]: row["content"] and zlib.decompress(row["content"]) for row in rows} == {
        1: None,
        2: b"second\n",
    }


def test_a_row_that_comes_later_has_them(host: Host) -> None:
    """A history that could not be written at the commit gets row and files together."""
    failed(host)
    host.history.parent.mkdir()
    host.history.mkdir()
    assert host.once().code == 1
    host.history.rmdir()
    host.once()
    assert list(kept(host)) == [".meta/agent-codex.log"]


def test_a_finish_that_was_replaced_has_none(host: Host) -> None:
    """What is there by then may be the next run's."""
    workspace = failed(host, runs=1)
    with contextlib.closing(History(str(host.history))) as history:
        committer = Committer(host.config(), history)
        committer.look_ahead(host.candidate())
        workspace.write_status(status="running", runs=2, updated_at="2026-04-15T09:00:00Z")
        committer.commit_group([host.candidate()])
        committer.close()
    assert [row["runs"] for row in host.query("SELECT runs FROM dispatch_history")] == [1]
    assert kept(host) == {}


def test_they_go_with_their_row(host: Host) -> None:
    """A row that somebody deletes by SQL takes its files along."""
    failed(host)
    host.once()
    import sqlite3

    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("DELETE FROM dispatch_history")
    assert host.query("SELECT * FROM kept_files") == []


def test_show_names_them_and_ends_with_the_log(host: Host) -> None:
    """After the workspace is gone, too: the last ten lines, without colours."""
    workspace = failed(host)
    host.once()
    shutil.rmtree(workspace.path)
    told = show(host).stdout
    assert "1 kept file; show --file NAME prints one" in told
    last = told.partition("last lines of .meta/agent-codex.log\n")[2].splitlines()[:10]
    assert [line.strip() for line in last] == [
        *(f"line {number}" for number in range(21, 30)),
        "ValueError: totals differ",
    ]
    assert "\x1b" not in told
    document = json.loads(show(host, "--json").stdout)
    assert document["kept_files"] == [{"name": ".meta/agent-codex.log", "bytes": len(LOG), "kept_from": 0}]
    assert document["last_lines"][-1] == "ValueError: totals differ"


def test_show_tells_no_log_of_what_passed(host: Host) -> None:
    """The files are named; their end is for failures."""
    workspace = make(host.root)
    (workspace.meta / "agent.log").write_text("all went well\n")
    run([*configured(host, '[keep]\nstatuses = ["*"]'), "--once"], host.base)
    told = show(host).stdout
    assert ".meta/agent.log" in told and "all went well" not in told
    assert json.loads(show(host, "--json").stdout)["last_lines"] == []


def test_show_file_prints_it_as_it_was(host: Host) -> None:
    """Byte for byte into a pipe, by its name or the last part of that; clean text on a terminal."""
    whole = LOG + b"\xff\x00tail"
    failed(host, log=whole)
    host.once()
    for name in (".meta/agent-codex.log", "agent-codex.log"):
        words = command([*host.arguments(), "show", "org/repo/task", "--file", name])
        assert subprocess.run(words, env=environment(host.base), capture_output=True, check=True).stdout == whole
    leader, terminal = pty.openpty()
    words = command([*host.arguments(), "show", "org/repo/task", "--file", "agent-codex.log"])
    with subprocess.Popen(words, env=environment(host.base), stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        seen = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while data := os.read(leader, 65_536):
                seen += data
        process.wait(60)
    os.close(leader)
    assert rb"\x1b[31mtotals" in seen and b"\x1b" not in seen
    assert seen.count(b"\r\n") == 32


def test_a_file_that_is_not_kept_is_answered_with_those_that_are(host: Host) -> None:
    """One line, exit status 1; with --json it is a usage error."""
    failed(host)
    host.once()
    result = show(host, "--file", "agent.log")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.endswith("no file agent.log is kept of it; there are .meta/agent-codex.log\n")
    assert show(host, "--file", "agent.log", "--json").returncode == 2


def test_failures_are_told_by_the_logs_last_error(host: Host) -> None:
    """Where the question is no more than an exit status; whose fault it is, too."""
    logs = {
        "a": (b"ok\nValueError: totals differ at 0x7f12\n", "exit status 1"),
        "b": (b"ok\nValueError: totals differ at 0x7f99\nbye\n", "exit status 3 (SIGQUIT in a shell)"),
        "c": (b"write: No space left on device\n", "killed by SIGTERM"),
        "d": (b"all is well\n", "exit status 1"),
        "e": (b"Error: not this\n", "Which API?"),
    }
    for name, (log, question) in logs.items():
        failed(host, f"org/repo/{name}", log, question=question)
    (host.root / "org/repo/d/.meta/agent-codex.log").rename(host.root / "org/repo/d/.meta/agent.log")
    make(host.root, "org/repo/f", status="failed", question="exit status 1")
    (host.root / "org/repo/f/.meta/agent.LOG").write_text("Error: of a log in capitals\n")
    run([*configured(host, '[keep]\nfiles = [".meta/*"]'), "--once"], host.base)
    result = run([*host.arguments(), "failures", "--json", "--since", "2026-01-01"], host.base)
    rows = {row["class"]: row for row in json.loads(result.stdout)["rows"]}
    assert {name: (row["dispatches_count"], row["cause"]) for name, row in rows.items()} == {
        "ValueError: totals differ at HASH": (2, None),
        "write: No space left on device": (1, "disk"),
        "exit status N": (1, None),
        "Error: of a log in capitals": (1, None),
        "Which API?": (1, None),
    }
    texts = [one["text"] for one in rows["ValueError: totals differ at HASH"]["examples"]]
    assert "exit status 1: ValueError: totals differ at 0x7f12" in texts


def test_dispatch_log_to_history_and_back(host: Host) -> None:
    """What an agent printed is found when its workspace is gone."""
    script = "echo working; echo 'fatal: repository is gone' >&2; exit 128"
    dispatch(host, "--log", "--workspace", "org/repo/task", "--", "sh", "-c", script)
    assert host.once().counts["committed"] == 1
    shutil.rmtree(host.root / "org")
    assert show(host, "--file", "agent.log").stdout.split("\n")[:2] == ["working", "fatal: repository is gone"]


def test_files_survive_export_and_import(host: Host) -> None:
    """`export --with-files` has them, plain `export` has not; import takes them, twice without a change."""
    binary = b"\xff\x00" * 300
    workspace = failed(host)
    (workspace.meta / "z.log").write_bytes(binary)
    host.once()
    plain, whole = (run([*host.arguments(), "export", *more], host.base).stdout for more in ((), ("--with-files",)))
    assert "kept_files" not in json.loads(plain)
    given = json.loads(whole)["kept_files"]
    assert given[0] == {"name": ".meta/agent-codex.log", "bytes": len(LOG), "kept_from": 0, "text": LOG.decode()}
    assert set(given[1]) == {"name", "bytes", "kept_from", "zlib"}
    copy, other = host.base / "copy.jsonl", host.base / "other" / "history.db"
    copy.write_text(whole)
    for _ in range(2):
        assert run([*host.arguments(other), "import", str(copy)], host.base).returncode == 0
    again = run([*host.arguments(other), "export", "--with-files"], host.base).stdout
    assert json.loads(again)["kept_files"] == given
    third = host.base / "third" / "history.db"
    assert run([*host.arguments(third), "import", str(host.history)], host.base).returncode == 0
    assert json.loads(run([*host.arguments(third), "export", "--with-files"], host.base).stdout)["kept_files"] == given


STRANGE: tuple[Any, ...] = (
    "x",
    [1],
    [{"name": "a", "bytes": 1, "kept_from": 0}],
    [{"name": "a\nb", "bytes": 1, "kept_from": 0, "text": ""}],
    [{"name": "", "bytes": 1, "kept_from": 0, "text": ""}],
    [{"name": "a", "bytes": -1, "kept_from": 0, "text": ""}],
    [{"name": "a", "bytes": True, "kept_from": 0, "text": ""}],
    [{"name": "a", "bytes": 2**70, "kept_from": 0, "text": ""}],
    [{"name": "a", "bytes": 1, "kept_from": 2, "text": ""}],
    [{"name": "a", "bytes": 1, "kept_from": 0, "zlib": "§"}],
    [{"name": "a", "bytes": 1, "kept_from": 0, "zlib": "AAAA"}],
    [{"name": "a", "bytes": 1, "kept_from": 0, "text": ""}] * 2,
    [{"name": f"{n}", "bytes": 1, "kept_from": 0, "text": ""} for n in range(17)],
)


def test_an_import_of_strange_files_is_told(host: Host) -> None:
    """Each line is counted as none, the first ones are named, and a sound one among them is taken."""
    failed(host)
    host.once()
    whole = json.loads(run([*host.arguments(), "export", "--with-files"], host.base).stdout)
    path = host.base / "strange.jsonl"
    path.write_text("\n".join(json.dumps({**whole, "kept_files": files}) for files in (*STRANGE, whole["kept_files"])))
    result = run([*host.arguments(host.base / "other" / "history.db"), "import", str(path)], host.base)
    assert f"1 imported, 0 skipped, {len(STRANGE)} invalid" in result.stdout
    assert "line 1: kept_files is no list" in result.stderr


def test_an_archive_has_them(host: Host) -> None:
    """What is pruned comes back whole."""
    failed(host)
    host.once()
    archive = host.base / "archive.jsonl"
    prune = ["prune", "--older-than", "1d", "--yes", "--archive", str(archive)]
    shutil.rmtree(host.root / "org")
    assert run([*host.arguments(), *prune], host.base).returncode == 0
    assert host.query("SELECT * FROM kept_files") == []
    assert run([*host.arguments(), "import", str(archive)], host.base).returncode == 0
    assert kept(host) == {".meta/agent-codex.log": (len(LOG), 0, LOG)}


def test_the_daemon_keeps_them(host: Host) -> None:
    """As it does everything else: a status that finishes under it."""
    from daemon_support import Service

    workspace = failed(host, status="running")
    with Service(host) as service:
        service.wait_ready()
        workspace.write_status(status="failed")
        service.wait_committed(workspace)
        wait_for(lambda: bool(kept(host)))
        assert service.stop() == 0
    assert Path(workspace.meta / "agent-codex.log").read_bytes() == LOG
