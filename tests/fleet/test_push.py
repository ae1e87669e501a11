"""`agentic-watch push` against a real PostgreSQL: what a user sees, and what is there afterwards."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest
import support
from support import wait_for
from test_reference import is_told, listed, paths, untold

from agentic_watch.workspace.instant import now_text
from fleet.conftest import Database
from fleet.pusher import Pusher


@pytest.fixture
def pusher(tmp_path: Path) -> Pusher:
    return Pusher(tmp_path)


def test_init_then_push(server, pusher: Pusher) -> None:  # type: ignore[no-untyped-def]
    """From an empty database: --init makes the tables, push fills them, a second push sends nothing."""
    server.execute("CREATE DATABASE from_nothing")
    pusher.postgres(server.dsn("from_nothing"))
    ids = pusher.fill(range(1200))
    code, document, stderr = pusher.push()
    assert (code, "push --init" in stderr) == (1, True)
    assert document["targets"][0]["pending_count"] == 1200
    assert pusher.run("--init").returncode == 0
    assert pusher.run("--init").returncode == 0
    code, document, _ = pusher.push()
    assert (code, document["schema"]) == (0, 2)
    (target,) = document["targets"]
    assert (target["name"], target["sent_count"], target["pending_count"], target["error"]) == ("fleet", 1200, 0, None)
    found = server.execute("SELECT commit_id::text FROM dispatches ORDER BY commit_id", "from_nothing")
    assert [one for (one,) in found] == ids
    assert pusher.push()[1]["targets"][0]["sent_count"] == 0
    pusher.fill(range(1200, 1203))
    assert pusher.push()[1]["targets"][0]["sent_count"] == 3


def test_the_words_for_people(database: Database, pusher: Pusher) -> None:
    """Without --json a line a target is printed."""
    pusher.postgres(database.dsn())
    pusher.fill(range(3))
    assert pusher.run("--dry-run").stdout == "fleet: 3 would be sent, 0 set aside\n"
    assert pusher.run().stdout.startswith("fleet: 3 sent, 0 wait, 0 set aside; ")


def test_a_dry_run_changes_nothing(database: Database, pusher: Pusher) -> None:
    """--dry-run says what would be sent, asks no target, and makes no file."""
    pusher.postgres("host=127.0.0.1 port=1 dbname=nowhere")
    pusher.fill(range(3))
    before = support.snapshot(pusher.history.parent)
    code, document, _ = pusher.push("--dry-run")
    assert (code, document["dry_run"], document["targets"][0]["pending_count"]) == (0, True, 3)
    assert support.snapshot(pusher.history.parent) == before


def test_a_refused_commit_becomes_a_dead_letter(database: Database, pusher: Pusher) -> None:
    """A commit that the target refuses is kept with its cause, holds up no other, and can be sent once more."""
    pusher.postgres(database.dsn())
    pusher.fill(range(5))
    with closing(sqlite3.connect(pusher.history)) as history:
        (poisoned,) = history.execute("SELECT commit_id FROM dispatch_history WHERE issue = 2").fetchone()
        history.execute("UPDATE dispatch_history SET question = char(97, 0, 98) WHERE issue = 2")
        history.commit()
    code, document, stderr = pusher.push()
    (target,) = document["targets"]
    assert (code, target["sent_count"], target["dead_letters_count"], target["pending_count"]) == (3, 4, 1, 0)
    assert [(one["commit_id"], one["workspace"]) for one in target["rejected"]] == [(poisoned, "acme/repo2/task-2")]
    assert "acme/repo2/task-2" in stderr
    ((letter, cause, attempts),) = pusher.query("SELECT document, cause, attempts FROM dead_letters")
    kept = json.loads(letter)
    assert (kept["commit_id"], kept["question"], kept["schema"], kept["root"]) == (poisoned, "a\0b", 1, "/srv/agents")
    assert ("0x00" in cause, attempts) == (True, 1)
    assert pusher.push()[0] == 0
    assert pusher.push("--retry-failed")[0] == 3
    assert pusher.query("SELECT attempts FROM dead_letters") == [(2,)]
    # What made it poisonous is mended: here by hand, in life by a server that takes it.
    with closing(sqlite3.connect(pusher.state)) as state:
        state.execute("UPDATE dead_letters SET document = replace(document, '\\u0000', '')")
        state.commit()
    code, document, _ = pusher.push("--retry-failed")
    assert (code, document["targets"][0]["sent_count"], document["targets"][0]["dead_letters_count"]) == (0, 1, 0)
    assert database.query("SELECT commit_id::text, question, id FROM dispatches WHERE issue = 2") == [
        (poisoned, "ab", 3)
    ]


def test_the_keys_are_those_of_the_reference(database: Database, pusher: Pusher) -> None:
    """With a commit that is refused and a hook that fails: nothing is printed that is not listed, nor the other way."""
    pusher.postgres(database.dsn())
    pusher.hooks.append({"on": ["completed", "failed"], "command": ["false"], "name": "tell"})
    pusher.fill(range(2), committed_at=now_text(time.time() - 60))
    with closing(sqlite3.connect(pusher.history)) as history:
        history.execute("UPDATE dispatch_history SET question = char(97, 0, 98) WHERE issue = 1")
        history.commit()
    _, document, _ = pusher.push()
    assert untold("agentic-watch push --json", document) == set()
    printed = {*paths(document)}
    assert [
        key for key in listed("`agentic-watch push --json`") if not any(is_told(one, [key]) for one in printed)
    ] == []


def test_only_some_statuses(database: Database, pusher: Pusher) -> None:
    """A target with statuses gets those, and the others are not asked for again."""
    pusher.postgres(database.dsn(), statuses=["failed"])
    pusher.fill(range(20))
    assert pusher.push()[1]["targets"][0]["sent_count"] == 4
    assert database.query("SELECT DISTINCT status FROM dispatches") == [("failed",)]
    assert pusher.query("SELECT last_id FROM targets") == [(20,)]


def test_one_target_that_fails_stops_no_other(database: Database, pusher: Pusher) -> None:
    """The sound target has everything though the other is gone; the exit status and one line tell which failed."""
    pusher.postgres("host=127.0.0.1 port=1 dbname=x user=u password=s3cret", "broken")
    pusher.postgres(database.dsn())
    pusher.fill(range(3))
    code, document, stderr = pusher.push()
    assert code == 1
    assert [(one["sent_count"], one["pending_count"], one["error"] is None) for one in document["targets"]] == [
        (0, 3, False),
        (3, 0, True),
    ]
    assert stderr.startswith("failed: broken: connection failed")
    assert len(stderr.splitlines()) == 1
    assert "s3cret" not in stderr + json.dumps(document)


def test_a_rebuilt_history_is_sent_again_and_changes_nothing(database: Database, pusher: Pusher) -> None:
    """A history that was lost and made anew begins from its first row; each commit still stands there once."""
    pusher.postgres(database.dsn())
    ids = pusher.fill(range(10))
    pusher.push()
    for path in pusher.history.parent.glob("history.db*"):
        path.unlink()
    assert pusher.fill(range(9, -1, -1)) == ids
    assert pusher.push()[1]["targets"][0]["sent_count"] == 10
    assert database.commits() == ids


def test_a_lost_or_broken_state_is_harmless(database: Database, pusher: Pusher) -> None:
    """Without push.db, or with a corrupt one that is moved aside, everything is sent once more."""
    pusher.postgres(database.dsn())
    ids = pusher.fill(range(10))
    pusher.push()
    pusher.state.write_bytes(b"not a database, but long enough to be one" * 40)
    code, document, stderr = pusher.push()
    assert (code, document["targets"][0]["sent_count"]) == (0, 10)
    assert "moved to" in stderr
    assert len(list(pusher.state.parent.glob("push.db.corrupt-*"))) == 1
    assert database.commits() == ids


def test_a_foreign_state_file_is_left_alone(database: Database, pusher: Pusher) -> None:
    """A push.db of another program is refused and not touched."""
    pusher.postgres(database.dsn())
    pusher.fill(range(1))
    with closing(sqlite3.connect(pusher.state)) as foreign:
        foreign.execute("CREATE TABLE theirs (a)")
    before = pusher.state.read_bytes()
    result = pusher.run()
    assert (result.returncode, "another program's file" in result.stderr) == (1, True)
    assert pusher.state.read_bytes() == before


def test_the_secret_from_other_places(database: Database, pusher: Pusher) -> None:
    """A credential of the service wins over the file, and the environment serves where no file is named."""
    pusher.fill(range(2))
    pusher.postgres("host=127.0.0.1 port=1")
    credentials = pusher.base / "credentials"
    credentials.mkdir()
    (credentials / "push-fleet").write_text(database.dsn(), "utf-8")
    environ = {**support.environment(pusher.base), "CREDENTIALS_DIRECTORY": str(credentials)}
    assert _run(pusher, environ) == 0
    del pusher.targets[0]["dsn_file"]
    assert _run(pusher, support.environment(pusher.base)) == 1
    environ = {**support.environment(pusher.base), "AGENTIC_WATCH_PUSH_FLEET_DSN": database.dsn()}
    assert _run(pusher, environ) == 0
    assert len(database.commits()) == 2


def _run(pusher: Pusher, environ: dict[str, str]) -> int:
    import subprocess

    arguments = support.command(pusher.arguments())
    return subprocess.run(arguments, env=environ, cwd="/", capture_output=True, timeout=60, check=False).returncode


def test_a_public_secret_is_said(database: Database, pusher: Pusher) -> None:
    """A secret that everybody may read is used, and a warning names the file and the remedy."""
    pusher.postgres(database.dsn())
    pusher.fill(range(1))
    secret = Path(pusher.targets[0]["dsn_file"])
    secret.chmod(0o644)
    assert f"chmod 600 {secret}" in pusher.run().stderr


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--to", "flete"], 2, "did you mean fleet?"),
        (["--follow", "--dry-run"], 2, "exclude each other"),
        (["--by-month", "3"], 2, "--by-month needs --init"),
        (["--json", "--follow"], 2, "--json excludes"),
    ],
)
def test_what_does_not_go_together(pusher: Pusher, options: list[str], code: int, words: str) -> None:
    """Options that make no sense together are a usage error in one line."""
    pusher.postgres("host=127.0.0.1")
    result = pusher.run(*options)
    assert (result.returncode, words in result.stderr) == (code, True)


def test_nothing_to_push_to(pusher: Pusher) -> None:
    """Without a target the configuration is at fault, and the message says where to look."""
    pusher.fill(range(1))
    result = pusher.run()
    assert (result.returncode, "there is no [[push]] target" in result.stderr) == (78, True)


def test_the_host_id_is_made_once(database: Database, pusher: Pusher) -> None:
    """The host's id lies beside the history, is the same in each push, and a broken one is refused, not replaced."""
    pusher.postgres(database.dsn())
    pusher.fill(range(1))
    pusher.push()
    file = pusher.history.parent / "host_id"
    first = file.read_text("ascii")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    pusher.fill(range(1, 2))
    pusher.push()
    assert database.query("SELECT DISTINCT host_id::text FROM dispatches") == [(first.strip(),)]
    file.write_text("nonsense", "ascii")
    result = pusher.run()
    assert (result.returncode, "is not a UUID" in result.stderr) == (1, True)
    assert file.read_text("ascii") == "nonsense"


def test_follow_sends_what_is_committed(database: Database, pusher: Pusher) -> None:
    """--follow sends what was there and what comes later, without being told, and ends in order."""
    pusher.postgres(database.dsn(), interval_seconds=1)
    pusher.fill(range(3))
    with pusher.following():
        wait_for(lambda: len(database.commits()) == 3)
        ids = sorted(database.commits() + pusher.fill(range(3, 9)))
        wait_for(lambda: database.commits() == ids)
    assert "fleet: sent 3 " in pusher.log()


def test_follow_waits_for_the_history_and_the_server(database: Database, pusher: Pusher) -> None:
    """Started before the history is there, it waits; what is wrong is said once."""
    pusher.postgres(database.dsn(), interval_seconds=1)
    (pusher.base / "state").mkdir()
    with pusher.following():
        wait_for(lambda: "no history at" in pusher.log())
        ids = pusher.fill(range(3))
        wait_for(lambda: database.commits() == ids)
    assert pusher.log().count("no history at") == 1


def test_a_restored_host_begins_where_its_state_stood(database: Database, pusher: Pusher) -> None:
    """A state directory that is copied back from a backup sends again what came after it, once there."""
    pusher.postgres(database.dsn())
    pusher.fill(range(5))
    pusher.push()
    backup = pusher.base / "backup.db"
    shutil.copy(pusher.state, backup)
    ids = sorted(database.commits() + pusher.fill(range(5, 10)))
    pusher.push()
    shutil.copy(backup, pusher.state)
    assert pusher.push()[1]["targets"][0]["sent_count"] == 5
    assert database.commits() == ids


def test_a_history_from_a_backup_loses_nothing(database: Database, pusher: Pusher) -> None:
    """A history that was restored gives numbers that it had already to other commits: those are sent, and hooks run."""
    told = pusher.base / "told"
    pusher.hooks.append({"on": ["completed", "failed"], "command": ["/bin/sh", "-c", f"cat >> {told}"]})
    pusher.postgres(database.dsn())
    now = now_text(time.time() - 60)
    ids = pusher.fill(range(5), committed_at=now)
    backup = pusher.base / "backup.db"
    assert support.run([*pusher.arguments()[:2], "backup", str(backup)], pusher.base).returncode == 0
    lost = pusher.fill(range(5, 10), committed_at=now)
    assert pusher.push()[0] == 0
    for path in pusher.history.parent.glob("history.db*"):
        path.unlink()
    shutil.copy(backup, pusher.history)
    assert pusher.push()[0] == 0, "with fewer rows than were delivered"
    others = pusher.fill(range(20, 26), committed_at=now)
    code, document, _ = pusher.push()
    assert (code, document["targets"][0]["pending_count"]) == (0, 0)
    assert database.commits() == sorted([*ids, *lost, *others])
    heard = [json.loads(line)["commit_id"] for line in told.read_text("utf-8").splitlines()]
    assert sorted(heard) == sorted([*ids, *lost, *others])


def test_a_state_of_an_earlier_version_goes_on(database: Database, pusher: Pusher) -> None:
    """push.db as 0.3 made it is brought up to date, and nothing is sent again."""
    pusher.postgres(database.dsn())
    pusher.fill(range(5))
    pusher.push()
    with closing(sqlite3.connect(pusher.state)) as state:
        state.executescript(
            "DROP INDEX hook_runs_due; ALTER TABLE targets DROP COLUMN last_called; "
            "ALTER TABLE hooks DROP COLUMN last_called; ALTER TABLE hook_runs DROP COLUMN attempts; "
            "ALTER TABLE hook_runs DROP COLUMN next_at; PRAGMA user_version = 1"
        )
    pusher.fill(range(5, 7))
    assert pusher.push()[1]["targets"][0]["sent_count"] == 2
    assert pusher.query("PRAGMA user_version") == [(2,)]
