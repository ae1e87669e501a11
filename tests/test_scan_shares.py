"""A scan shared out: each workspace is seen by one share, and all of them see what one scan sees."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support import make, wait_for

from agentic_watch.config import Root
from agentic_watch.scan import ScanError, scan, scan_in_steps
from agentic_watch.scan.walk import WHOLE, Share
from agentic_watch.workspace import signatures
from agentic_watch.workspace.candidate import Candidate

COUNT = 200
PARTS = 3


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


Seen = tuple[list[str], set[str], int, list[str]]


def look(root: Root, index: dict[str, bytes], share: Share = WHOLE) -> Seen:
    """(changed, in trouble, how many unchanged, vanished) as a share sees it."""
    left = dict(index)
    steps = list(scan_in_steps(root, left, share))
    changed = sorted(one.name for one in steps if isinstance(one, Candidate))
    trouble = {one.name for one in steps if isinstance(one, ScanError)}
    return changed, trouble, sum(one for one in steps if isinstance(one, int)), sorted(filter(share.has, left))


def look_in_parts(root: Root, index: dict[str, bytes]) -> Seen:
    """What all shares see, put together."""
    parts = [look(root, index, Share(number, PARTS)) for number in range(PARTS)]
    assert all(changed or unchanged for changed, _, unchanged, _ in parts)
    return (
        sorted(name for changed, *_ in parts for name in changed),
        set().union(*(trouble for _, trouble, *_ in parts)),
        sum(unchanged for _, _, unchanged, _ in parts),
        sorted(name for *_, left in parts for name in left),
    )


def disturb(root: Root, index: dict[str, bytes]) -> None:
    """Change one workspace of each share in each way that a scan must see."""
    top = Path(root.path)
    names = sorted(index)
    for number in range(PARTS):
        mine = [name for name in names if Share(number, PARTS).has(name)]
        unmarked = next(name for name in mine if (top / name / ".meta/commit.json").exists())
        mine.remove(unmarked)
        touched, marked, gone, linked, both, moved = mine[:6]
        status = next((top / touched).rglob("status.json"))
        wait_for(lambda status=status: signatures.is_settled(status.stat(), time.time_ns()))
        status.write_text(status.read_text())
        (top / marked / ".meta").mkdir(exist_ok=True)
        (top / marked / ".meta/commit.json").write_text("{ }")
        (top / unmarked / ".meta/commit.json").unlink()
        (top / gone).rename(top.parent / f"gone-{number}")
        (top / linked).rename(top.parent / f"linked-{number}")
        (top / linked).symlink_to(top.parent / f"linked-{number}")
        other = ".meta/status.json" if (top / both / "status.json").exists() else "status.json"
        (top / both / ".meta").mkdir(exist_ok=True)
        (top / both / other).write_text("{}")
        (top / moved / ".meta").mkdir(exist_ok=True)
        (top / moved / ".meta").rename(top / moved / "meta")


def test_an_unchanged_tree_is_unchanged_for_all_shares(root: Root) -> None:
    """All are counted once, none is given, none counts as vanished."""
    index = known(root)
    assert look(root, index) == look_in_parts(root, index) == ([], set(), COUNT, [])


def test_a_tree_that_nobody_knows_is_found_once(root: Root) -> None:
    """Without an index each workspace belongs to one share all the same."""
    changed, trouble, unchanged, left = look_in_parts(root, {})
    assert (changed, trouble, unchanged, left) == (sorted(known(root)), set(), 0, [])


def test_the_shares_see_what_one_scan_sees(root: Root) -> None:
    """Status, marker, the other layout's status, links, moves and removals, in every share."""
    index = known(root)
    disturb(root, index)
    index["not/there/any-more"] = index["task-0"]
    index["task-5"] = b""
    alone = look(root, index)
    assert alone == look_in_parts(root, index)
    assert len(alone[0]) >= 4 * PARTS
    assert len(alone[3]) > 2 * PARTS


def test_what_lies_below_a_former_workspace_belongs_with_it(root: Root, tmp_path: Path) -> None:
    """A known workspace that became a directory of workspaces: each of these is seen, by the former one's owner."""
    index = known(root)
    name = "org-1/repo/task-1"
    (tmp_path / "root" / name / "status.json").unlink()
    for number in range(8):
        make(tmp_path / "root", f"{name}/sub-{number}")
    changed, _, unchanged, left = look_in_parts(root, index)
    assert (changed, unchanged) == ([f"{name}/sub-{number}" for number in range(8)], COUNT - 1)
    assert left == []  # it was looked at: whoever forgets it compares with what was found


def test_a_scan_that_is_left_leaves_nothing_open(root: Root) -> None:
    """Whoever stops half-way leaves no open descriptor behind."""
    before = os.listdir("/proc/self/fd")
    steps = scan_in_steps(root, known(root), Share(0, PARTS))
    next(steps)
    steps.close()
    assert os.listdir("/proc/self/fd") == before


def test_without_faccessat2_the_same_is_found(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a filter denies the cheap question, a stat answers it."""
    index = known(root)
    disturb(root, index)
    usual = look(root, index)
    monkeypatch.setattr(signatures, "_CAN_ASK", False)
    assert look(root, index) == usual


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
