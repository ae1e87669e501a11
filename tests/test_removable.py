"""`status --removable`: never one that lacks anything in the history, and every one that lacks nothing."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import random
import shlex
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from support import UPDATED, Host, Workspace, environment, held_lock, make, run, start, wait_for

from agentic_watch.answers.now.removable import NotRemovable, Removable, Wish, judge_all
from agentic_watch.config import Target
from agentic_watch.fleet.push_state import DeadLetter, Position, PushState

PROJECT = Path(__file__).parent.parent
LATER = "2026-04-15T00:00:00Z"
OLD = "2020-01-01T00:00:00Z"


EVERY = Wish()


def judged(host: Host, wish: Wish = EVERY, targets: tuple[Target, ...] = ()) -> tuple[set[str], dict[str, str]]:
    """The names that are listed, and why each other one is left."""
    config = host.config()
    found = list(judge_all(type(config)(roots=config.roots, history=config.history, push=targets), wish))
    listed = {one.workspace for one in found if isinstance(one, Removable)}
    return listed, {one.workspace: one.error for one in found if isinstance(one, NotRemovable)}


def sql(host: Host, statement: str, *values: Any) -> None:
    """Change the history as somebody with sqlite3 does."""
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute(statement, values)


def append(workspace: Workspace, /, **fields: Any) -> None:
    """Append a journal line, as another program may."""
    with workspace.journal.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**workspace.lines()[-1], **fields}, sort_keys=True, separators=(",", ":")) + "\n")


# --- what may have become of a committed workspace; each says whether nothing is lost with it


def as_it_is(_host: Host, _workspace: Workspace) -> bool:
    return True


def running_again(_host: Host, workspace: Workspace) -> bool:
    workspace.write_status(status="running", updated_at=LATER, runs=1)
    return False


def queued(_host: Host, workspace: Workspace) -> bool:
    workspace.write_status(status="queued", updated_at=LATER)
    return False


def of_another_kind(_host: Host, workspace: Workspace) -> bool:
    workspace.write_status(status="success", updated_at=LATER)
    return False


def finished_and_not_committed(_host: Host, workspace: Workspace) -> bool:
    workspace.write_status(status="merged", updated_at=LATER)
    return False


def finished_a_nanosecond_later(_host: Host, workspace: Workspace) -> bool:
    workspace.write_status(updated_at=UPDATED.replace("456789", "456790"))
    return False


def other_content(_host: Host, workspace: Workspace) -> bool:
    workspace.write_status(question="Is it?")
    return False


def another_dispatch_of_that_identity(_host: Host, workspace: Workspace) -> bool:
    workspace.write_status(branch="other")
    return False


def without_its_row(host: Host, workspace: Workspace) -> bool:
    sql(host, "DELETE FROM dispatch_history WHERE workspace = ?", workspace.name)
    return False


def an_earlier_line_without_row(_host: Host, workspace: Workspace) -> bool:
    append(workspace, updated_at="2026-04-01T00:00:00Z")
    return False


def a_foreign_line_without_row(_host: Host, workspace: Workspace) -> bool:
    append(workspace, workspace="some/other/one")
    return False


def a_foreign_line_with_row(host: Host, workspace: Workspace) -> bool:
    """Two workspaces have this line; the row of the first is there."""
    other = make(host.root, f"{workspace.name}-other", task="other")
    assert run([*host.arguments(), "commit", other.name], host.base).returncode == 0
    with workspace.journal.open("ab") as file:
        file.write(other.journal.read_bytes())
    return True


def a_line_that_is_no_record(_host: Host, workspace: Workspace) -> bool:
    with workspace.journal.open("ab") as file:
        file.write(b'{"status":"completed"\n')
    return False


def a_torn_line(_host: Host, workspace: Workspace) -> bool:
    with workspace.journal.open("ab") as file:
        file.write(b'{"agent":"codex","branch":"agent/fi')
    return False


def without_its_line(_host: Host, workspace: Workspace) -> bool:
    workspace.journal.unlink()
    return True


def without_its_marker(_host: Host, workspace: Workspace) -> bool:
    workspace.marker.unlink()
    return True


def moved(host: Host, workspace: Workspace) -> bool:
    workspace.path.rename(host.root / f"{workspace.name}-moved")
    return True


def moved_and_seen(host: Host, workspace: Workspace) -> bool:
    moved(host, workspace)
    assert run([*host.arguments(), "commit", f"{workspace.name}-moved"], host.base).returncode == 0
    return True


def moved_without_its_line(host: Host, workspace: Workspace) -> bool:
    """The marker tells where its row is."""
    without_its_line(host, workspace)
    return moved(host, workspace)


def moved_without_line_and_marker(host: Host, workspace: Workspace) -> bool:
    without_its_marker(host, workspace)
    moved_without_its_line(host, workspace)
    return False


def a_status_that_is_none(_host: Host, workspace: Workspace) -> bool:
    (workspace.meta / "status.json").write_text("{", "utf-8")
    return False


def a_second_status_that_is_none(_host: Host, workspace: Workspace) -> bool:
    (workspace.path / "status.json").write_text("{", "utf-8")
    return False


def a_status_with_another_name(_host: Host, workspace: Workspace) -> bool:
    os.link(workspace.meta / "status.json", workspace.path / "linked")
    return False


def a_journal_that_is_a_directory(_host: Host, workspace: Workspace) -> bool:
    workspace.journal.unlink()
    workspace.journal.mkdir()
    return False


def meta_behind_a_link(_host: Host, workspace: Workspace) -> bool:
    workspace.meta.rename(workspace.path / "elsewhere")
    workspace.meta.symlink_to("elsewhere")
    return False


FATES: tuple[Callable[[Host, Workspace], bool], ...] = (
    as_it_is,
    running_again,
    queued,
    of_another_kind,
    finished_and_not_committed,
    finished_a_nanosecond_later,
    other_content,
    another_dispatch_of_that_identity,
    without_its_row,
    an_earlier_line_without_row,
    a_foreign_line_without_row,
    a_foreign_line_with_row,
    a_line_that_is_no_record,
    a_torn_line,
    without_its_line,
    without_its_marker,
    moved,
    moved_and_seen,
    moved_without_its_line,
    moved_without_line_and_marker,
    a_status_that_is_none,
    a_second_status_that_is_none,
    a_status_with_another_name,
    a_journal_that_is_a_directory,
    meta_behind_a_link,
)


ALONE = (moved_and_seen, moved_without_its_line, moved_without_line_and_marker)
"""What undoes what happened before: it commits, or takes the journal away."""


def names_after(workspace: Workspace) -> set[str]:
    """The names that a workspace, and what was made beside it, have now."""
    parent = workspace.path.parent
    return {str(path.relative_to(workspace.root)) for path in parent.glob(f"{workspace.path.name}*")}


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.__name__)
def test_listed_when_nothing_is_lost(host: Host, fate: Callable[[Host, Workspace], bool]) -> None:
    """Each thing that may have happened to a committed workspace, alone."""
    workspace = make(host.root, "acme/api/one", started_at="2026-04-14T08:00:00Z")
    host.once()
    is_whole = fate(host, workspace)
    listed, left = judged(host)
    assert listed == (names_after(workspace) if is_whole else set())
    assert is_whole or left or fate is meta_behind_a_link  # no look enters that


@pytest.mark.parametrize("seed", range(6))
def test_never_one_that_lacks_anything(host: Host, seed: int) -> None:
    """Random workspaces, to each of which some of these things happened: exactly those without a loss are listed."""
    chance = random.Random(seed)
    made = [
        make(host.root, f"acme/r{n % 3}/task{n:02}x", layout=chance.choice(["meta", "meta", "root"])) for n in range(24)
    ]
    host.once()
    whole: set[str] = set()
    told: dict[str, list[str]] = {}
    for workspace in made:
        is_meta = (workspace.meta / "status.json").exists()
        fates = chance.sample(FATES, chance.choice([1, 2, 3])) if is_meta else [as_it_is]
        fates = [fate for fate in fates if fate not in ALONE or len(fates) == 1]
        is_whole = True
        told[workspace.name] = [fate.__name__ for fate in fates]
        with contextlib.suppress(
            FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError, IndexError, ValueError
        ):
            for fate in sorted(fates, key=lambda fate: (fate is moved, fate is not without_its_line)):
                is_whole &= fate(host, workspace)
        whole |= {name for name in names_after(workspace) if is_whole or name.endswith("-other")}
    listed, _ = judged(host)
    assert listed <= whole, (seed, [(n, f) for n, f in told.items() if n in listed - whole])


def test_one_that_is_held(host: Host) -> None:
    """A workspace that somebody commits is left."""
    workspace = make(host.root)
    host.once()
    with held_lock(workspace.meta):
        assert judged(host) == (set(), {workspace.name: "is held (flock on .meta) by another process"})
    assert judged(host)[0] == {workspace.name}


def test_older_than(host: Host) -> None:
    """The later of the last update and the last commit counts: neither an old status nor an old row is enough."""
    for name, updated_at, committed_at in (
        ("acme/api/old", OLD, OLD),
        ("acme/api/committed", OLD, ""),
        ("acme/api/updated", "2126-01-01T00:00:00Z", OLD),
    ):
        make(host.root, name, updated_at=updated_at)
        host.once()
        if committed_at:
            sql(host, "UPDATE dispatch_history SET committed_at = ? WHERE workspace = ?", committed_at, name)
    assert judged(host, Wish(older_than=3600.0)) == (
        {"acme/api/old"},
        dict.fromkeys(("acme/api/committed", "acme/api/updated"), "is younger than --older-than"),
    )


def test_a_workspace_that_hides_others(host: Host) -> None:
    """A finished status that somebody puts above workspaces makes one of their directory: it is left."""
    make(host.root, "acme/api/one", status="running")
    make(host.root, "acme/site/two")
    host.once()
    (host.root / "acme/.meta").mkdir()
    (host.root / "acme/.meta/status.json").write_text(json.dumps({"status": "completed", "updated_at": OLD}), "utf-8")
    host.once()
    assert "acme" in host.rows()
    assert judged(host) == (set(), {"acme": "may contain other workspaces"})


def test_a_workspace_in_which_another_runs(host: Host) -> None:
    """A run below a finished workspace keeps it, however deep; what lies in its clone is the clone's."""
    done, deep, clone = (make(host.root, f"acme/api/{name}") for name in ("done", "deep", "clone"))
    host.once()
    for inner in (done.path / "sub", deep.path / "a/b", clone.path / "repo/sub"):
        (inner / ".meta").mkdir(parents=True)
        (inner / ".meta/status.json").write_text(json.dumps({"status": "running", "updated_at": OLD}), "utf-8")
    assert judged(host) == ({clone.name}, dict.fromkeys((done.name, deep.name), "may contain other workspaces"))


def test_delivered_to_every_target(host: Host) -> None:
    """What a target lacks, or rejected, is left; what it does not want is not asked for."""
    done, failed = make(host.root, "acme/api/done"), make(host.root, "acme/api/failed", status="failed")
    host.once()
    rows = host.rows()
    every, failures = (
        Target(name, "http", url="https://x", statuses=statuses)
        for name, statuses in (("every", frozenset[str]()), ("failures", frozenset({"failed"})))
    )
    both = {done.name, failed.name}
    why = " is not delivered to every [[push]] target"
    assert judged(host, targets=(every,)) == (set(), {name: f"its {rows[name]['status']}{why}" for name in both})
    assert judged(host, targets=(failures,))[0] == {done.name}
    assert judged(host, Wish(undelivered=True), (every,))[0] == both
    (history_id,) = host.query("SELECT history_id FROM about")[0]
    state = PushState(str(host.history.with_name("push.db")))
    try:
        last = max(rows.values(), key=lambda row: row["id"])
        at_last = Position(last["id"], f"{last['updated_utc']} {last['runs']} {last['workspace']}")
        state.delivered("every", "another history", at_last)
        assert judged(host, targets=(every,))[0] == set()
        state.delivered("every", history_id, at_last)
        assert judged(host, targets=(every,))[0] == both
        assert judged(host, targets=(every, failures))[0] == {done.name}
        refused = DeadLetter(rows[done.name]["commit_id"], rows[done.name]["id"], "too large", "{}")
        state.delivered("every", history_id, at_last, [refused])
        assert judged(host, targets=(every,))[0] == {failed.name}
    finally:
        state.close()


def removable(host: Host, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    result = run([*host.arguments(), "status", "--removable", *arguments], host.base)
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture
def two(host: Host) -> Host:
    """A host with two workspaces that may go, and one that runs."""
    make(host.root, "acme/api/one", runs=1)
    make(host.root, "acme/api/two words")
    make(host.root, "acme/api/busy", status="running")
    host.once()
    return host


def test_paths(two: Host) -> None:
    """One path a line, or with NUL; -v says why the others are left."""
    paths = {str(two.root / name) for name in ("acme/api/one", "acme/api/two words")}
    result = removable(two, "-v")
    assert set(result.stdout.splitlines()) == paths
    assert result.stderr == f"left alone: {two.root}/acme/api/busy: is running\n"
    nul = removable(two, "-0").stdout
    assert (set(nul.split("\0")), nul[-1]) == ({*paths, ""}, "\0")
    document = json.loads(removable(two, "--json").stdout)
    assert (document["schema"], document["rows_count"], document["left_count"]) == (2, 2, 1)
    one = next(row for row in document["rows"] if row["workspace"] == "acme/api/one")
    assert (one["path"], one["status"], one["runs"], one["commits_count"], one["exit_status"]) == (
        str(two.root / "acme/api/one"), "completed", 1, 1, None,
    )  # fmt: skip


def test_a_command_under_the_lock(two: Host) -> None:
    """It is run with each path while nobody else can commit or dispatch there, and what it did is listed."""
    locked = 'test -d "$0" && ! flock -n "$0" true && ! flock -n "$0/.meta" true && echo said && rm -r "$0"'
    result = removable(two, "--lock", "--", "sh", "-c", locked)
    assert set(result.stdout.splitlines()) == {str(two.root / name) for name in ("acme/api/one", "acme/api/two words")}
    assert result.stderr == "said\nsaid\n"
    assert [path.name for path in (two.root / "acme/api").iterdir()] == ["busy"]
    assert len(two.rows()) == 2


def test_one_that_runs_again_in_between(two: Host) -> None:
    """Judged once more under its lock, it is left alone, and named."""
    status = json.dumps({"status": "running", "updated_at": LATER})
    spoil = 'for path in "${0%/*}"/*; do test "$path" = "$0" || echo "$1" > "$path/.meta/status.json"; done; rm -r "$0"'
    script = two.base / "spoil.sh"
    script.write_text(f"set -- {shlex.quote(status)}\n{spoil}\n", "utf-8")
    result = removable(two, "--lock", "--", "bash", "-c", f"set -- {shlex.quote(status)}; {spoil}")
    assert len(result.stdout.splitlines()) == 1
    (left,) = {"one", "two words"} - {Path(result.stdout.strip()).name}
    assert result.stderr == f"left alone: {two.root}/acme/api/{left}: is running\n"
    assert (two.root / "acme/api" / left).is_dir()


def test_a_command_that_fails(two: Host) -> None:
    """It is named with the path, nothing is listed, and the exit status is 1; one that is not there ends it at once."""
    result = removable(two, "--lock", "--", "false", code=1)
    assert (result.stdout, len(result.stderr.splitlines())) == ("", 2)
    assert f"failed: {two.root}/acme/api/one: false ended with 1" in result.stderr
    result = removable(two, "--lock", "--", "/nowhere/at-all", code=1)
    assert result.stderr == "Error: /nowhere/at-all: cannot be run: No such file or directory\n"


def test_interrupted(two: Host) -> None:
    """Ctrl-C lets the command that it reached, too, end, and tells in one line what was done."""
    begun = two.base / "begun"
    script = f'trap "rm -r \\"$0\\"; exit 0" INT; touch {begun}; while :; do sleep 0.05; done'
    process = start([*two.arguments(), "status", "--removable", "--lock", "--", "sh", "-c", script], two.base)
    wait_for(begun.exists)
    (running,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, int(running)):  # as a terminal does
        os.kill(pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("Error: interrupted; 0 done")
    assert len(list((two.root / "acme/api").iterdir())) == 2


def test_a_run_that_begins_waits_for_the_lock(two: Host) -> None:
    """`dispatch` cannot begin a run where a removal is under way."""
    started, go_on = two.base / "started", two.base / "go-on"
    script = f'touch {started}; while ! test -e {go_on}; do sleep 0.05; done; rm -r "$0"'
    process = start([*two.arguments(), "status", "--removable", "--lock", "--", "sh", "-c", script], two.base)
    wait_for(started.exists)
    held = next(w for w in ("acme/api/one", "acme/api/two words") if is_held(two.root / w))
    begun = start([*two.arguments(), "dispatch", "begin", "--workspace", held, "--task", "again"], two.base)
    go_on.touch()
    process.communicate(timeout=60)
    begun.communicate(timeout=60)
    # It was begun in a directory of its own after the removal, or not at all, and that was said.
    status = two.root / held / ".meta/status.json"
    assert begun.returncode == (0 if status.exists() else 1)


def is_held(directory: Path) -> bool:
    """Whether somebody has a workspace's lock."""
    return subprocess.run(["flock", "-n", str(directory / ".meta"), "true"], check=False).returncode != 0


def test_what_cannot_be_told(host: Host) -> None:
    """Without a history nothing is in it; a root that is away is named, and the others are listed."""
    make(host.root)
    result = removable(host, code=1)
    assert (result.stdout, "no history at" in result.stderr) == ("", True)
    host.once()
    away = host.base / "away"
    result = run([*host.arguments(), "--root", str(away), "status", "--removable"], host.base)
    assert (result.returncode, result.stdout) == (1, f"{host.root}/org/repo/task\n")
    assert result.stderr.startswith(f"failed: {away}: No such file or directory")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--older-than", "7d"], "--older-than needs --removable"),
        (["-0"], "-0 needs --removable"),
        (["acme"], "takes no argument"),
        (["--removable", "--lock"], "--lock needs a COMMAND"),
        (["--removable", "--", "rm"], "a COMMAND needs --lock"),
        (["--removable", "--json", "-0"], "exclude each other"),
        (["--removable", "--older-than", "week"], "is not a span"),
    ],
)
def test_what_makes_no_sense(host: Host, arguments: list[str], text: str) -> None:
    """An option that cannot be honoured is refused."""
    result = run([*host.arguments(), "status", *arguments], host.base)
    assert result.returncode == 2
    assert text in result.stderr


@pytest.fixture
def recipe() -> Iterator[configparser.ConfigParser]:
    """The unit of examples/removal."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(PROJECT / "examples/removal/agentic-watch-removal.service")
    yield unit


def test_the_recipe(host: Host, recipe: configparser.ConfigParser) -> None:
    """The unit's command deletes what is older than a week, and nothing else."""
    make(host.root, "acme/api/old", updated_at=OLD)
    make(host.root, "acme/api/new")
    make(host.root, "acme/api/busy", updated_at=OLD, status="running")
    host.once()
    sql(host, "UPDATE dispatch_history SET committed_at = ? WHERE workspace = 'acme/api/old'", OLD)
    config = host.base / "config.toml"
    document = {"roots": [{"path": str(host.root)}], "history": {"path": str(host.history)}}
    config.write_text(tomli_w.dumps(document), "utf-8")
    program, *words = shlex.split(recipe["Service"]["ExecStart"])
    assert (program, recipe["Service"]["User"]) == ("/usr/bin/agentic-watch", "agents")
    words = [str(config) if word == "/etc/agentic-watch/config.toml" else word for word in words]
    assert run(words, host.base).stdout == f"{host.root}/acme/api/old\n"
    assert sorted(path.name for path in (host.root / "acme/api").iterdir()) == ["busy", "new"]


def test_systemd_takes_the_recipe(tmp_path: Path) -> None:
    """systemd-analyze finds nothing wrong with service and timer."""
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed")
    names = ("agentic-watch-removal.service", "agentic-watch-removal.timer")
    for name in names:
        text = (PROJECT / "examples/removal" / name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace("/usr/bin/agentic-watch", "/usr/bin/env"), "utf-8")
    paths = [str(tmp_path / name) for name in names]
    result = subprocess.run(
        [analyze, "verify", *paths], capture_output=True, text=True, check=False, env=environment(tmp_path)
    )
    assert [line for line in result.stderr.splitlines() if "agentic-watch-removal" in line] == []
