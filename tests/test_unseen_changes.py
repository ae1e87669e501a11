"""What the kernel tells late, elsewhere or not at all: permissions, mounts, a status for a moment, a storm of events.

No reconcile comes in these tests: whatever is committed was found by the watcher itself.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from daemon_support import Service, watches_of
from support import Host, Workspace, make, wait_for
from test_lost_events import inside, limited, own_limits, stop_and_wait

POWERLESS = () if os.getuid() else ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""A prefix without the powers by which root passes over permissions."""


def fence(service: Service, name: str) -> None:
    """Wait until the watcher has dealt with all that happened so far: it takes the news in their order."""
    service.wait_committed(make(service.host.root, f"fence/{name}/task"))


LATE = pytest.mark.parametrize("late", ["org", "org/repo", "org/repo/task", "org/repo/task/.meta"])


@LATE
def test_what_can_be_read_only_later_is_seen_then(host: Host, late: str) -> None:
    """As `mkdir -m 700` with a chmod after it, `cp -a` and `tar -xp` make it; what is below was there by then."""
    outside = make(host.base / "outside")
    (outside.root / late).chmod(0)
    with Service(host, prefix=POWERLESS) as service:
        (outside.root / "org").rename(host.root / "org")
        fence(service, "closed")
        (host.root / late).chmod(0o755)
        service.wait_committed(Workspace(host.root, outside.name))


@LATE
def test_what_is_closed_for_a_while_is_seen_when_it_is_open_again(host: Host, late: str) -> None:
    """A watched directory whose permissions are taken away and given back; it was filled meanwhile."""
    outside = make(host.base / "outside")
    hidden = host.root / late
    with Service(host, prefix=POWERLESS) as service:
        hidden.mkdir(parents=True)
        fence(service, "watched")
        hidden.chmod(0)
        for path in sorted((outside.root / late).iterdir()):
            with opened(hidden):
                path.rename(hidden / path.name)
        fence(service, "filled")
        hidden.chmod(0o755)
        service.wait_committed(Workspace(host.root, outside.name))


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[None]:
    """Open a directory for whoever is not root, while the body runs."""
    if os.getuid():
        directory.chmod(0o700)
    yield
    if os.getuid():
        directory.chmod(0)


def test_a_status_that_can_be_read_only_later_is_committed_then(host: Host) -> None:
    """A change of its mode is news as its writing was, and no time of a next attempt is waited for."""
    workspace = make(host.root, status="running")
    status = workspace.meta / "status.json"
    with Service(host, prefix=POWERLESS) as service:
        status.chmod(0)
        workspace_written = workspace.meta / "new"
        workspace_written.write_text('{"status": "completed", "updated_at": "2026-04-14T11:17:08Z"}')
        workspace_written.chmod(0)
        workspace_written.rename(status)
        service.wait_log("Permission denied")
        status.chmod(0o644)
        service.wait_committed(workspace)


def test_a_status_that_stands_in_a_level_for_a_moment_blinds_nothing(host: Host) -> None:
    """While it stands the level is a workspace; when it is gone all below is watched again."""
    below = make(host.root, "org/repo/below", status="running")
    organisation = Workspace(host.root, "org")
    with Service(host) as service:
        before = service.watches()
        for number in range(3):
            organisation.write_status("root", status="running", runs=number)
            service.wait(lambda: service.watches() < before)
            (organisation.path / "status.json").unlink()
            service.wait(lambda: service.watches() == before)
        below.write_status()
        service.wait_committed(below)


def test_a_status_that_is_unlinked_and_written_anew_is_committed(host: Host) -> None:
    """As a careless dispatcher replaces it; the workspace is none for a moment, and is one again."""
    workspace = make(host.root, status="running")
    with Service(host) as service:
        (workspace.meta / "status.json").unlink()
        workspace.write_status()
        service.wait_committed(workspace)
        service.wait(lambda: service.watches() == 5)


@own_limits
@pytest.mark.parametrize("over", ["org", "org/repo", "org/repo/task", "org/repo/task/.meta"])
def test_what_is_mounted_over_a_watched_directory_is_seen(host: Host, over: str) -> None:
    """The kernel sends no event of a mount; the mounts below a root are looked at every few seconds."""
    workspace = make(host.root, status="running")
    service = Service(host, prefix=["unshare", "-Urm"])
    with service:
        inside(service, ["mount", "-t", "tmpfs", "none", str(host.root / over)])
        seen = Workspace(Path(f"/proc/{service.pid}/root{host.root}"), workspace.name)
        seen.meta.mkdir(parents=True, exist_ok=True)
        seen.write_status()
        service.wait_committed(seen)
        inside(service, ["umount", str(host.root / over)])
        workspace.write_status(updated_at="2026-04-15T00:00:00Z", runs=1)
        service.wait(lambda: workspace.marker.exists() and workspace.mark()["runs"] == 1)


STORM = """
import os, sys
while True:
    for name in sys.argv[1:]:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT))
"""


@contextlib.contextmanager
def storm(*paths: Path) -> Iterator[None]:
    """Files opened and closed in turn, as fast as it goes."""
    process = subprocess.Popen([sys.executable, "-c", STORM, *map(str, paths)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("names", [(".meta/a", ".meta/b"), (".meta/status.json", ".meta/report.json"), ("x", "y")])
def test_an_agent_that_storms_its_own_workspace_is_not_heard_for_a_while(host: Host, names: tuple[str, str]) -> None:
    """Others are served as ever, little is logged, and its own finish is found by looking."""
    noisy = make(host.root, "org/repo/noisy", status="running")
    quiet = [make(host.root, f"org/repo/quiet-{number}", status="running") for number in range(5)]
    with Service(host) as service, storm(*(noisy.path / name for name in names)):
        service.wait_log("too many file events")
        for workspace in quiet:
            workspace.write_status()
            service.wait_committed(workspace)
        fresh = noisy.meta / "fresh"
        fresh.write_text('{"status": "completed", "updated_at": "2026-04-14T11:17:08Z"}')
        fresh.rename(noisy.meta / "status.json")
        service.wait_committed(noisy)
        loud = [line for line in service.log().splitlines() if "committed" not in line and "ready" not in line]
        assert len(loud) <= 3, loud


def test_a_silenced_workspace_that_is_removed_and_made_again_is_watched(host: Host) -> None:
    """What was silenced was that directory, not the name."""
    noisy = make(host.root, "org/repo/noisy", status="running")
    with Service(host) as service:
        with storm(noisy.meta / "a", noisy.meta / "b"):
            service.wait_log("too many file events")
        shutil.rmtree(noisy.path)
        again = make(host.root, "org/repo/noisy")
        service.wait_committed(again)
        service.wait(lambda: service.watches() == 5)


def test_a_throttled_level_that_goes_away_and_comes_back_is_watched(host: Host) -> None:
    """It was gone when it was to be watched again, and comes back among more directories than one change names."""
    levels = [host.root / "org/comes-back", host.root / "org/second"]  # "second" is looked at again after the other one
    old = [make(host.root, f"org/{level.name}/task", status="running") for level in levels]
    away = host.base / "away"
    with Service(host) as service:
        with storm(*(level / name for level in levels for name in ("x", "y"))):
            service.wait(lambda: service.watches() == 6)
        levels[0].rename(away)
        service.wait(lambda: watches(service, levels[1]))
        stop_and_wait(service)
        for number in range(100):
            (host.root / f"org/level-{number}").mkdir()
        away.rename(levels[0])
        os.kill(service.pid, signal.SIGCONT)
        service.wait(lambda: watches(service, levels[0]))
        service.wait_committed(make(host.root, "org/comes-back/new"))
        old[0].write_status()
        service.wait_committed(old[0])


@own_limits
def test_a_throttled_level_is_watched_again_before_any_workspace(host: Host) -> None:
    """Other directories took its watch meanwhile, and none is left."""
    for number in range(30):
        make(host.root, f"org/repo/task-{number}", status="running")
    level, other = host.root / "org/repo", host.root / "other"
    other.mkdir()
    with Service(host, prefix=limited(max_inotify_watches=20)) as service:
        with storm(level / "x", level / "y"):
            for number in itertools.count():
                service.wait(lambda: not watches(service, level))
                (new := other / f"repo-{number}").mkdir()
                service.wait(partial(watches, service, new))
                if len(watches_of(service.pid)) == 20 and not watches(service, level):
                    break
        service.wait(lambda: watches(service, level))
        service.wait_committed(make(host.root, "org/repo/new"))


def watches(service: Service, directory: Path) -> bool:
    """Whether the kernel says that the daemon watches a directory."""
    return any(f"ino:{directory.stat().st_ino:x} " in line for line in watches_of(service.pid))


@pytest.mark.faults
def test_the_end_of_many_watches_fills_no_queue(host: Host) -> None:
    """Neither the rename of a large level nor an overflow over many watches breeds the next overflow."""
    for number in range(9_000):
        (host.root / f"org/repo-{number % 100}/task-{number}/.meta").mkdir(parents=True)
        (host.root / f"org/repo-{number % 100}/task-{number}/.meta/status.json").write_text(
            '{"status": "running", "updated_at": "2026-04-14T11:17:08Z"}'
        )
    noisy = make(host.root, "other/repo/noisy", status="running")
    renamed = Workspace(host.root, "new-name/repo-7/task-7")
    with Service(host, patience_seconds=120.0) as service:
        (host.root / "org").rename(host.root / "new-name")
        renamed.write_status()
        service.wait(lambda: renamed.marker.exists(), 60.0)
        assert service.state().overflows == 0
        stop_and_wait(service)
        overflow(noisy.meta)
        os.kill(service.pid, signal.SIGCONT)
        service.wait(lambda: service.state().overflows == 1)
        service.wait(settles(service), 60.0)
        made = make(host.root, "org/repo/made-after")
        service.wait_committed(made)
        assert service.state().overflows == 1
        service.wait(lambda: service.watching() == ["inotify"])
        assert len(service.lines("queue overflow")) == 1


def overflow(directory: Path) -> None:
    """More events than the kernel's queue holds."""
    for number in range(20_000):
        (directory / f"file-{number}").touch()


def settles(service: Service) -> Callable[[], bool]:
    """Whether the number of watches is what the kernel says, too: all is planted, and nothing is on its way out."""
    return lambda: service.state().roots[0].watches == service.watches() and service.state().pending == 0


def test_a_root_that_comes_back_read_only_is_said(host: Host) -> None:
    """Whoever may not write there cannot commit: one warning names the remedy."""
    if subprocess.run(["unshare", "-Urm", "true"], check=False).returncode:
        pytest.skip("the kernel grants no user namespaces here")
    script = f'mount --bind {host.root} {host.root} && mount -o remount,bind,ro {host.root} && exec "$@"'
    with Service(host, prefix=["unshare", "-Urm", "sh", "-c", script, "sh"]) as service:
        service.wait_log("is mounted read-only here, so nothing in it can be committed")
        wait_for(lambda: service.ended() is None)


@own_limits
def test_a_root_that_comes_late_and_is_read_only_has_the_service_start_anew(host: Host) -> None:
    """A hardened unit opens for writing what is there when it starts; so the daemon ends itself, once."""
    closed, late = host.base / "closed", host.base / "late"
    closed.mkdir()
    script = f'mount --bind {closed} {closed} && mount -o remount,bind,ro {closed} && exec "$@"'
    prefix = ["unshare", "-Urm", "sh", "-c", script, "sh"]
    service = Service(host, prefix=prefix, environ={"NOTIFY_SOCKET": str(host.base / "nobody")})
    service.roots.append({"path": str(late)})
    with service:
        service.wait(lambda: service.watching() == ["inotify", "waiting"])
        late.symlink_to(closed)
        assert service.wait_end() == 1
        assert len(service.lines("CRITICAL")) == 1
        assert f"{late}: appeared after the start" in service.log()
        service.start()
        service.wait_log(f"{late}: is mounted read-only here, so nothing in it can be committed")
        service.wait_ready(2)
        service.wait_committed(make(host.root))
