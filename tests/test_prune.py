"""`prune`: old commits go into an archive and out of the history, whole and for good."""

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import (
    Host,
    Workspace,
    command,
    environment,
    give_away,
    make,
    patched,
    run,
    snapshot,
    start,
    wait_for,
)

from agentic_watch.exchange import pruning
from agentic_watch.fleet import interchange, outbox
from agentic_watch.fleet.outbox import Largest
from agentic_watch.fleet.push_state import Position, PushState
from agentic_watch.history.store import History

OLD, NEW = "2020-01-01T00:00:00Z", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 7 * 86_400))
LONG_AGO = "2600w"
FINDING = {"tool": "gosec", "code": "G304", "message": "oldfinding"}


@pytest.fixture
def mixed(host: Host) -> Host:
    """A host with an old commit that has a finding, and a new one."""
    make(host.root, "o/r/old", updated_at=OLD, report={"findings": [FINDING]}, task="ancient")
    make(host.root, "o/r/new", updated_at=NEW, report={"findings": [FINDING]})
    host.once()
    return host


def prune(host: Host, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    result = run([*host.arguments(), "prune", "--older-than", LONG_AGO, *options], host.base)
    assert result.returncode == code, result.stderr
    return result


def pruned(host: Host, *options: str) -> dict[str, Any]:
    arguments = [*host.arguments(), "prune", "--older-than", "60w", "--json", *options]
    found: dict[str, Any] = json.loads(run(arguments, host.base).stdout)
    return found


def names(host: Host) -> list[str]:
    return [row["workspace"] for row in host.query("SELECT workspace FROM dispatch_history ORDER BY id")]


def test_old_commits_go_with_all_that_hangs_on_them(mixed: Host) -> None:
    """Rows, findings and search entries of what is older are gone, those of the others are whole."""
    found = pruned(mixed)
    assert (found["schema"], found["commits_count"], found["findings_count"], found["dry_run"]) == (2, 1, 1, False)
    assert (found["first_utc"], found["last_utc"]) == ("2020-01-01T00:00:00.000000000Z",) * 2
    assert names(mixed) == ["o/r/new"]
    assert len(mixed.query("SELECT 1 FROM findings")) == 1
    for word, there in (("ancient", []), ("oldfinding", ["o/r/new"])):
        result = run([*mixed.arguments(), "history", "--json", word], mixed.base)
        assert [json.loads(line)["workspace"] for line in result.stdout.splitlines()] == there
    (about,) = mixed.query("SELECT pruned_before FROM about")
    assert about["pruned_before"] == found["before"]
    assert _is_whole(mixed.history)


def _is_whole(history: Path) -> bool:
    connection = sqlite3.connect(history)
    connection.execute("INSERT INTO dispatch_search (dispatch_search) VALUES ('integrity-check')")
    whole: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    return whole == "ok"


def test_what_went_is_in_the_archive_and_can_come_back(mixed: Host) -> None:
    """The archive is an export of exactly what went; importing it makes the same rows again."""
    before = {row["commit_id"]: row["report"] for row in mixed.query("SELECT commit_id, report FROM dispatch_history")}
    found = pruned(mixed)
    (line,) = Path(found["archive"]).read_text().splitlines()
    assert (json.loads(line)["workspace"], json.loads(line)["schema"]) == ("o/r/old", 1)
    assert found["archive"].startswith(f"{mixed.history}.pruned-")
    result = run([*mixed.arguments(), "import", found["archive"]], mixed.base)
    assert result.returncode == 0
    after = {row["commit_id"]: row["report"] for row in mixed.query("SELECT commit_id, report FROM dispatch_history")}
    assert after == before


def test_a_dry_run_changes_nothing(mixed: Host) -> None:
    """It says what would go, and makes no file."""
    before = snapshot(mixed.base)
    found = pruned(mixed, "--dry-run")
    assert (found["commits_count"], found["archive"], found["dry_run"]) == (1, None, True)
    assert snapshot(mixed.base) == before
    text = run([*mixed.arguments(), "prune", "--older-than", "60w", "--dry-run"], mixed.base).stdout
    assert text == "1 commit and 1 finding of 2020-01-01 to 2020-01-01 would be removed\n"


def test_nothing_old_is_no_work(mixed: Host) -> None:
    """Where nothing is older there is no archive, and nothing is marked as pruned."""
    assert re.fullmatch(r"nothing is older than \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", prune(mixed).stdout)
    assert [path.name for path in mixed.history.parent.iterdir()] == ["history.db"]
    assert mixed.query("SELECT pruned_before FROM about")[0]["pruned_before"] is None


def test_an_archive_that_cannot_be_written_keeps_everything(mixed: Host) -> None:
    """No directory for the archive, no pruning: one line, exit status 1."""
    arguments = [*mixed.arguments(), "prune", "--older-than", "60w", "--archive", str(mixed.base / "no/where.jsonl")]
    result = run(arguments, mixed.base)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "nothing was pruned" in result.stderr
    assert sorted(names(mixed)) == ["o/r/new", "o/r/old"]


def test_numbers_are_not_used_again(mixed: Host) -> None:
    """What was exported up to a cursor stays so: the next commit gets a new number."""
    last = max(row["id"] for row in mixed.query("SELECT id FROM dispatch_history"))
    run([*mixed.arguments(), "prune", "--older-than", "1m", "--yes"], mixed.base)
    make(mixed.root, "o/r/newer", updated_at=NEW)
    mixed.once()
    (row,) = mixed.query("SELECT id FROM dispatch_history WHERE workspace = 'o/r/newer'")
    assert row["id"] > last


@pytest.mark.parametrize("span", ["", "180", "d", "-3d", "0d", "999999999w", "today"])
def test_what_is_no_span_is_a_usage_error(mixed: Host, span: str) -> None:
    """Exit status 2, and nothing goes."""
    result = run([*mixed.arguments(), "prune", "--older-than", span], mixed.base)
    assert result.returncode == 2
    assert len(names(mixed)) == 2


def test_without_a_history_none_is_made(host: Host) -> None:
    """Nothing to prune is said, and no file appears."""
    result = run([*host.arguments(), "prune", "--older-than", "60w"], host.base)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert not host.history.parent.exists()


def test_an_archive_that_is_there_is_kept(mixed: Host) -> None:
    """The one of an earlier prune may be the only copy of what went: the name is refused, and nothing is pruned."""
    archive = mixed.base / "old.jsonl"
    archive.write_text("the only copy\n")
    result = prune(mixed, "--older-than", "60w", "--archive", str(archive), code=1)
    assert f"{archive}: exists; name another file" in result.stderr
    assert archive.read_text() == "the only copy\n"
    assert len(names(mixed)) == 2
    assert list(mixed.base.glob("*.part")) == []


def test_a_pruned_commit_stays_done_when_its_marker_is_lost(mixed: Host) -> None:
    """Its journal line alone says that it is done, also to a pass that has seen this journal before."""
    pruned(mixed)
    mixed.once()
    workspace = Workspace(mixed.root, "o/r/old")
    workspace.marker.unlink()
    assert mixed.once().counts == {"scanned": 2, "skipped": 2}
    assert len(workspace.lines()) == 1
    assert names(mixed) == ["o/r/new"]


def configured(host: Host, *roots: Path, extra: str = "") -> list[str]:
    """The arguments for a configuration file with these roots."""
    file = host.base / "config.toml"
    tables = "".join(f'[[roots]]\npath = "{root}"\n' for root in roots)
    file.write_text(f'{tables}[history]\npath = "{host.history}"\n{extra}')
    return ["--config", str(file)]


def prune_with(host: Host, arguments: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    return run([*arguments, "prune", "--older-than", "60w", *options], host.base)


def lose_rows(host: Host) -> None:
    """As if the history had been locked or full when its rows were to come: lines and markers are there, no rows."""
    with closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("DELETE FROM dispatch_history")


def test_what_never_was_in_the_history_is_taken_in_first(mixed: Host) -> None:
    """Lines whose rows could not be written at their time are rows before anything goes, and in the archive."""
    lose_rows(mixed)
    found = pruned(mixed)
    assert (found["recovered_count"], found["commits_count"]) == (2, 1)
    (line,) = Path(found["archive"]).read_text().splitlines()
    assert json.loads(line)["workspace"] == "o/r/old"
    assert names(mixed) == ["o/r/new"]


def test_taking_in_writes_nothing_else(mixed: Host) -> None:
    """What is finished and not committed is left to the daemon, which waits for its report."""
    make(mixed.root, "o/r/finished", updated_at=NEW)
    before = snapshot(mixed.root)
    pruned(mixed)
    assert snapshot(mixed.root) == before
    assert names(mixed) == ["o/r/new"]


def test_a_root_that_is_away_stops_it(mixed: Host) -> None:
    """It is named, with the way to prune all the same; what its journals hold is told when it is back."""
    other = mixed.base / "other"
    arguments = configured(mixed, mixed.root, other)
    make(other, "o/r/elsewhere", updated_at=OLD)
    run([*arguments, "--once"], mixed.base)
    lose_rows(mixed)
    run([*mixed.arguments(), "--once"], mixed.base)
    other.rename(mixed.base / "away")
    result = prune_with(mixed, arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert f"failed: {other}: is not available" in result.stderr
    assert "--force" in result.stderr
    assert len(names(mixed)) == 2
    assert list(mixed.history.parent.glob("*.jsonl")) == []
    dry = prune_with(mixed, arguments, "--dry-run")
    assert (dry.returncode, f"warning: {other}: is not available" in dry.stderr) == (0, True)
    forced = prune_with(mixed, arguments, "--force")
    assert forced.returncode == 0
    assert f"warning: {other}: is not available" in forced.stderr
    assert names(mixed) == ["o/r/new"]
    (mixed.base / "away").rename(other)
    told = run([*arguments, "--once", "--json"], mixed.base)
    assert json.loads(told.stdout)["older_lines"] == 1
    assert "1 journal line is older than what was pruned" in told.stderr
    checked = run([*arguments, "check"], mixed.base)
    assert (checked.returncode, f"(the first in {other}/o/r/elsewhere)" in checked.stdout) == (0, True)


def test_a_root_that_is_away_hinders_nothing_where_nothing_goes(mixed: Host) -> None:
    """Nothing is old enough: that is said, and all is well."""
    arguments = configured(mixed, mixed.root, mixed.base / "away")
    result = run([*arguments, "prune", "--older-than", LONG_AGO], mixed.base)
    assert (result.returncode, result.stderr) == (0, "")


PUSH = '[[push]]\nname = "fleet"\nkind = "http"\nurl = "http://127.0.0.1:9/"\n'


def test_rows_that_a_fleet_lacks_stay(mixed: Host) -> None:
    """The target is named with how many it lacks; once it has them, or by force, they go."""
    arguments = configured(mixed, mixed.root, extra=PUSH)
    result = prune_with(mixed, arguments)
    assert result.returncode == 1
    assert "[[push]] fleet: lacks 1 of the commits to prune" in result.stderr
    assert len(names(mixed)) == 2
    state = PushState(str(mixed.history.parent / "push.db"))
    (about,) = mixed.query("SELECT history_id FROM about")
    (row,) = mixed.query("SELECT id FROM dispatch_history WHERE workspace = 'o/r/old'")
    state.delivered("fleet", about["history_id"], Position(row["id"]))
    state.close()
    assert prune_with(mixed, arguments).returncode == 0
    assert names(mixed) == ["o/r/new"]


def test_what_a_target_does_not_want_is_not_lacking(mixed: Host) -> None:
    """A target of failed dispatches does not hold up the completed ones."""
    arguments = configured(mixed, mixed.root, extra=f'{PUSH}statuses = ["failed"]\n')
    assert prune_with(mixed, arguments).returncode == 0


def test_a_row_without_a_time_is_as_old_as_its_commit(mixed: Host) -> None:
    """It stays until its committed_at is old; its line then brings it back no more, but did until then."""
    workspace = make(mixed.root, "o/r/unset", updated_at="0001-01-01T00:00:00Z")
    mixed.once()
    assert pruned(mixed)["commits_count"] == 1
    assert names(mixed) == ["o/r/new", "o/r/unset"]
    lose_rows(mixed)
    assert mixed.once().counts["recovered_rows"] == 2
    assert sorted(names(mixed)) == ["o/r/new", "o/r/unset"]
    with closing(sqlite3.connect(mixed.history)) as connection, connection:
        connection.execute("UPDATE dispatch_history SET committed_at = ? WHERE workspace = 'o/r/unset'", (OLD,))
    workspace.journal.write_text(json.dumps({**workspace.line(), "committed_at": OLD}) + "\n")
    workspace.marker.write_text(json.dumps({**workspace.mark(), "committed_at": OLD}))
    found = pruned(mixed, "--archive", str(mixed.base / "second.jsonl"))
    assert (found["commits_count"], found["first_utc"]) == (1, "2020-01-01T00:00:00.000000000Z")
    assert mixed.once().counts == {"scanned": 3, "skipped": 3}
    assert names(mixed) == ["o/r/new"]
    assert len(workspace.lines()) == 1


def test_less_than_a_day_is_asked_about(mixed: Host) -> None:
    """1m is a minute: refused without --yes where nobody can be asked; a month is 1mo."""
    result = run([*mixed.arguments(), "prune", "--older-than", "1m"], mixed.base)
    assert result.returncode == 2
    assert "--yes" in result.stderr
    assert len(names(mixed)) == 2
    assert run([*mixed.arguments(), "prune", "--older-than", "1m", "--dry-run"], mixed.base).returncode == 0
    result = run([*mixed.arguments(), "prune", "--older-than", "14mo", "--json"], mixed.base)
    assert json.loads(result.stdout)["commits_count"] == 1


@pytest.mark.parametrize(("answer", "left"), [("n\n", 2), ("y\n", 0)])
def test_a_terminal_is_asked(mixed: Host, answer: str, left: int) -> None:
    """And what it says is done."""
    leader, follower = pty.openpty()
    os.write(leader, answer.encode())
    arguments = command([*mixed.arguments(), "prune", "--older-than", "1m"])
    result = subprocess.run(
        arguments, stdin=follower, capture_output=True, env=environment(mixed.base), timeout=60, check=False
    )
    os.close(leader)
    os.close(follower)
    assert b"less than a day" in result.stderr
    assert len(names(mixed)) == left


def test_stdout_is_no_archive(mixed: Host) -> None:
    """It could not be on disk before anything goes: a usage error, and no file called -."""
    result = prune(mixed, "--archive", "-", code=2)
    assert "export" in result.stderr
    assert list(mixed.base.glob("*-*")) == []


def test_the_archive_is_owned_as_the_history_is(mixed: Host) -> None:
    """Root prunes, the service's user can still read, write and remove what lies beside its history."""
    give_away(mixed.history.parent)
    archive, history = Path(pruned(mixed)["archive"]).stat(), mixed.history.stat()
    assert (archive.st_uid, archive.st_gid) == (history.st_uid, history.st_gid)
    assert archive.st_mode & 0o777 == 0o640


def test_a_killed_prune_is_finished_by_the_next(host: Host) -> None:
    """Whatever it left is whole; its unfinished archive goes, and nothing that went comes back."""
    for number in range(60):
        make(host.root, f"o/r/old-{number}", updated_at=OLD, report={"findings": [FINDING]})
    make(host.root, "o/r/new", updated_at=NEW)
    host.once()
    (host.history.parent / "agentic-watch.0123456789ab.part").write_text("half")
    process = start([*host.arguments(), "prune", "--older-than", "60w"], host.base)
    wait_for(lambda: process.poll() is not None or bool(list(host.history.parent.glob("*.jsonl"))))
    process.kill()
    process.communicate()
    host.once()
    left = names(host)
    found = pruned(host, "--archive", str(host.base / "second.jsonl"))
    assert found["commits_count"] == len(left) - 1
    assert names(host) == ["o/r/new"]
    assert host.query("SELECT 1 FROM findings") == []
    assert _is_whole(host.history)
    archived = [*host.history.parent.glob("*.jsonl"), *host.base.glob("*.jsonl")]
    went = {json.loads(line)["workspace"] for file in archived for line in file.read_text().splitlines()}
    assert went == {f"o/r/old-{number}" for number in range(60)}
    assert [*host.history.parent.glob("*.part")] == []
    assert host.once().counts == {"scanned": 61, "skipped": 61}


def test_commits_come_between_the_slices(host: Host) -> None:
    """While thousands of rows are deleted, the daemon's writer gets its turn, and never waits long for the history."""
    make(host.root, "o/r/new", updated_at=NEW)
    host.once()
    multiply(host, 20_000)
    waits: list[float] = []
    left: set[int] = set()
    with closing(History(str(host.history))) as history:
        process = start([*host.arguments(), "prune", "--older-than", "60w"], host.base)
        while process.poll() is None:
            began = time.monotonic()
            with history.transaction(durable=False) as connection:
                waits.append(time.monotonic() - began)
                left.update(connection.execute("SELECT count(*) FROM dispatch_history").fetchone())
            time.sleep(0.001)
        assert process.communicate()[1] == ""
    assert names(host) == ["o/r/new"]
    assert left - {1, 20_001}, "all were deleted in one transaction"
    assert max(waits) < 10


def multiply(host: Host, count: int) -> None:
    """Old dispatches of another root beside those that are there."""
    record = {"status": "completed", "updated_at": OLD, "committed_at": OLD, "root": "/elsewhere", "host": "another"}
    records = ({**record, "workspace": f"o/r/old-{number}", "task": f"task {number}"} for number in range(count))
    file = host.base / "many.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert run([*host.arguments(), "import", str(file)], host.base).returncode == 0


def test_a_damaged_search_stops_no_prune(mixed: Host) -> None:
    """It is derived of the record: it is made anew, and what is old goes."""
    with closing(sqlite3.connect(mixed.history)) as connection, connection:
        connection.execute("DELETE FROM dispatch_search_config")
    result = prune_with(mixed, configured(mixed, mixed.root))
    assert (result.returncode, names(mixed)) == (0, ["o/r/new"])
    found = run([*mixed.arguments(), "history", "new", "--json"], mixed.base)
    assert json.loads(found.stdout.splitlines()[0])["workspace"] == "o/r/new"


ENDLESS = """
import time
from agentic_watch.exchange import pruning
pages = pruning._pages
def endless(*given):
    while True:
        yield from pages(*given)
        time.sleep(0.001)
pruning._pages = endless
"""
"""A patch of the program: its archive gets longer until somebody ends it."""


@pytest.mark.parametrize(
    "numbers", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGINT], [signal.SIGINT, signal.SIGTERM]]
)
def test_a_service_manager_that_ends_it_leaves_nothing_half(mixed: Host, numbers: list[signal.Signals]) -> None:
    """SIGTERM ends it as Ctrl-C does, also with a second signal behind it: no unfinished file, and nothing is gone."""
    process = subprocess.Popen(
        command([*mixed.arguments(), "prune", "--older-than", "60w"]),
        env={**environment(mixed.base), **patched(mixed.base, ENDLESS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    beside = mixed.history.parent
    wait_for(lambda: any(path.stat().st_size for path in beside.glob("*.part")))
    for number in numbers:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted: nothing was pruned" in errors
    assert not list(beside.glob("*.part"))
    assert not list(beside.glob("*.pruned-*"))
    assert len(names(mixed)) == 2


@pytest.mark.parametrize(
    "report",
    [
        *(None, "{}", "[1]", "no JSON", '{"a":"\\ud800"}', '{"a":"\\u0000"}', '{"ä":"\\n\\"/\\\\"}'),
        *('{ "b" : 1,\n "a" : {} }', '{"findings":[]}', '{"findings":[{"tool":"x"}]}', '{"findings":[{"tool":"x"},1]}'),
        *(
            '{"findings":{"tool":"x"}}',
            '{"changes":{}}',
            '{"changes":[]}',
            '{"changes":{"files":["é"],"insertions":2}}',
        ),
    ],
)
def test_the_archive_says_what_the_row_and_its_findings_say(mixed: Host, report: str | None) -> None:
    """Whatever its report is, and whoever wrote it: the same line as what a push sends of the commit."""
    with closing(sqlite3.connect(mixed.history)) as connection, connection:
        texts = ("tab\tand \x01 \u2028 'quoted' \"", report)
        connection.execute("UPDATE dispatch_history SET task = ?, report = ? WHERE workspace = 'o/r/old'", texts)
        connection.execute("UPDATE dispatch_history SET insertions = 7 WHERE report LIKE '%changes%'")
    whose = pruning.host_id(str(mixed.history))
    commits = outbox.next_batch(str(mixed.history), 0, Largest(9, 9999), files=True).commits
    (expected,) = (interchange.document(one, whose) for one in commits if one.columns["task"] == texts[0])
    (line,) = Path(pruned(mixed)["archive"]).read_bytes().splitlines()
    assert json.loads(line) == expected
