"""Roots, and mounts below them, that do not answer, or send no events: the others go on, and it is said."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from daemon_support import Service
from fuse_mirror import FuseMirror, needs_fuse
from support import Host, Workspace, make, run, wait_for

from agentic_watch.config import Overrides, load, paths
from agentic_watch.watch.hanging_mounts import Mounts
from agentic_watch.workspace import files
from agentic_watch.workspace.place import open_place
from agentic_watch.workspace.workspace_errors import Missing

pytestmark = needs_fuse
POLL_SECONDS = 1.0
SOON_SECONDS = 30.0
"""What hangs would be waited for much longer; tests run beside each other."""


@pytest.fixture
def mirror(host: Host) -> Iterator[FuseMirror]:
    """A file system of another process, as sshfs is one."""
    with FuseMirror(host.base / "behind", host.base / "mirror") as made:
        yield made


@pytest.fixture
def inner(host: Host) -> Iterator[FuseMirror]:
    """One that is mounted as an organisation of the root."""
    with FuseMirror(host.base / "behind", host.root / "far") as made:
        yield made


def with_two_roots(host: Host, mirror: FuseMirror) -> Service:
    """A daemon for a root that may hang and one on a disk of this host."""
    service = Service(host)
    service.poll_seconds = POLL_SECONDS
    service.roots = [{"path": str(mirror.path), "name": "far"}, {"path": str(host.root), "name": "near"}]
    return service


def test_a_root_of_another_process_is_polled(host: Host, mirror: FuseMirror) -> None:
    """What is made there or behind it is committed there."""
    with with_two_roots(host, mirror) as service:
        behind = make(mirror.behind, "org/repo/behind")
        service.wait(lambda: "org/repo/behind" in service.names() and behind.marker.exists())
        service.wait(lambda: service.watching() == ["poll", "inotify"])
        assert len(behind.lines()) == 1


def test_a_root_that_hangs_at_the_start_holds_up_no_other(host: Host, mirror: FuseMirror) -> None:
    """Log, READY, commits and SIGTERM of the others come as ever; it is named, and served when it answers."""
    make(mirror.behind, "org/repo/behind")
    near = make(host.root)
    mirror.hang()
    with with_two_roots(host, mirror) as service:
        service.wait_committed(near)
        service.wait_log(f"{mirror.path}: does not answer")
        service.wait(lambda: service.watching() == ["hanging", "inotify"])
        service.wait_committed(make(host.root, "org/repo/later"))
        mirror.answer()
        service.wait_log(f"{mirror.path}: answers again")
        service.wait(lambda: "org/repo/behind" in service.names())
        service.wait(lambda: service.watching() == ["poll", "inotify"])
        assert len(service.lines("does not answer; skipped")) == 1


def wait_reconciled(service: Service) -> None:
    """Wait until all that answers was looked at once more."""
    scanned = service.state().last_scan_at
    service.wait(lambda: service.state().last_scan_at != scanned)


def test_a_root_that_hangs_while_it_is_served_holds_up_no_other(host: Host, mirror: FuseMirror) -> None:
    """Reconciles come and go; SIGTERM ends the process soon."""
    make(mirror.behind, "org/repo/behind")
    service = with_two_roots(host, mirror)
    service.reconcile_seconds = 2.0
    with service, contextlib.ExitStack() as at_end:
        at_end.callback(mirror.answer)  # also when this fails: what is caught there cannot be killed
        service.wait(lambda: "org/repo/behind" in service.names())
        mirror.hang()
        service.wait_log(f"{mirror.path}: does not answer", 30.0)
        for number in range(3):
            service.wait_committed(make(host.root, f"org/repo/task-{number}"))
            wait_reconciled(service)
        service.signal(signal.SIGTERM)
        assert service.wait_end(SOON_SECONDS) == 0


def test_a_reload_while_a_root_hangs_says_nothing_twice_and_touches_it_no_more_than_before(
    host: Host, mirror: FuseMirror, inner: FuseMirror
) -> None:
    """What stood before still stands: how it is polled, and that it does not answer; the others are served at once."""
    make(mirror.behind, "org/repo/behind", status="running")
    inner.hang()
    with with_two_roots(host, mirror) as service, contextlib.ExitStack() as at_end:
        at_end.callback(mirror.answer)  # also when this fails: what is caught there cannot be killed
        service.wait(lambda: service.watching() == ["poll", "inotify"])
        mirror.hang()
        service.wait_log(f"{mirror.path}: does not answer")
        service.wait_log(f"{inner.path}: does not answer")
        for number in range(3):
            service.signal(signal.SIGHUP)
            service.wait(lambda number=number: len(service.lines("configuration reloaded")) > number)
            service.wait_committed(make(host.root, f"org/repo/task-{number}"))
            service.wait(lambda: service.watching() == ["hanging", "inotify"])
        inner.answer()
        mirror.answer()
        service.wait_log(f"{mirror.path}: answers again")
        service.wait_log(f"{inner.path}: answers again")
        make(mirror.behind, "org/repo/later")
        service.wait(lambda: "org/repo/later" in service.names())
        for text in ("which sends no events; ", "does not answer; skipped", "answers again"):
            assert len(service.lines(text)) == 2, service.log()


def test_a_root_is_left_alone_until_its_thread_had_an_answer(host: Host) -> None:
    """What waited since before a reload would be the first to touch it."""
    mounts = Mounts(host.config().roots[0])
    with closing(mounts):
        assert mounts.is_left_alone("org/repo/task")
        with mounts.contact.asking():
            assert mounts.is_left_alone("org/repo/task")
        assert not mounts.is_left_alone("org/repo/task")
        hanging = Mounts(host.config().roots[0], mounts)
        with closing(hanging), mounts.contact.asking():
            assert hanging.is_left_alone()


def test_a_root_that_hangs_is_asked_for_once_where_its_symlinks_lead(
    host: Host, mirror: FuseMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload of the daemon waits for it as long as it may, and the next one not at all."""
    service = with_two_roots(host, mirror)
    service.configure()
    mirror.hang()
    given = Overrides(config=str(service.config_file))
    monkeypatch.setattr(paths, "_ANSWER_SECONDS", 1.0)
    began = time.monotonic()
    assert len(load(given, {}).roots) == 2
    between = time.monotonic()
    assert between - began >= 1.0
    monkeypatch.setattr(paths, "_ANSWER_SECONDS", 3 * SOON_SECONDS)
    load(given, {})
    assert time.monotonic() - between < SOON_SECONDS


def test_a_workspace_that_tells_of_another_root_does_not_lead_there_while_it_hangs(
    host: Host, mirror: FuseMirror
) -> None:
    """It was there before it was moved here, or its journal names another workspace, which may stand in any root."""
    workspace = make(host.root)
    moved = Workspace(mirror.behind, workspace.name)
    moved.path.parent.mkdir(parents=True)
    with with_two_roots(host, mirror) as service, contextlib.ExitStack() as at_end:
        at_end.callback(mirror.answer)  # also when this fails: what is caught there cannot be killed
        service.wait_committed(workspace)
        shutil.copytree(workspace.path, moved.path)
        shutil.rmtree(workspace.path)
        service.wait(lambda: host.rows()[workspace.name]["moved_to"] == str(mirror.path / workspace.name))
        mirror.hang()
        service.wait(lambda: service.watching() == ["hanging", "inotify"])
        back = Workspace(host.root, "org/repo/back")
        shutil.copytree(moved.path, back.path)
        back.write_status(updated_at="2026-04-15T08:00:00Z")
        told = make(host.root, "org/repo/told", status="running")
        told.journal.write_text(
            json.dumps({**back.line(), "workspace": "org/repo/elsewhere", "task": "another"}) + "\n"
        )
        told.write_status()
        service.wait_committed(make(host.root, "org/repo/later"))
        service.wait(lambda: {"org/repo/back", "org/repo/told"} <= set(service.names()))
        mirror.answer()
        service.wait(lambda: service.watching() == ["poll", "inotify"])
        assert len([name for name in service.names() if name == workspace.name]) == 1


def test_a_mount_that_hangs_below_a_root_holds_up_no_other_part_of_it(host: Host, inner: FuseMirror) -> None:
    """The start, events and reconciles pass it by; its own finishes are committed when it answers."""
    far = Workspace(inner.path, "repo/task")
    make(inner.behind, "repo/task")
    inner.hang()
    service = Service(host)
    service.reconcile_seconds, service.poll_seconds = 1.0, POLL_SECONDS
    with service:
        service.wait_committed(make(host.root, "org/repo/near"))
        service.wait_log(f"{inner.path}: does not answer")
        service.wait(lambda: "far does not answer" in service.state().roots[0].detail)
        service.wait_committed(make(host.root, "org/repo/later"))
        inner.answer()
        service.wait(lambda: "far/repo/task" in service.names())
        service.wait(far.marker.exists)
        service.wait(lambda: "does not answer" not in service.state().roots[0].detail)
        service.wait(lambda: service.watching() == ["inotify"])


def test_a_mount_without_events_below_a_root_is_polled(host: Host, inner: FuseMirror) -> None:
    """What is changed behind it, of which no event tells, is committed in seconds; no reconcile comes."""
    first = make(inner.behind, "repo/first", status="running")
    service = Service(host)
    service.poll_seconds = POLL_SECONDS
    with service:
        service.wait(lambda: "far (fuse) is polled" in service.state().roots[0].detail)
        assert len(service.lines("far: lies on fuse, which sends no events")) == 1
        first.write_status()
        make(inner.behind, "repo/second")
        service.wait(lambda: sorted(service.names()) == ["far/repo/first", "far/repo/second"])
        service.wait(first.marker.exists)
        service.wait_committed(make(host.root, "org/repo/near"))
        status = run(["--config", str(service.config_file), "status"], host.base)
        assert "far (fuse) is polled" in status.stdout


@pytest.mark.parametrize("command", ["status", "check", "check --quick"])
def test_who_asks_beside_a_root_that_hangs_is_answered(host: Host, mirror: FuseMirror, command: str) -> None:
    """The commands name it, and touch it no more than the daemon does."""
    with with_two_roots(host, mirror) as service:
        mirror.hang()
        service.wait(lambda: service.watching() == ["hanging", "inotify"])
        arguments = ["--config", str(service.config_file), *command.split()]
        result = run(arguments, host.base, timeout=SOON_SECONDS)
        assert "does not answer" in result.stdout
        assert result.returncode == 1


def test_the_metrics_tell_how_many_hang(host: Host, mirror: FuseMirror) -> None:
    """A root, or a mount below one."""
    text = host.base / "metrics.prom"
    service = with_two_roots(host, mirror)
    service.configure()
    with service.config_file.open("a") as config:
        config.write(f'\n[metrics]\ntextfile = "{text}"\n')
    with service:
        service.wait(lambda: text.exists() and "agentic_watch_hanging_mounts 0.0" in text.read_text())
        mirror.hang()
        service.wait(lambda: "agentic_watch_hanging_mounts 1.0" in text.read_text())


def test_a_directory_that_was_removed_there_is_missing(host: Host, mirror: FuseMirror) -> None:
    """Such a file system does not even answer a stat of what is still open, and that ends no daemon."""
    workspace = make(mirror.behind, "org/repo/task")
    with closing(open_place(str(mirror.path), "org/repo/task")) as place:
        assert place.meta is not None
        shutil.rmtree(workspace.path)
        wait_for(lambda: not (mirror.path / "org/repo/task").exists())
        with pytest.raises(Missing):
            files.create(place.meta, "new", ".meta/new")
        with pytest.raises(Missing):
            _ = place.inode
