"""`--once` where something fails: it is named, with a cause and exit status 1, and stops nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import (
    CAP_CHOWN,
    POWERLESS,
    Host,
    Once,
    Workspace,
    give_away,
    make,
    run,
    snapshot,
    spoil,
    write_locked,
)

from agentic_watch.backfill import one_pass
from agentic_watch.history.store import History
from agentic_watch.inventory.root_scans import rescan


def test_the_summary_has_exactly_its_keys(host: Host) -> None:
    """The --json document has the contract's keys, and each failure the three of its own."""
    make(host.root)
    broken = make(host.root, "org/repo/broken")
    (broken.meta / "status.json").write_text("{")
    result = host.once()
    keys = ["scanned", "committed", "skipped", "unfinished", "failed", "recovered_rows", "seconds", "failures"]
    assert list(result.summary) == ["schema", *keys]
    assert result.summary["schema"] == 1
    assert [list(failure) for failure in result.summary["failures"]] == [["root", "workspace", "error"]]
    assert result.summary["failures"][0]["root"] == str(host.root)
    assert result.summary["seconds"] >= 0


def failed_lines(host: Host, *, lacking: Sequence[int] = ()) -> tuple[int, list[str]]:
    """The exit status of a plain run, and its lines on stderr."""
    result = run([*host.arguments(), "--once"], host.base, lacking=lacking)
    return result.returncode, result.stderr.splitlines()


BROKEN = {
    "torn": b'{"status":"completed","upd',
    "empty": b"",
    "not an object": b"[]",
    "no status": b'{"updated_at":"2026-04-14T11:17:08Z"}',
    "no updated_at": b'{"status":"completed"}',
    "not a time": b'{"status":"completed","updated_at":"yesterday"}',
    "runs is text": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","runs":"1"}',
    "runs too large": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","runs":9223372036854775808}',
    "NaN": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","x":NaN}',
    "not UTF-8": b'{"status":"completed","task":"\xff"}',
    "NUL tail": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z"}\0\0\0',
    "lone surrogate": rb'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","task":"\ud800"}',
    "deep": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "huge integer": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","x":' + b"9" * 10_000 + b"}",
    "over the limit": b'{"status":"completed","x":"' + b"x" * (1 << 20) + b'"}',
}


def test_each_broken_status_is_one_clean_line_and_stops_no_other(host: Host) -> None:
    """Every kind of broken status is named with its path and cause, exit 3, and the sound ones are committed."""
    for name, content in BROKEN.items():
        (make(host.root, f"org/bad/{name}").meta / "status.json").write_bytes(content)
    sound = [make(host.root, f"org/good/{number}") for number in range(3)]
    code, lines = failed_lines(host)
    assert code == 3
    assert len(lines) == len(BROKEN)
    for name in BROKEN:
        (line,) = [line for line in lines if f"{host.root}/org/bad/{name}:" in line]
        cause = line.partition(f"{name}: ")[2]
        assert cause.startswith(".meta/status.json: ")
        assert len(cause) < 200
        assert line.isprintable()
    assert all(workspace.marker.exists() for workspace in sound)
    assert not any((host.root / "org/bad" / name / ".meta/journal.jsonl").exists() for name in BROKEN)


def test_a_failing_workspace_is_tried_again_and_heals(host: Host) -> None:
    """A workspace that failed is read again by the next run, even when nothing about it looks changed."""
    workspace = make(host.root)
    workspace.journal.mkdir()
    assert host.once().counts == {"scanned": 1, "failed": 1}
    second = host.once()
    assert (second.code, list(second.failures)) == (3, [workspace.name])
    (row,) = host.query("SELECT fail_count, last_error, committed FROM workspaces")
    assert (row["fail_count"], row["committed"]) == (2, 0)
    assert "journal.jsonl" in row["last_error"]
    workspace.journal.rmdir()
    assert host.once().counts == {"scanned": 1, "committed": 1}
    (row,) = host.query("SELECT fail_count, last_error, committed FROM workspaces")
    assert tuple(row) == (0, None, 1)


def test_an_unreadable_directory_is_named_and_stops_no_other(tmp_path: Path) -> None:
    """Without permission for a directory or a status file, each is one line, exit 1; the rest is committed."""
    host = Host.make(tmp_path)
    sound = make(host.root, "org/repo/sound")
    closed = make(host.root, "org/closed/task")
    secret = make(host.root, "org/repo/secret")
    (secret.meta / "status.json").chmod(0)
    closed.path.parent.chmod(0)
    code, lines = failed_lines(host, lacking=POWERLESS)
    assert code == 1
    assert sorted(lines) == [
        f"failed: {host.root}/org/closed: cannot be read: Permission denied",
        f"failed: {host.root}/org/repo/secret: .meta/status.json: Permission denied",
    ]
    assert sound.marker.exists()


def test_a_read_only_workspace_is_named_and_stops_no_other(tmp_path: Path) -> None:
    """Where `.meta` cannot be written the commit fails by name, and nothing half-done is left."""
    host = Host.make(tmp_path)
    sound, closed = make(host.root, "org/repo/a"), make(host.root, "org/repo/b")
    closed.meta.chmod(0o555)
    code, lines = failed_lines(host, lacking=POWERLESS)
    assert (code, len(lines)) == (1, 1)
    assert f"{host.root}/org/repo/b: .meta/journal.jsonl" in lines[0]
    assert "Permission denied" in lines[0]
    assert sound.marker.exists()
    assert sorted(path.name for path in closed.meta.iterdir()) == ["status.json"]


def test_a_workspace_that_vanishes_during_the_pass_is_no_failure(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace removed between scan and commit is none of the failures, and costs the others nothing."""
    names = [f"org/repo/{number}" for number in range(4)]
    for name in names:
        make(host.root, name)

    def rescan_and_remove(*args: Any, **options: Any) -> Iterator[Any]:
        for found in rescan(*args, **options):
            if found is not None and found.name == names[1]:
                shutil.rmtree(host.root / names[1])
            yield found

    monkeypatch.setattr(one_pass, "rescan", rescan_and_remove)
    with contextlib.closing(History(str(host.history))) as history:
        summary = one_pass.SharePass(host.config(), history, lambda _: None, lambda _: None).run()
    assert summary.committed == 3
    assert (summary.failed, summary.failures) == (0, [])
    assert host.rows().keys() == set(names) - {names[1]}


def test_a_missing_root_is_named_and_the_others_are_committed(tmp_path: Path) -> None:
    """A root that is not there is one line with path, cause and next step; other roots are worked on."""
    host = Host.make(tmp_path)
    workspace = make(host.root)
    result = run(["--root", str(tmp_path / "gone"), *host.arguments(), "--once"], tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert str(tmp_path / "gone") in line
    assert "No such file or directory" in line
    assert "configuration" in line
    assert workspace.marker.exists()


def test_the_rows_of_a_missing_root_stay(tmp_path: Path) -> None:
    """An unmounted root loses neither its history nor its place in the index."""
    host = Host.make(tmp_path)
    make(host.root)
    host.once()
    host.root.rename(tmp_path / "unmounted")
    assert host.once().code == 1
    assert len(host.rows()) == len(host.query("SELECT * FROM workspaces")) == 1


def test_a_vanished_workspace_leaves_the_index_and_stays_in_the_history(host: Host) -> None:
    """What is no longer on disk leaves `workspaces`; the history keeps its dispatch."""
    gone, kept = make(host.root, "a/b/gone"), make(host.root, "a/b/kept")
    host.once()
    shutil.rmtree(gone.path)
    assert host.once().counts == {"scanned": 1, "skipped": 1}
    assert [row["workspace"] for row in host.query("SELECT workspace FROM workspaces")] == [kept.name]
    assert host.rows().keys() == {gone.name, kept.name}


# --- hostile and odd names

ODD = ["-dash", "--help", "n" * 255, "'; DROP TABLE dispatch_history; --", "a b", "✓ Ünïcode", "%s%n", "..."]
HOSTILE = [b"new\nline", b"esc\x1b[31mred", b"bell\a", b"\xff\xfe", b"tab\t", "‮rtl".encode()]


def test_odd_names_are_names(host: Host) -> None:
    """A dash, 255 bytes, SQL and other scripts in a name are committed under exactly that name."""
    names = {make(host.root, f"org/repo/{name}").name for name in ODD}
    result = host.once()
    assert (result.code, result.stderr) == (0, "")
    assert host.rows().keys() == names
    assert {Workspace(host.root, name).line()["workspace"] for name in names} == names


@pytest.mark.parametrize("option", ["--json", "-v", "--dry-run"])
def test_hostile_names_are_one_clean_line_each(host: Host, option: str) -> None:
    """A name with controls or without UTF-8 fails by itself, in one line without control characters."""
    for name in HOSTILE:
        path = os.fsencode(host.root / "org/repo") + b"/" + name + b"/.meta"
        os.makedirs(path)
        with open(path + b"/status.json", "w") as status:
            status.write('{"status":"completed","updated_at":"2026-04-14T11:17:08Z"}')
    sound = make(host.root, "org/repo/sound")
    result = run([*host.arguments(), "--once", option], host.base)
    failures = (
        [failure["error"] for failure in json.loads(result.stdout)["failures"]]
        if option == "--json"
        else [line for line in result.stderr.splitlines() if line.startswith("failed:")]
    )
    assert (result.returncode, len(failures)) == (3, len(HOSTILE))
    assert all(line.isprintable() for line in (result.stdout + result.stderr).splitlines())
    assert sound.marker.exists() == (option != "--dry-run")


def test_an_unreadable_directory_with_a_hostile_name_is_one_clean_line(tmp_path: Path) -> None:
    """A directory that cannot be listed is named cleanly even when its name is no text."""
    host = Host.make(tmp_path)
    path = os.fsencode(host.root) + b"/bad\n\xff"
    os.mkdir(path)
    os.chmod(path, 0)
    for options in (["--once"], ["--once", "--json"]):
        result = run([*host.arguments(), *options], host.base, lacking=POWERLESS)
        assert result.returncode == 1
        assert "bad\\n\\udcff" in result.stderr + result.stdout.replace("\\\\", "\\")
        assert all(line.isprintable() for line in result.stderr.splitlines())


# --- the history is not there


def assert_without_rows(result: Once, workspace: Workspace, history: Path) -> None:
    """Line and marker are there, and the failure of the history is named once, with exit status 1."""
    assert len(workspace.lines()) == 1
    assert workspace.mark()["committed_at"] == workspace.line()["committed_at"]
    assert result.code == 1
    (failure,) = result.summary["failures"]
    assert (failure["root"], failure["workspace"]) == ("", "")
    assert str(history) in failure["error"]
    assert "next run" in failure["error"]


def test_a_history_that_is_a_directory_stops_no_commit(host: Host) -> None:
    """Line and marker are written, exit 1 names the history, and its rows come with the next run."""
    workspace = make(host.root)
    host.history.mkdir(parents=True)
    assert_without_rows(host.once(), workspace, host.history)
    host.history.rmdir()
    before = snapshot(host.root)
    assert host.once().counts == {"scanned": 1, "skipped": 1, "recovered_rows": 1}
    assert snapshot(host.root) == before
    assert host.rows()[workspace.name]["committed_at"] == workspace.line()["committed_at"]


def test_a_locked_history_stops_no_commit(host: Host) -> None:
    """While another program holds the write lock lines and markers are written; the rows come later."""
    host.once()
    held = [make(host.root, f"a/b/{number}") for number in range(3)]
    with write_locked(host.history):
        result = host.once()
        for workspace in held:
            assert_without_rows(result, workspace, host.history)
        assert result.counts["committed"] == 3
    assert host.once().counts == {"scanned": 3, "skipped": 3, "recovered_rows": 3}
    assert {name: row["committed_at"] for name, row in host.rows().items()} == {
        workspace.name: workspace.line()["committed_at"] for workspace in held
    }


@pytest.mark.parametrize("existing", [False, True], ids=["cannot be made", "cannot be written"])
def test_an_unwritable_history_stops_no_commit(tmp_path: Path, existing: bool) -> None:
    """Where the history may not be made or written, lines and markers are, and the rows come later."""
    host = Host.make(tmp_path)
    host.history.parent.mkdir()
    if existing:
        host.once()
    workspace = make(host.root)
    host.history.parent.chmod(0o555)
    if existing:
        host.history.chmod(0o444)
    assert_without_rows(host.once(lacking=POWERLESS), workspace, host.history)
    host.history.parent.chmod(0o755)
    if existing:
        host.history.chmod(0o644)
    result = host.once(lacking=POWERLESS)
    assert (result.code, result.counts["recovered_rows"]) == (0, 1)


def test_a_corrupt_history_is_moved_aside_and_rebuilt(tmp_path: Path) -> None:
    """A history of ours that cannot be read is kept under another name, said so, and rebuilt from the journals."""
    host = Host.make(tmp_path, "meta")
    host.once()
    rows = host.rows()
    spoil(host.history)
    content = host.history.read_bytes()
    result = host.once()
    (aside,) = host.history.parent.glob("history.db.corrupt-*")
    assert aside.read_bytes() == content
    assert aside.name in result.stderr
    assert {n: r["committed_at"] for n, r in host.rows().items()} == {n: r["committed_at"] for n, r in rows.items()}
    assert (result.code, result.summary["failures"]) == (0, [])
    assert host.once().code == 0


def test_a_history_with_a_torn_page_is_moved_aside_and_rebuilt(tmp_path: Path) -> None:
    """Damage in the middle of the file, found while it is read, ends in a whole history too."""
    host = Host.make(tmp_path, "meta")
    host.once()
    rows = host.rows()
    with host.history.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (host.history.stat().st_size - 4096))
    host.once()
    host.once()
    assert list(host.history.parent.glob("history.db.corrupt-*"))
    assert {n: r["committed_at"] for n, r in host.rows().items()} == {n: r["committed_at"] for n, r in rows.items()}


def test_a_corrupt_history_that_cannot_be_moved_stops_no_commit(tmp_path: Path) -> None:
    """A corrupt history in a directory that may not be written is named; lines and markers are written."""
    host = Host.make(tmp_path)
    workspace = make(host.root)
    with contextlib.closing(History(str(host.history))) as history:
        history.open()
    spoil(host.history)
    host.history.parent.chmod(0o555)
    assert_without_rows(host.once(lacking=POWERLESS), workspace, host.history)


def test_a_newer_history_is_refused_and_not_touched(host: Host) -> None:
    """A schema that this program does not know ends it with 78 and a next step, before anything is written."""
    workspace = make(host.root)
    host.history.parent.mkdir()
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("CREATE TABLE later (x)")
    before = host.history.read_bytes()
    for options in ([], ["--dry-run"]):
        result = run([*host.arguments(), "--once", *options], host.base)
        assert result.returncode == 78
        (line,) = result.stderr.splitlines()
        assert str(host.history) in line
        assert "schema version 99" in line
        assert "upgrade" in line
    assert host.history.read_bytes() == before
    assert not workspace.journal.exists()


# --- as root, without all of root's power


@pytest.mark.parametrize("lacking", [(), (CAP_CHOWN,)], ids=["root", "root without CAP_CHOWN"])
def test_root_gives_new_files_to_the_owner_of_meta(host: Host, lacking: tuple[int, ...]) -> None:
    """As root the new files belong to `.meta`'s owner; where that is not permitted they stay root's, which is said."""
    made = [make(host.root, "a/b/meta"), make(host.root, "a/b/root", "root")]
    give_away(host.root)
    result = host.once(lacking=lacking)
    new = [path for workspace in made for path in workspace.meta.rglob("*") if path.name != "status.json"]
    if lacking and os.getuid() == 0:
        assert (result.code, {path.name for path in new}) == (0, {"journal.jsonl", "commit.json"})
        assert {path.stat().st_uid for path in new} == {0}
        assert result.stderr.count("(Operation not permitted) and stay root's") == 1
        return
    assert result.code == 0
    assert {path.name for path in new} == {"journal.jsonl", "commit.json"}
    assert {path.stat().st_uid for path in [*new, made[1].meta]} == {host.root.stat().st_uid}
    assert {stat.S_IMODE(path.stat().st_mode) for path in new} == {0o644}
    assert stat.S_IMODE(made[1].meta.stat().st_mode) == 0o755
