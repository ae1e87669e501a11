"""Of very many workspaces those committed long since get their watches after the start; none is missed meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from daemon_support import NEVER_SECONDS, Service
from support import Host, Workspace, make, wait_for, write_marker

from agentic_watch.config import Root
from agentic_watch.watch.change_queues import Hint, HintQueue, Kind, WatchedDirectory
from agentic_watch.watch.watcher import Watcher
from agentic_watch.watch.watches import Watches

OTHERS = 2
"""Watches of the levels above the workspaces: the organisation and the repository; the root has its own."""
SOON = "2026-05-01T00:00:00Z"


class Started:
    """A watcher whose hints are left in their queue, so that no scan comes before a test says so."""

    def __init__(self, host: Host) -> None:
        self._hints = HintQueue()
        self._taken: list[Hint] = []
        self.watcher = Watcher([Root(str(host.root))], self._hints)
        self.watcher.start()
        assert self.next_hint().reason == "inotify"

    def next_hint(self) -> Hint:
        """The next thing that the watcher has to say."""
        while not self._taken:
            self._taken = self._hints.take(20.0)
        return self._taken.pop(0)

    def is_from_event(self, name: str) -> bool:
        """Whether the workspace's own event tells of it, as soon as anything does."""
        while (hint := self.next_hint()).candidate is None or hint.candidate.name != name:
            pass
        return hint.from_event


Start = Callable[[], Started]


@pytest.fixture
def watcher(host: Host) -> Iterator[Start]:
    """Starts watchers, and ends them with the test."""
    made: list[Started] = []

    def start() -> Started:
        made.append(Started(host))
        return made[-1]

    yield start
    for one in made:
        one.watcher.stop()


def committed(host: Host, name: str) -> Workspace:
    """A workspace whose marker is younger than its status."""
    workspace = make(host.root, name)
    write_marker(workspace)
    return workspace


def watches(started: Started) -> int:
    """How many the watcher says it has."""
    return started.watcher.states()[0].watches


def test_what_was_committed_long_since_waits_for_the_scan(
    host: Host, watcher: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the first few; when the last of them is watched, the root is to be looked at once more."""
    monkeypatch.setattr("agentic_watch.watch.watches._AT_ONCE", 3)
    for number in range(200):
        committed(host, f"org/repo/task-{number:03}")
    started = watcher()
    assert watches(started) == 1 + OTHERS + 2 * 3
    assert "are being placed" in started.watcher.states()[0].detail
    started.watcher.roots[str(host.root)].scanned()
    assert started.next_hint().reason == "watched"
    assert watches(started) == 1 + OTHERS + 2 * 200
    wait_for(lambda: not started.watcher.states()[0].detail)


def test_what_is_at_work_does_not_wait(host: Host, watcher: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that was never committed nor one that was dispatched again since: both are heard from the start."""
    monkeypatch.setattr("agentic_watch.watch.watches._AT_ONCE", 0)
    committed(host, "org/repo/done")
    fresh = make(host.root, "org/repo/fresh", status="running")
    again = make(host.root, "org/repo/again", status="running")
    write_marker(again)
    again.write_status(status="running", updated_at=SOON)
    wait_for(lambda: again.marker.stat().st_ctime_ns < (again.meta / "status.json").stat().st_ctime_ns or touch(again))
    started = watcher()
    assert watches(started) == 1 + OTHERS + 2 * 2
    for workspace in (fresh, again):
        workspace.write_status(updated_at=SOON)
        assert started.is_from_event(workspace.name)


def touch(workspace: Workspace) -> bool:
    """Write the status once more, at a later tick of the file system's clock."""
    workspace.write_status(status="running", updated_at=SOON)
    return False


def test_a_workspace_that_comes_while_others_wait_is_heard(
    host: Host, watcher: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level is watched from the start, and who waits in it hides nobody."""
    monkeypatch.setattr("agentic_watch.watch.watches._AT_ONCE", 0)
    committed(host, "org/repo/done")
    started = watcher()
    make(host.root, "org/repo/new")
    while (found := started.next_hint().candidate) is None or found.name != "org/repo/new":
        pass


def ticked(host: Host, before: int) -> bool:
    """Whether the file system's clock has gone on."""
    (host.base / "clock").write_text("")
    return (host.base / "clock").stat().st_ctime_ns > before


def test_what_changed_last_gets_its_watch_first(host: Host, watcher: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it lies: it is likelier to change again than what was committed long since."""
    monkeypatch.setattr("agentic_watch.watch.watches._AT_ONCE", 0)
    monkeypatch.setattr("agentic_watch.watch.watches._DEFERRED_AT_A_TIME", 1)
    placed: list[str] = []
    add = Watches.add

    def listen(self: Watches, parent: object, base: str, directory: int, kind: Kind) -> object:
        placed.append(base)
        return add(self, parent, base, directory, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(Watches, "add", listen)
    names = [f"org-{number % 3}/repo/task-{number}" for number in range(9)]
    for name in names:
        before = committed(host, name).marker.stat().st_ctime_ns
        wait_for(lambda: ticked(host, before))  # noqa: B023
    started = watcher()
    placed.clear()
    started.watcher.roots[str(host.root)].scanned()
    assert started.next_hint().reason == "watched"
    assert [base for base in placed if base.startswith("task")] == [name.rpartition("/")[2] for name in reversed(names)]


def test_what_is_dispatched_again_between_ready_and_its_watch_is_committed_soon(host: Host) -> None:
    """Whether its watch is there by then or not; no reconcile comes."""
    names = [f"org/repo/task-{number:04}" for number in range(3_000)]
    for name in names:
        make(host.root, name)
    assert host.once().counts["committed"] == len(names)
    service = Service(host)
    assert service.reconcile_seconds == NEVER_SECONDS
    with service:
        again = [Workspace(host.root, name) for name in names[::50]]
        for workspace in again:
            workspace.write_status(updated_at=SOON, runs=1)
        service.wait(lambda: all(workspace.mark()["runs"] == 1 for workspace in again))
        assert all(len(workspace.lines()) == 2 for workspace in again)
        service.wait(lambda: service.watches() == 1 + OTHERS + 2 * len(names))
        assert service.state().overflows == 0


def test_what_is_no_longer_watched_is_freed_at_once(host: Host, watcher: Start) -> None:
    """Without a search for cycles, which is rare: else a daemon grows by each workspace that has too many events."""
    started = watcher()
    levels = watches(started) + OTHERS
    workspace = make(host.root, "org/repo/task")
    wait_for(lambda: watches(started) == levels + 2)
    gc.collect()
    gc.disable()
    try:
        wait_for(lambda: has_stormed(workspace) and watches(started) == levels)
        wait_for(lambda: in_memory() == watches(started))
    finally:
        gc.enable()


def test_the_watches_of_a_lost_root_are_freed_at_once(host: Host, watcher: Start) -> None:
    """And those of a watcher that ends at a reload: each time may be that of 100,000 workspaces."""
    for number in range(20):
        make(host.root, f"org/repo/task-{number}")
    started = watcher()
    away = host.base / "away"
    gc.collect()
    gc.disable()
    try:
        host.root.rename(away)
        wait_for(lambda: watches(started) == in_memory() == 0)
        away.rename(host.root)
        wait_for(lambda: watches(started) == in_memory() == 1 + OTHERS + 2 * 20)
        started.watcher.stop()
        wait_for(lambda: in_memory() == 0)
    finally:
        gc.enable()


def in_memory() -> int:
    """How many watched directories this process keeps."""
    return sum(isinstance(one, WatchedDirectory) for one in gc.get_objects())


def has_stormed(workspace: Workspace) -> bool:
    """More events of one workspace than one may have in a second."""
    for _ in range(100):
        for name in ("status.json", "report.json"):
            with (workspace.meta / name).open("ab"):
                pass
    return True
