"""When events are lost: every finished workspace is committed all the same, one line says why, the state tells it.

Each case ends with the same three questions, put by `agree`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from daemon_support import NEVER_SECONDS, Service
from support import Host, Workspace, make, run, wait_for

RECONCILE_SECONDS = 2.0


def namespaces() -> bool:
    """Whether a process may have limits and mounts of its own here (user_namespaces(7))."""
    return subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode == 0


own_limits = pytest.mark.skipif(not namespaces(), reason="the kernel grants no user namespaces here")


def limited(**limits: int) -> list[str]:
    """A prefix that runs a command under limits of its own (/proc/sys/user)."""
    script = "".join(f"echo {value} > /proc/sys/user/{name} && " for name, value in limits.items())
    return ["unshare", "-Ur", "sh", "-c", f'{script}exec "$@"', "sh"]


def agree(service: Service, watching: str, line: str, *, detail: str = "") -> None:
    """One warning that holds `line`; the state and `status --json` tell how the root is watched, and why."""
    assert len(service.lines(line)) == 1, service.log()
    service.wait(lambda: service.watching() == [watching] and detail in service.state().roots[0].detail)
    result = run(["--config", str(service.config_file), "status", "--json"], service.host.base)
    (root,) = json.loads(result.stdout)["daemon"]["roots"]
    assert root["watching"] == watching
    assert detail in root["detail"]


def stop_and_wait(service: Service) -> None:
    """Stop the process as a debugger would, and wait until the kernel says so."""
    os.kill(service.pid, signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")


@pytest.mark.faults
def test_a_queue_overflow_starts_a_scan_at_once(host: Host) -> None:
    """The reader stands still while more happens than the queue holds; no reconcile is needed to make that good."""
    noisy = make(host.root, "org/repo/noisy", status="running")
    with Service(host) as service:
        stop_and_wait(service)
        for number in range(20_000):
            (noisy.meta / f"file-{number}").touch()
        made = [make(host.root, f"org/repo/task-{number:03}") for number in range(100)]
        os.kill(service.pid, signal.SIGCONT)
        service.wait_committed(*made)
        assert service.reconcile_seconds == NEVER_SECONDS
        service.wait(lambda: service.state().overflows == 1)
        agree(service, "inotify", "the kernel dropped events (queue overflow)")
        later = make(host.root, "org/repo/later")
        service.wait_committed(later)


@pytest.mark.faults
@own_limits
def test_without_a_watch_for_all_the_coldest_go_without(host: Host) -> None:
    """Those committed long since give their watches up; what is at work is heard, what is cold is found by scanning."""
    cold = [make(host.root, f"org/repo/cold-{number:02}") for number in range(30)]
    assert run([*host.arguments(), "--once"], host.base).returncode == 0
    warm = [make(host.root, f"org/repo/{name}", status="running") for name in ("amber", "zinc")]
    service = Service(host, prefix=limited(max_inotify_watches=20))
    with service:
        assert service.watches() <= 20
        for workspace in warm:
            workspace.write_status()
        service.wait_committed(*warm)  # by events: no reconcile comes
        agree(service, "inotify", "inotify watch limit reached", detail="the watch limit is reached")
        assert service.stop() == 0
    service.reconcile_seconds = RECONCILE_SECONDS
    service.configure()
    with service:
        service.wait_ready(2)
        for workspace in cold:
            workspace.write_status(updated_at="2026-05-01T00:00:00Z", runs=1)
        service.wait(lambda: all(len(workspace.lines()) == 2 for workspace in cold))
        service.wait(lambda: len(service.names()) == 62)
        assert service.watches() <= 20


@own_limits
def test_a_tree_of_levels_beyond_the_watch_limit_is_scanned(host: Host) -> None:
    """When nothing can give up a watch, what could not be watched is found by the next scan."""
    service = Service(host, prefix=limited(max_inotify_watches=10))
    service.reconcile_seconds = RECONCILE_SECONDS
    with service:
        made = [make(host.root, f"org-{number:02}/repo/task") for number in range(30)]
        service.wait_committed(*made)
        agree(service, "inotify", "inotify watch limit reached", detail="the watch limit is reached")


@pytest.mark.faults
@own_limits
def test_a_root_that_gets_no_watch_at_all_is_polled(host: Host) -> None:
    """Not one watch is to be had: looking every few seconds takes its place."""
    with Service(host, prefix=limited(max_inotify_watches=0)) as service:
        workspace = make(host.root)
        service.wait_committed(workspace)
        agree(service, "poll", "polling every 5 s", detail="no inotify watch is left")


@own_limits
def test_a_root_that_got_no_watch_gets_one_when_there_are_some(host: Host) -> None:
    """Others gave theirs back: it is tried at each reconcile, and said when it works."""
    limit = "/proc/sys/user/max_inotify_watches"
    later = f"(while [ ! -e {host.base}/enough ]; do sleep 0.1; done; echo 1000 > {limit}) &"
    service = Service(host, prefix=["unshare", "-Ur", "sh", "-c", f'echo 0 > {limit}; {later} exec "$@"', "sh"])
    service.reconcile_seconds = 1.0
    with service:
        service.wait(lambda: service.watching() == ["poll"])
        service.wait(lambda: len(service.lines("polling every 5 s")) == 1)
        (host.base / "enough").touch()
        service.wait_log("now watching (inotify)")
        service.wait(lambda: service.watching() == ["inotify"])
        assert len(service.lines("polling every 5 s")) == 1
        service.wait_committed(make(host.root))


@pytest.mark.faults
@own_limits
def test_without_an_inotify_instance_the_roots_are_polled(host: Host) -> None:
    """fs.inotify.max_user_instances is used up by others."""
    with Service(host, prefix=limited(max_inotify_instances=0)) as service:
        workspace = make(host.root)
        service.wait_committed(workspace)
        agree(service, "poll", "cannot create an inotify instance", detail="no inotify instance")
        assert "fs.inotify.max_user_instances" in service.log()


def test_a_root_deleted_and_made_again_is_watched_again(host: Host) -> None:
    """Gone is said once, and what stands in the new directory is committed without a reconcile."""
    make(host.root)
    with Service(host) as service:
        shutil.rmtree(host.root)
        service.wait(lambda: service.watching() == ["waiting"])
        agree(service, "waiting", "was removed, renamed or unmounted", detail="was removed")
        make(host.base / "made", "org/repo/new").root.rename(host.root)
        service.wait_committed(Workspace(host.root, "org/repo/new"))
        service.wait(lambda: service.watching() == ["inotify"])
        heard = make(host.root, "org/repo/heard")
        service.wait_committed(heard)


def test_a_root_renamed_away_and_back_is_watched_again(host: Host) -> None:
    """What was finished while it was away is committed when it is back."""
    workspace = make(host.root, status="running")
    with Service(host) as service:
        away = host.base / "away"
        host.root.rename(away)
        service.wait(lambda: service.watching() == ["waiting"])
        Workspace(away, workspace.name).write_status()
        away.rename(host.root)
        service.wait_committed(workspace)
        agree(service, "inotify", "was removed, renamed or unmounted")


@pytest.mark.faults
def test_a_root_whose_parent_is_renamed_is_missed_soon(host: Host) -> None:
    """The kernel tells a watch nothing of its directory's parents; the path is looked at every few seconds."""
    base = host.base / "volume"
    root = base / "work"
    root.mkdir(parents=True)
    service = Service(host)
    service.roots = [{"path": str(root)}]
    with service:
        base.rename(host.base / "other-volume")
        service.wait(lambda: service.watching() == ["waiting"])
        (host.base / "other-volume").rename(base)
        workspace = make(root)
        service.wait_committed(workspace)


@pytest.mark.faults
@own_limits
def test_a_root_can_be_unmounted_and_mounted_again_under_the_daemon(host: Host) -> None:
    """umount(8) is not refused as busy; what lies on the next file system is committed soon after it is mounted."""
    mount = f"mount -t tmpfs none {host.root}"
    service = Service(host, prefix=["unshare", "-Urm", "sh", "-c", f'{mount} && exec "$@"', "sh"])
    with service:
        seen = Path(f"/proc/{service.pid}/root{host.root}")
        first = make(seen, "org/repo/first")
        service.wait_committed(first)
        service.wait(lambda: service.state().pending == 0)
        inside(service, ["umount", str(host.root)])
        service.wait_log("was removed, renamed or unmounted")
        inside(service, mount.split())
        second = make(seen, "org/repo/second")
        service.wait_committed(second)
        service.wait(lambda: service.watching() == ["inotify"])


def inside(service: Service, command: Sequence[str]) -> None:
    """Run a command where the daemon's mounts are."""
    enter = ["nsenter", "-t", str(service.pid), "-U", "-m", "--preserve-credentials"]
    deadline = time.monotonic() + 30.0
    while (result := subprocess.run([*enter, *command], capture_output=True, text=True, check=False)).returncode:
        # A scan holds the root open for a moment: an operator would try again too.
        assert time.monotonic() < deadline, result.stderr
        time.sleep(0.05)
