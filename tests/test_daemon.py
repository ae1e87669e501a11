"""The daemon as a real process: what is committed, when, and how it starts, reloads and ends."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from daemon_support import SETTLE_SECONDS, Service, watches_of
from support import Host, Workspace, environment, held_lock, make, run, wait_for

from agentic_watch.config import FINISHED, Root
from agentic_watch.daemon.daemon_state import look
from agentic_watch.history.store import History
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.inventory.root_scans import Counts, rescan

SOON_SECONDS = 30.0
"""A tenth of a second on a host with nothing else to do; tests run beside each other."""


def test_a_status_replaced_by_rename_is_committed_once(host: Host) -> None:
    """As most dispatchers write it."""
    workspace = make(host.root, status="running")
    with Service(host) as service:
        fresh = workspace.meta / "status.json.new"
        fresh.write_text(json.dumps({"status": "completed", "updated_at": "2026-04-14T11:17:08Z"}))
        fresh.rename(workspace.meta / "status.json")
        service.wait_committed(workspace)
        assert len(workspace.lines()) == 1


@pytest.mark.parametrize("layout", ["meta", "root"])
def test_a_status_rewritten_in_place_is_committed_once(host: Host, layout: str) -> None:
    """As core-agent writes it, in either place."""
    workspace = make(host.root, layout=layout, status="running")
    with Service(host) as service:
        workspace.write_status(layout)
        service.wait_committed(workspace)
        assert len(workspace.lines()) == 1


def test_a_commit_comes_soon_after_the_settle_time_and_not_before(host: Host) -> None:
    """committed_at is cut to whole seconds, so the journal file's birth is what is measured."""
    workspace = make(host.root, status="running")
    with Service(host) as service:
        began = time.time()
        workspace.write_status()
        service.wait_committed(workspace)
        waited = workspace.journal.stat().st_mtime - began
        assert SETTLE_SECONDS * 0.9 <= waited < SETTLE_SECONDS + SOON_SECONDS


def test_a_report_written_after_the_status_is_in_the_record(host: Host) -> None:
    """The settle time is there for it."""
    with Service(host) as service:
        for number in itertools.count():
            workspace = make(host.root, f"org/repo/task-{number}", status="running")
            began = time.monotonic()
            workspace.write_status()
            workspace.write_report({"findings": [{"tool": "ruff", "message": "late"}]})
            if time.monotonic() - began < SETTLE_SECONDS:
                break  # else this host was too busy to write the report in time
        service.wait_committed(workspace)
        assert workspace.line()["findings"] == [{"tool": "ruff", "message": "late"}]


def test_each_run_of_a_workspace_is_committed(host: Host) -> None:
    """A repeated dispatch counts up `runs` and gives a new instant: another commit in the same journal."""
    workspace = make(host.root)
    with Service(host) as service:
        service.wait_committed(workspace)
        for number in (1, 2):
            workspace.write_status(status="running", updated_at=f"2026-04-15T0{number}:00:00Z", runs=number)
            workspace.write_status(status="failed", updated_at=f"2026-04-15T0{number}:30:00Z", runs=number)
            service.wait(lambda number=number: len(service.names()) == number + 1)
            service.wait(lambda number=number: workspace.mark()["runs"] == number)
        assert [line["runs"] for line in workspace.lines()] == [0, 1, 2]


def test_an_unfinished_workspace_is_left_alone(host: Host) -> None:
    """Nothing is written into it, and the state on disk is known."""
    workspace = make(host.root, status="queued")
    with Service(host) as service:
        workspace.write_status(status="running")
        service.wait(lambda: [row["status"] for row in host.query("SELECT status FROM workspaces")] == ["running"])
        assert sorted(path.name for path in workspace.meta.iterdir()) == ["status.json"]


def test_a_root_made_after_the_start_is_waited_for(host: Host) -> None:
    """It is said once, the other root goes on, and what is in it at its birth is committed."""
    late = host.base / "late"
    service = Service(host)
    service.roots.append({"path": str(late)})
    with service:
        service.wait(lambda: service.watching() == ["inotify", "waiting"])
        here = make(host.root)
        service.wait_committed(here)
        there = make(host.base / "made", "org/repo/there")
        there.root.rename(late)
        service.wait_committed(Workspace(late, there.name))
        service.wait(lambda: service.watching() == ["inotify", "inotify"])
        assert len(service.lines(f"{late}: not available (No such file or directory); waiting")) == 1


def test_a_root_can_be_watched_by_polling(host: Host) -> None:
    """`watch = "poll"` takes no watch, and looks as often as the configuration says."""
    service = Service(host)
    service.poll_seconds = 1.0
    service.roots[0]["watch"] = "poll"
    with service:
        service.wait(lambda: service.watching() == ["poll"])
        assert service.watches() == 0
        workspace = make(host.root)
        service.wait_committed(workspace)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well_and_soon(host: Host, number: signal.Signals) -> None:
    """Exit status 0, and the state says that it is gone."""
    make(host.root)
    with Service(host) as service:
        service.signal(number)
        assert service.wait_end(SOON_SECONDS) == 0
        assert look(str(host.history))[0] is False


def test_a_signal_ends_it_soon_while_it_looks_at_a_large_root(host: Host) -> None:
    """Neither the first look of the watcher nor the scan is gone through to its end."""
    for number in range(400):
        (host.root / f"org-{number % 20}" / f"repo-{number}" / "task" / ".meta").mkdir(parents=True)
    with Service(host) as service:
        for _ in range(3):
            service.signal(signal.SIGHUP)
        service.signal(signal.SIGTERM)
        assert service.wait_end(SOON_SECONDS) == 0


def test_once_runs_beside_the_daemon(host: Host) -> None:
    """Both may work on the same workspaces; each dispatch is committed once."""
    made = [make(host.root, f"org/repo/task-{number:02}", status="running") for number in range(40)]
    with Service(host) as service:
        for workspace in made:
            workspace.write_status()
        result = run([*host.arguments(), "--once", "--json"], host.base)
        assert result.returncode == 0
        service.wait_committed(*made)
        assert [len(workspace.lines()) for workspace in made] == [1] * 40
        assert sorted(service.names()) == [workspace.name for workspace in made]


def test_a_second_daemon_on_one_history_is_refused(host: Host) -> None:
    """Exit status 75 with one line that names the holder."""
    with Service(host) as service:
        result = run(host.arguments(), host.base)
        assert result.returncode == 75
        (line,) = result.stderr.splitlines()
        assert f"another daemon holds this history (pid {service.pid})" in line


def test_removing_the_daemons_file_lets_no_second_one_in(host: Host) -> None:
    """The directory of the history is claimed too, and the file is soon there again."""
    with Service(host) as service:
        (host.history.parent / "history.db.daemon").unlink()
        result = run(host.arguments(), host.base)
        assert result.returncode == 75
        (host.history.parent / "history.db.daemon").unlink(missing_ok=True)
        service.wait_committed(make(host.root))
        service.wait(lambda: look(str(host.history))[1] is not None)  # made, and written
        assert service.state().pid == service.pid


def test_a_reload_adds_a_root(host: Host) -> None:
    """SIGHUP reads the file anew; what is in the new root is committed, the old one is watched on."""
    other = make(host.base / "other", "org/repo/other")
    with Service(host) as service:
        service.roots.append({"path": str(other.root)})
        service.configure()
        service.signal(signal.SIGHUP)
        service.wait_committed(other)
        old = make(host.root)
        service.wait_committed(old)
        service.wait(lambda: service.watching() == ["inotify", "inotify"])


def test_a_reload_drops_a_root(host: Host) -> None:
    """A root that is taken out is watched no longer."""
    other = host.base / "other"
    other.mkdir()
    service = Service(host)
    service.roots.append({"path": str(other)})
    with service:
        service.roots.pop()
        service.configure()
        service.signal(signal.SIGHUP)
        service.wait_log("configuration reloaded: 1 root")
        service.wait(lambda: service.watches() == 1)
        make(other, "org/repo/unseen")
        seen = make(host.root)
        service.wait_committed(seen)
        assert service.names() == [seen.name]


def test_a_bad_file_leaves_the_old_configuration_in_force(host: Host) -> None:
    """One error line tells what is wrong; work goes on."""
    with Service(host) as service:
        service.config_file.write_text("[commit]\nsettle = 3\n[colour]\n")
        service.signal(signal.SIGHUP)
        service.wait_log("reload failed, keeping the current configuration")
        workspace = make(host.root)
        service.wait_committed(workspace)
        (line,) = service.lines("ERROR")
        assert "commit.settle: unknown key; did you mean settle_seconds?; " in line
        assert "colour: unknown key" in line


def test_a_reload_takes_the_level_of_the_log(host: Host) -> None:
    """What was too quiet to be said is said from then on, without a restart."""
    service = Service(host)
    service.configure()
    plain = service.config_file.read_text()
    service.config_file.write_text(f'{plain}\n[log]\nlevel = "error"\n')
    service.start()
    try:
        service.wait_committed(make(host.root))
        service.wait(lambda: service.state().phase == "running")  # what is said of that is too quiet
        service.config_file.write_text(plain)
        service.signal(signal.SIGHUP)
        service.wait_log("configuration reloaded")
        assert service.lines("ready: ") == []
    finally:
        service.stop()


def test_a_history_that_is_not_ours_leaves_the_old_configuration_in_force(host: Host) -> None:
    """A reload that names a file of somebody else is refused like any other, and the file is left as it was."""
    important = host.base / "important"
    important.write_text("somebody's")
    with Service(host) as service:
        text = service.config_file.read_text().replace(str(host.history), str(important))
        service.config_file.write_text(text)
        service.signal(signal.SIGHUP)
        service.wait_log("reload failed, keeping the current configuration")
        workspace = make(host.root)
        service.wait_committed(workspace)
    assert important.read_text() == "somebody's"


@pytest.mark.faults
def test_a_failing_workspace_is_tried_again_and_again_over_a_restart(host: Host) -> None:
    """The count of failures outlives the process; a start does not wait for the time of the next attempt."""
    broken = make(host.root, "org/repo/broken")
    (broken.meta / "status.json").write_text("{")
    with Service(host) as service:
        service.wait(lambda: failures(host)[:1] == [2])
        assert service.stop() == 0
        (before,) = host.query("SELECT fail_count, next_attempt_at FROM workspaces")
        assert before["fail_count"] >= 2
        assert 0 < before["next_attempt_at"] - time.time() < 20
        assert len(service.lines("WARNING org/repo/broken: ")) == 1
    with Service(host) as service:
        service.wait(lambda: failures(host)[0] > before["fail_count"])
        broken.write_status()
        service.wait_committed(broken)
        service.wait(lambda: failures(host) == [0])


def test_a_start_and_a_reload_try_what_fails_at_once_and_sum_up_what_still_does(host: Host) -> None:
    """Whatever the stored back-off says: what was mended is committed, and one line names what was not."""
    names = [f"org/repo/broken-{number}" for number in range(8)]
    for name in names:
        (make(host.root, name).meta / "status.json").write_text("{")
    with Service(host) as service:
        service.wait(lambda: sum(count > 0 for count in failures(host)) == 8)
        assert service.stop() == 0
    with sqlite3.connect(host.history) as connection:
        connection.execute("UPDATE workspaces SET next_attempt_at = next_attempt_at + 300")
    connection.close()
    mended = Workspace(host.root, names[0])
    mended.write_status()
    with Service(host) as service:
        service.wait_ready(2)
        service.wait_committed(mended)
        service.wait_log("7 workspaces that failed before still fail: ")
        service.signal(signal.SIGHUP)
        service.wait(lambda: len(service.lines("7 workspaces that failed before still fail: ")) == 2)
    (line, _) = service.lines("that failed before still fail")
    assert ", and 2 more; agentic-watch status lists them" in line
    assert all(len(service.lines(f"WARNING {name}: ")) == 1 for name in names)


def test_a_failing_workspace_holds_up_no_other(host: Host) -> None:
    """Among broken ones, a good one is committed as ever."""
    for number in range(20):
        broken = make(host.root, f"org/repo/broken-{number:02}")
        (broken.meta / "status.json").write_text("{")
    with Service(host) as service:
        good = make(host.root, "org/repo/good")
        service.wait_committed(good)
        service.wait(lambda: service.state().failing == 20)


def test_a_held_workspace_is_committed_when_it_is_free(host: Host) -> None:
    """Whoever holds the lock on `.meta` holds up that workspace only."""
    held = make(host.root, "org/repo/held", status="running")
    free = make(host.root, "org/repo/free", status="running")
    with Service(host) as service:
        with held_lock(held.meta):
            held.write_status()
            free.write_status()
            service.wait_committed(free)
            assert not held.marker.exists()
        service.wait_committed(held)


def test_a_workspace_that_vanishes_is_forgotten(host: Host) -> None:
    """Neither an error nor a trace in the list of what is on disk; its history stays."""
    workspace = make(host.root)
    with Service(host) as service:
        service.wait_committed(workspace)
        service.wait(lambda: len(host.query("SELECT * FROM workspaces")) == 1)
        workspace.path.rename(host.base / "away")
        service.wait(lambda: host.query("SELECT * FROM workspaces") == [])
        assert service.names() == [workspace.name]
        assert not service.lines("WARNING")


def test_a_workspace_that_is_removed_while_it_is_committed_is_no_failure(host: Host) -> None:
    """A dispatcher that removes each as soon as it is finished meets no warning, and its rmtree comes to an end."""
    with Service(host) as service:
        for number in range(30):
            workspace = make(host.root, f"org/repo/task-{number}", status="running")
            workspace.write_status()
            wait_for(lambda workspace=workspace: workspace.journal.exists() or workspace.marker.exists())
            wait_for(lambda workspace=workspace: removed(workspace.path))
        service.wait(lambda: len(service.names()) == 30)
        service.wait_committed(make(host.root, "org/repo/last"))
        assert not service.lines("WARNING")
        assert not service.lines("ERROR")


def removed(path: Path) -> bool:
    """Remove a tree; False when something was made in it meanwhile, and it has to be done again."""
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def test_the_log_holds_no_control_characters(host: Host) -> None:
    """A name or a status with escapes cannot write into the operator's terminal."""
    hostile = "task\x1b[2J\nINFO forged\u202e"
    make(host.root, f"org/repo/{hostile}", status="\x1b[31mred\x07")
    make(host.root, "org/repo/other", status="completed", question="\x1b]0;title\x07", runs="\x1b")
    with Service(host) as service:
        service.wait(lambda: service.state().failing == 2)
    text = service.log()
    assert "the name holds control characters" in text
    assert not [char for char in text if char != "\n" and not char.isprintable()]
    assert not [line for line in text.splitlines() if line.startswith("INFO forged")]


def test_an_idle_daemon_rests(host: Host) -> None:
    """Few wake-ups and hardly any time on the processor, however many workspaces are watched."""
    for number in range(50):
        make(host.root, f"org/repo/task-{number:02}")
    with Service(host) as service:
        service.wait(lambda: len(service.names()) == 50 and service.state().pending == 0)
        service.wait(lambda: service.state().committed == 50)
        switches, ticks = effort(service.pid)
        began = time.monotonic()
        time.sleep(3.0)  # the time of rest itself is what is looked at
        more_switches, more_ticks = effort(service.pid)
        seconds = time.monotonic() - began
        assert (more_switches - switches) / seconds < 20
        assert (more_ticks - ticks) / os.sysconf("SC_CLK_TCK") / seconds < 0.17


def test_a_thread_that_dies_ends_the_process_with_one_line(host: Host) -> None:
    """systemd starts it anew; nobody goes on half deaf."""
    code = (
        "import sys\n"
        "from agentic_watch.cli import main\n"
        "from agentic_watch.watch.watched_root import WatchedRoot\n"
        "def follow(*_): raise RuntimeError('injected')\n"
        "WatchedRoot.follow = follow\n"
        "main()\n"
    )
    make(host.root, "org/repo/first")
    process = subprocess.Popen(
        [sys.executable, "-c", code, *host.arguments()], env=environment(host.base), stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: (host.root / "org/repo/first/.meta/commit.json").exists() or process.poll() is not None)
        (host.root / "new").mkdir(exist_ok=True)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if "CRITICAL" in line]
    assert "a watcher thread failed: RuntimeError('injected'); exiting so that systemd restarts the daemon" in line


def test_a_thread_that_ends_without_a_word_ends_the_process(host: Host) -> None:
    """An emitter that returned is as dead as one that raised."""
    code = (
        "from agentic_watch.cli import main\n"
        "from agentic_watch.watch.root_thread import RootThread\n"
        "RootThread.run = lambda self: None\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *host.arguments()],
        env=environment(host.base) | {"WATCHDOG_USEC": "1000000"},  # so that the loop turns often
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert f"the thread 'watch {host.root}' has ended" in result.stderr


def test_a_look_over_a_root_can_pause_at_every_directory(host: Host) -> None:
    """However much there is, and however little of it is news, the loop gets its turn."""
    for number in range(30):
        make(host.root, f"org/repo/task-{number:02}")
        (host.root / f"empty-{number}/inner").mkdir(parents=True)
    assert run([*host.arguments(), "--once"], host.base).returncode == 0
    with contextlib.closing(History(str(host.history))) as history:
        steps = list(rescan(Root(str(host.root)), LastSeen(history), FINISHED, Counts()))
    assert set(steps) == {None}
    assert len(steps) >= 2 * 30 + 2


def test_a_finish_does_not_wait_for_the_slice_of_a_look_that_is_under_way(host: Host) -> None:
    """The look goes on afterwards; here it has no end, and a slice takes longer than anybody waits."""
    code = (
        "import time\n"
        "from agentic_watch.cli import main\n"
        "from agentic_watch.inventory import root_scans\n"
        "def endless(*_, **__):\n"
        "    while True:\n"
        "        time.sleep(0.001)\n"
        "        yield None\n"
        "root_scans.rescan, root_scans._SLICE_SECONDS = endless, 3600.0\n"
        "main()\n"
    )
    workspace = make(host.root, status="running")
    watched = f"ino:{workspace.meta.stat().st_ino:x} "
    command = [sys.executable, "-c", code, *host.arguments(), "-v"]
    process = subprocess.Popen(command, env=environment(host.base), stderr=subprocess.PIPE)
    try:
        wait_for(lambda: any(watched in line for line in watches_of(process.pid)))
        workspace.write_status()
        wait_for(workspace.marker.exists)
    finally:
        process.kill()
        process.communicate()
    assert len(workspace.lines()) == 1


def test_an_unreadable_directory_keeps_nothing_else_in_the_index(host: Host) -> None:
    """Beside a lost+found that may not be listed, what was deleted is forgotten; what lies below it is not."""
    hidden = make(host.root, "hidden/repo/task", status="running")
    gone = make(host.root, "org/repo/gone", status="running")
    (make(host.root, "org/repo/broken").meta / "status.json").write_text("{")
    prefix = () if os.getuid() else ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    service = Service(host, prefix=prefix)
    with service:
        service.wait(lambda: len(on_disk(host)) == 3)
        assert service.stop() == 0
    (host.root / "hidden").chmod(0)
    for name in ("gone", "broken"):
        (host.root / "org/repo" / name).rename(host.base / name)
    with service:
        service.wait_ready(2)
        service.wait_log("hidden: cannot be")
        service.wait(lambda: on_disk(host) == [hidden.name])
        service.wait(lambda: service.state().failing == 0)
        assert gone.name not in on_disk(host)
        (host.root / "hidden").chmod(0o755)


def on_disk(host: Host) -> list[str]:
    """The workspaces that the index knows."""
    return [row["workspace"] for row in host.query("SELECT workspace FROM workspaces ORDER BY workspace")]


def failures(host: Host) -> list[int]:
    """The failures in a row of every workspace on disk."""
    return [row["fail_count"] for row in host.query("SELECT fail_count FROM workspaces")]


def effort(pid: int) -> tuple[int, int]:
    """Voluntary context switches of all threads, and processor time in ticks."""
    switches = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                switches += int(line.split()[1])
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return switches, int(fields[11]) + int(fields[12])
