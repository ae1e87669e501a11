"""A second process looks at some of the known workspaces: the same is found, however that process ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support import make

from agentic_watch.config import Root
from agentic_watch.scan import Trouble, scan, scan_in_steps
from agentic_watch.scan import ahead as ahead_module
from agentic_watch.workspace import signatures
from agentic_watch.workspace.layout import Candidate

COUNT = 200


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small tree is worth a second process, and there is a processor for it."""
    monkeypatch.setattr(ahead_module, "_WORTH_IT", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """Finished workspaces at several depths and in both layouts, one in four with a marker."""
    for number in range(COUNT):
        name = f"task-{number}" if number % 5 == 0 else f"org-{number % 3}/repo/task-{number}"
        workspace = make(tmp_path / "root", name, layout="root" if number % 2 else "meta")
        if number % 4 == 0:
            workspace.marker.write_text("{}")
    return Root(str(tmp_path / "root"))


def known(root: Root) -> dict[str, bytes]:
    """What an index would know of the tree as it is, in an index's order."""
    found = {one.name: one.signature for one in scan(root) if isinstance(one, Candidate)}
    assert len(found) == COUNT
    return dict(sorted(found.items()))


def look(root: Root, index: dict[str, bytes], *, two: bool) -> tuple[set[str], set[str], int, set[str]]:
    """(changed, in trouble, how many unchanged, vanished) as one process or two see it."""
    left = dict(index)
    steps = list(scan_in_steps(root, left, two_processes=two))
    changed = {one.name for one in steps if isinstance(one, Candidate)}
    trouble = {one.name for one in steps if isinstance(one, Trouble)}
    return changed, trouble, sum(one for one in steps if isinstance(one, int)), set(left)


_others: set[int] = set()


def children() -> set[int]:
    """The processes that this one has started and not waited for, dead ones too (proc(5))."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone since it was listed
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(path.parent.name))
    return found


@pytest.fixture(autouse=True)
def other_children() -> None:
    """The servers that other tests of this process have started stay theirs."""
    _others.clear()
    _others.update(children())


def assert_no_child() -> None:
    """Every process that was started has been waited for."""
    assert children() <= _others


def disturb(root: Root, index: dict[str, bytes]) -> None:
    """Change one workspace in each way that a scan must see, for each of the two processes."""
    top = Path(root.path)
    names = sorted(index)
    for second in (False, True):
        mine = [name for name in names if (ahead_module.share_of(name) >= ahead_module._FIRST_SHARE) is second]
        unmarked = next(name for name in mine if (top / name / ".meta/commit.json").exists())
        mine.remove(unmarked)
        touched, marked, gone, linked, both, moved = mine[:6]
        status = next((top / touched).rglob("status.json"))
        status.write_text(status.read_text())
        (top / marked / ".meta").mkdir(exist_ok=True)
        (top / marked / ".meta/commit.json").write_text("{ }")
        (top / unmarked / ".meta/commit.json").unlink()
        (top / gone).rename(top.parent / f"gone-{second}")
        (top / linked).rename(top.parent / f"linked-{second}")
        (top / linked).symlink_to(top.parent / f"linked-{second}")
        other = ".meta/status.json" if (top / both / "status.json").exists() else "status.json"
        (top / both / ".meta").mkdir(exist_ok=True)
        (top / both / other).write_text("{}")
        (top / moved / ".meta").mkdir(exist_ok=True)
        (top / moved / ".meta").rename(top / moved / "meta")


def test_an_unchanged_tree_is_unchanged_for_both(root: Root) -> None:
    """All are counted, none is given, none counts as vanished."""
    index = known(root)
    assert look(root, index, two=False) == look(root, index, two=True) == (set(), set(), pytest.approx(COUNT), set())
    assert_no_child()


def test_two_processes_see_what_one_sees(root: Root) -> None:
    """Status, marker, the other layout's status, links, moves and removals, in either process's share."""
    index = known(root)
    disturb(root, index)
    index["not/there/any-more"] = index["task-0"]
    index["task-5"] = b""
    alone = look(root, index, two=False)
    assert alone == look(root, index, two=True)
    assert len(alone[0]) >= 8
    assert len(alone[3]) >= 5
    assert_no_child()


def no_process() -> int:
    """fork(2) when there are too many processes."""
    raise BlockingIOError(11, "Resource temporarily unavailable")


def dies(root: Root, index: dict[str, bytes]) -> None:
    """A second process that fails before it has an answer."""
    raise RuntimeError


@pytest.mark.parametrize(
    ("where", "what", "how"),
    [(os, "fork", no_process), (ahead_module, "_changed", dies)],
    ids=["no process", "it dies"],
)
def test_a_second_process_that_fails_costs_only_time(
    root: Root, monkeypatch: pytest.MonkeyPatch, where: object, what: str, how: Callable[..., object]
) -> None:
    """Without its answer the first process looks at everything."""
    index = known(root)
    disturb(root, index)
    alone = look(root, index, two=False)
    monkeypatch.setattr(where, what, how)
    assert look(root, index, two=True) == alone
    assert_no_child()


def test_a_scan_that_is_left_ends_its_process(root: Root) -> None:
    """Whoever stops half-way leaves no process and no open descriptor behind."""
    before = os.listdir("/proc/self/fd")
    steps = scan_in_steps(root, known(root), two_processes=True)
    next(steps)
    steps.close()
    assert_no_child()
    assert os.listdir("/proc/self/fd") == before


def test_without_faccessat2_the_same_is_found(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a filter denies the cheap question, a stat answers it."""
    index = known(root)
    disturb(root, index)
    usual = look(root, index, two=False)
    monkeypatch.setattr(signatures, "_CAN_ASK", False)
    assert look(root, index, two=False) == usual


def test_a_time_beyond_all_clocks_is_a_signature_too(tmp_path: Path) -> None:
    """An agent may set any mtime; two of them are two."""
    workspace = make(tmp_path / "root", "task")
    seen = set()
    for year in (2300, 2400):
        later = (year - 1970) * 31_556_952 * 10**9
        os.utime(workspace.meta / "status.json", ns=(later, later))
        (found,) = scan(Root(str(tmp_path / "root")))
        assert isinstance(found, Candidate)
        seen.add(found.signature)
    assert len(seen) == 2
