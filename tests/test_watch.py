"""What the watcher sees by events alone, whatever is moved, removed and made again below a root."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest
from daemon_support import Service
from support import Host, Workspace, make, wait_for

SEEDS = (1, *(pytest.param(seed, marks=pytest.mark.faults) for seed in range(2, 9)))


def test_a_workspace_built_directory_by_directory_is_seen(host: Host) -> None:
    """Each new directory is watched before it is looked into, so the status at the end is met."""
    workspace = Workspace(host.root, "org/repo/task")
    with Service(host) as service:
        for path in [
            host.root / "org",
            host.root / "org/repo",
            workspace.path,
            workspace.path / "repo",
            workspace.meta,
        ]:
            path.mkdir()
        workspace.write_status()
        service.wait_committed(workspace)


def test_a_tree_moved_in_is_seen(host: Host) -> None:
    """A whole organisation that arrives by one rename brings all its workspaces."""
    outside = host.base / "outside"
    names = ["org/one/task", "org/two/task-1", "org/two/task-2"]
    for name in names:
        make(outside, name)
    with Service(host) as service:
        (outside / "org").rename(host.root / "org")
        service.wait_committed(*(Workspace(host.root, name) for name in names))


def test_a_renamed_workspace_is_committed_under_its_new_name(host: Host) -> None:
    """A rename is another workspace, since the name is part of the identity; its status is heard from then on."""
    make(host.root, "org/repo/old", status="running")
    moved = Workspace(host.root, "org/repo/new")
    with Service(host) as service:
        (host.root / "org/repo/old").rename(moved.path)
        service.wait(lambda: "org/repo/new" in index(host))
        moved.write_status()
        service.wait_committed(moved)
        assert service.names() == ["org/repo/new"]


def test_workspaces_below_a_renamed_level_are_seen_under_their_new_names(host: Host) -> None:
    """What lies below a renamed directory has a new name too, though the kernel says no word of it."""
    make(host.root, "org/repo/done")
    open_one = make(host.root, "org/repo/open", status="running")
    with Service(host) as service:
        (host.root / "org").rename(host.root / "renamed")
        moved = Workspace(host.root, "renamed/repo/open")
        moved.write_status()
        sql = "SELECT coalesce(moved_to, workspace) AS name FROM dispatch_history"
        service.wait(lambda: {row["name"] for row in host.query(sql)} == {"renamed/repo/done", moved.name})
        assert open_one.name not in service.names()


def test_workspaces_that_swap_names_are_heard_under_the_right_one(host: Host) -> None:
    """After a swap by three renames each watch speaks for the directory that it stands for."""
    for name in ("org/repo/a", "org/repo/b"):
        make(host.root, name, status="running", task=name)
    repo = host.root / "org/repo"
    with Service(host) as service:
        (repo / "a").rename(repo / "spare")
        (repo / "b").rename(repo / "a")
        (repo / "spare").rename(repo / "b")
        Workspace(host.root, "org/repo/a").write_status(task="was-b")
        service.wait(lambda: service.names() == ["org/repo/a"])
        Workspace(host.root, "org/repo/b").write_status(task="was-a")
        service.wait(lambda: service.names() == ["org/repo/a", "org/repo/b"])


@pytest.mark.parametrize("below", ["", ".meta"])
def test_a_directory_removed_and_made_again_is_watched_anew(host: Host, below: str) -> None:
    """Another directory under an old name is another directory."""
    workspace = make(host.root, status="running")
    with Service(host) as service:
        for number in range(3):
            _remove(workspace.path / below)
            workspace.write_status(updated_at=f"2026-04-14T11:0{number}:00Z")
            service.wait(lambda number=number: len(service.names()) == number + 1)


def _remove(directory: Path) -> None:
    """Remove a directory as a dispatcher does: again when somebody put a file into it meanwhile."""

    def is_gone() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    wait_for(is_gone)


def test_many_directories_removed_and_made_again_at_once_are_watched(host: Host) -> None:
    """More names at once than are kept one by one: the level is looked at as a whole, and none is left out."""
    names = [f"org/repo/task-{number:03}" for number in range(150)]
    for name in names:
        make(host.root, name, status="running")
    with Service(host) as service:
        shutil.rmtree(host.root / "org")
        made = [make(host.root, name) for name in names]
        service.wait_committed(*made)


def test_a_meta_directory_renamed_away_and_replaced_is_watched(host: Host) -> None:
    """The status in the directory that has the name counts, not the one in the directory that had it."""
    workspace = make(host.root, status="running")
    with Service(host) as service:
        workspace.meta.rename(workspace.path / "old-meta")
        workspace.write_status()
        service.wait_committed(workspace)


def test_a_status_linked_into_place_is_seen(host: Host) -> None:
    """link(2) puts a file in its place without closing or renaming it."""
    workspace = make(host.root, status="running")
    (workspace.meta / "status.json").unlink()
    with Service(host) as service:
        fresh = workspace.meta / "fresh"
        fresh.write_text(json.dumps({"status": "completed", "updated_at": "2026-04-14T11:17:08Z"}))
        os.link(fresh, workspace.meta / "status.json")
        fresh.unlink()
        service.wait_committed(workspace)


def test_a_level_that_was_a_workspace_for_a_while_is_a_level_again(host: Host) -> None:
    """A status file at depth one hides what is below; the next scan after it is gone gives that its watches back."""
    organisation = Workspace(host.root, "org")
    organisation.write_status("root")
    service = Service(host)
    service.reconcile_seconds = 1.0
    with service:
        service.wait_committed(organisation)
        (organisation.path / "status.json").unlink()
        first = make(host.root, "org/library/first")
        service.wait_committed(first)
        service.wait(lambda: service.watches() == 6)  # root, org, its .meta, library, first, its .meta


def test_what_is_made_in_a_clone_takes_no_watch(host: Host) -> None:
    """An agent's build costs the watcher nothing."""
    workspace = make(host.root, status="running")
    with Service(host) as service:
        before = service.watches()
        for number in range(500):
            (workspace.path / "repo" / f"package-{number}" / "inner").mkdir(parents=True)
        workspace.write_status()
        service.wait_committed(workspace)
        assert service.watches() == before == 5


def test_a_clone_that_stood_before_its_meta_gives_its_watches_back(host: Host) -> None:
    """At small depths only the `.meta` beside it tells a clone from a level."""
    workspace = Workspace(host.root, "task")
    with Service(host) as service:
        (workspace.path / "repo/package").mkdir(parents=True)
        service.wait(lambda: service.watches() == 4)  # root, task, repo, package
        workspace.meta.mkdir()
        service.wait(lambda: service.watches() == 3)  # root, task, .meta
        workspace.write_status()
        service.wait_committed(workspace)


def test_roots_that_lead_to_one_directory_each_hear_of_their_workspaces(host: Host) -> None:
    """The kernel keeps one watch a directory, whatever its names; both roots are told, and the dispatch has one row."""
    service = Service(host)
    inner = host.base / "by-another-name"
    (host.root / "org").mkdir()
    service.roots = [{"path": str(host.root), "name": "outer"}, {"path": str(inner), "name": "inner"}]
    with service:
        inner.symlink_to(host.root / "org")
        service.wait_log("available, watching (inotify)")
        make(host.root, "org/repo/task")
        sql = "SELECT root, workspace AS name FROM workspaces WHERE committed OR status = 'completed'"
        both = {("outer", "org/repo/task"), ("inner", "repo/task")}
        service.wait(lambda: {(row["root"], row["name"]) for row in host.query(sql)} == both)
        assert len(host.query("SELECT 1 FROM dispatch_history")) == 1


_LONGEST_SHARE_SECONDS = 16.0 + 44.0
"""A workspace that was written very often may wait 16 s for its next look (docs/operations.md), the rest is the
host's."""


@pytest.mark.parametrize("seed", SEEDS)
def test_after_random_changes_at_all_depths_every_finished_workspace_is_committed(host: Host, seed: int) -> None:
    """Whatever was made, renamed, removed and rewritten while it ran, events alone lead to every finished one."""
    churn = Churn(host.root, seed)
    with Service(host) as service:
        churn.run(3.0)
        service.wait(lambda: not churn.uncommitted(service), _LONGEST_SHARE_SECONDS)
        assert len(churn.finished()) > 5


class Churn:
    """Seeded disorder below a root: levels and workspaces made, renamed, removed, statuses written."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._random = random.Random(seed)
        self._serial = 0

    def run(self, seconds: float) -> None:
        """Change things for a while, then write a status into some, so that there is something finished."""
        end = time.monotonic() + seconds
        acts = [self._make, self._make, self._rewrite, self._rewrite, self._rename, self._remove, self._swap]
        while time.monotonic() < end:
            try:
                self._random.choice(acts)()
            except OSError:
                continue  # what was chosen is not there, or stands in the way of itself
            if self._random.random() < 0.1:
                time.sleep(self._random.random() * 0.05)
        for _ in range(20):
            self._make()

    def finished(self) -> list[Workspace]:
        """The finished workspaces that are there, as the layout defines them."""
        found = []
        for path in self._root.glob("*/*/*"):
            with_status = path / ".meta/status.json"
            if with_status.exists() and json.loads(with_status.read_bytes())["status"] == "completed":
                found.append(Workspace(self._root, str(path.relative_to(self._root))))
        return found

    def uncommitted(self, service: Service) -> list[str]:
        """Finished workspaces whose present status no row tells of."""
        sql = "SELECT coalesce(moved_to, workspace) AS workspace, updated_at FROM dispatch_history"
        rows = {(row["workspace"], row["updated_at"]) for row in service.host.query(sql)}
        found = []
        for workspace in self.finished():
            updated = json.loads((workspace.meta / "status.json").read_bytes())["updated_at"]
            marked = workspace.marker.exists() and workspace.mark()["updated_at"] == updated
            if (workspace.name, updated) not in rows or not marked:
                found.append(workspace.name)
        return found

    def _make(self) -> None:
        name = "/".join(f"{level}{self._random.randrange(4)}" for level in "abc")
        (self._root / name / "repo").mkdir(parents=True, exist_ok=True)
        self._write(self._root / name)

    def _rewrite(self) -> None:
        self._write(self._some(3))

    def _write(self, path: Path) -> None:
        self._serial += 1
        status = "running" if self._random.random() < 0.3 else "completed"
        text = json.dumps({"status": status, "updated_at": f"2026-04-14T11:17:08.{self._serial:09}Z"})
        (path / ".meta").mkdir(parents=True, exist_ok=True)
        target = path / ".meta/status.json"
        if self._random.random() < 0.5:
            (path / ".meta/new").write_text(text)
            (path / ".meta/new").rename(target)
        else:
            target.write_text(text)

    def _rename(self) -> None:
        depth = self._random.randrange(1, 5)
        source, target = self._some(depth), self._some(depth)
        source.rename(target.with_name(f"{target.name[0]}{self._random.randrange(4)}"))

    def _swap(self) -> None:
        depth = self._random.randrange(1, 4)
        one, other, spare = self._some(depth), self._some(depth), self._root.parent / "spare"
        one.rename(spare)
        other.rename(one)
        spare.rename(other if other.parent.exists() else one.with_name(other.name))

    def _remove(self) -> None:
        shutil.rmtree(self._some(self._random.choice((2, 3, 3, 4))), ignore_errors=True)

    def _some(self, depth: int) -> Path:
        """A directory at a depth; at depth four a clone or a `.meta`."""
        found = sorted(self._root.glob("/".join(["*"] * depth)))
        if not found:
            raise FileNotFoundError
        return self._random.choice(found)


def index(host: Host) -> list[str]:
    """The workspaces that the daemon knows to be on disk."""
    return [row["workspace"] for row in host.query("SELECT workspace FROM workspaces")]
