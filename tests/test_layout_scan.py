"""What is a workspace and what is never entered: the rules of discovery as a table, on real directories."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support import POWERLESS, Host, make

from agentic_watch.config import Root
from agentic_watch.scan import RootUnavailable, ScanError, scan
from agentic_watch.workspace.layout import name_problem

STATUS = '{"status":"completed","updated_at":"2026-04-14T11:17:08Z"}'


def build(root: Path, paths: str) -> None:
    """Make files (with a status's content) and, where a path ends in `/`, directories."""
    for path in paths.split():
        target = root / path
        if path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(STATUS)


def found(root: Path, **options: Any) -> list[str]:
    """The names of the workspaces that a scan finds; trouble is an error."""
    results = list(scan(Root(str(root), **options)))
    assert not [result for result in results if isinstance(result, ScanError)]
    return sorted(result.name for result in results)


RULES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "an empty root": ("", {}, []),
    ".meta with a status at any depth": (
        "a/.meta/status.json b/c/.meta/status.json d/e/f/g/h/i/.meta/status.json",
        {},
        ["a", "b/c", "d/e/f/g/h/i"],
    ),
    ".meta without a status": ("a/.meta/ a/b/c/.meta/report.json", {}, []),
    "status.json alone at depth 1 and 3 only": (
        "a/status.json b/c/status.json d/e/f/status.json g/h/i/j/status.json k/l/m/n/o/status.json",
        {},
        ["a", "d/e/f"],
    ),
    "status.json beside .meta and repo at other depths": (
        "a/b/status.json a/b/.meta/ a/b/repo/ c/d/e/f/status.json c/d/e/f/.meta/ c/d/e/f/src/",
        {},
        ["a/b", "c/d/e/f"],
    ),
    "status.json beside only one of them": (
        "a/b/status.json a/b/.meta/ c/d/status.json c/d/repo/ e/f/status.json e/f/src/",
        {},
        [],
    ),
    "files named like directories do not count": ("a/b/status.json a/b/.meta a/b/repo", {}, []),
    "a status of the root itself": ("status.json .meta/status.json repo/ a/b/c/status.json", {}, ["a/b/c"]),
    "below a workspace nothing is searched": (
        "a/.meta/status.json a/b/c/status.json a/b/.meta/status.json a/x/y/.meta/status.json",
        {},
        ["a"],
    ),
    "layout meta": ("a/.meta/status.json b/status.json c/d/e/status.json", {"layout": "meta"}, ["a"]),
    "layout root": ("a/.meta/status.json b/status.json c/d/e/status.json", {"layout": "root"}, ["b", "c/d/e"]),
    "max_depth 1": ("a/status.json b/c/.meta/status.json b/c/d/status.json", {"max_depth": 1}, ["a"]),
    "max_depth 3": ("a/b/c/status.json a/b/d/e/.meta/status.json", {"max_depth": 3}, ["a/b/c"]),
    "max_depth 6 by default": ("a/b/c/d/e/f/.meta/status.json 1/2/3/4/5/6/7/.meta/status.json", {}, ["a/b/c/d/e/f"]),
    "ignore by base, by path, by glob": (
        "a/old/t/status.json b/old/t/status.json c/keep/t/status.json c/tmp-1/t/status.json d/x/y/status.json",
        {"ignore": ("old", "c/tmp-*", "d")},
        ["c/keep/t"],
    ),
    "ignore is case-sensitive": ("Old/status.json old/status.json", {"ignore": ("old",)}, ["Old"]),
    "an ignored workspace": ("a/b/c/status.json a/b/d/status.json", {"ignore": ("a/b/c",)}, ["a/b/d"]),
    ".git and node_modules": (
        ".git/status.json a/.git/x/.meta/status.json a/node_modules/x/status.json node_modules/.meta/status.json",
        {},
        [],
    ),
    "repo and src as an organisation's and a repository's name": (
        "repo/src/task/status.json src/.meta/status.json a/b/repo/status.json",
        {},
        ["a/b/repo", "repo/src/task", "src"],
    ),
    "repo and src at depth 4 and below": (
        "a/b/c/repo/.meta/status.json a/b/c/src/.meta/status.json a/b/c/d/src/.meta/status.json "
        "a/b/c/x/.meta/status.json",
        {},
        ["a/b/c/x"],
    ),
    "repo and src beside a .meta": ("a/.meta/ a/repo/x/.meta/status.json a/src/.meta/status.json", {}, []),
    "repo and src beside a status file that makes no workspace": (
        "a/b/status.json a/b/repo/x/status.json a/b/src/.meta/status.json a/b/other/status.json",
        {},
        ["a/b/other"],
    ),
    "other directories beside a .meta are searched": ("a/.meta/ a/b/c/status.json", {}, ["a/b/c"]),
    "odd names": ("-a/status.json ✓/b/c/status.json ...x/.meta/status.json", {}, ["-a", "...x", "✓/b/c"]),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_of_discovery(tmp_path: Path, rule: str) -> None:
    """Exactly the workspaces that the rule names are found."""
    paths, options, expected = RULES[rule]
    build(tmp_path, paths)
    assert found(tmp_path, **options) == expected


def test_symlinks_are_never_entered(tmp_path: Path) -> None:
    """A link to a tree of workspaces, to a workspace, or to an ancestor leads nowhere."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    build(outside, "x/y/status.json w/.meta/status.json")
    build(root, "a/b/c/status.json")
    (root / "tree").symlink_to(outside)
    (root / "a/w").symlink_to(outside / "w")
    (root / "a/b/up").symlink_to(root)
    assert found(root) == ["a/b/c"]


def test_the_roots_own_path_may_hold_links(tmp_path: Path) -> None:
    """The operator named the root: a link there is followed, and names are relative to it."""
    build(tmp_path / "real", "a/b/c/status.json")
    (tmp_path / "link").symlink_to("real")
    assert found(tmp_path / "link") == ["a/b/c"]


def test_a_linked_meta_never_gets_anything_written(host: Host) -> None:
    """`.meta` or a status that is a link makes no commit, and where the link leads nothing is touched."""
    elsewhere = host.base / "elsewhere"
    build(elsewhere, "status.json")
    (host.root / "o/r/meta").mkdir(parents=True)
    (host.root / "o/r/meta/.meta").symlink_to(elsewhere)
    (host.root / "o/r/status").mkdir()
    (host.root / "o/r/status/status.json").symlink_to(elsewhere / "status.json")
    (host.root / "o/r/both").mkdir()
    (host.root / "o/r/both/.meta").symlink_to(elsewhere)
    (host.root / "o/r/both/status.json").write_text(STATUS)
    sound = make(host.root, "o/r/sound")
    result = host.once()
    assert host.rows().keys() == {sound.name}
    assert os.listdir(elsewhere) == ["status.json"]
    assert result.failures.keys() <= {"o/r/meta", "o/r/status", "o/r/both"}
    assert "o/r/both" in result.failures
    assert all("symbolic link" in cause for cause in result.failures.values())


def test_a_fifo_for_a_status_is_not_waited_for(host: Host) -> None:
    """A FIFO in a status file's place fails by name while the others are committed."""
    (host.root / "o/r/fifo/.meta").mkdir(parents=True)
    os.mkfifo(host.root / "o/r/fifo/.meta/status.json")
    sound = make(host.root, "o/r/sound")
    result = host.once()
    assert list(result.failures) == ["o/r/fifo"]
    assert sound.marker.exists()


def test_an_unfinished_workspace_gets_no_meta(host: Host) -> None:
    """`.meta/` is made for a finished status.json, and for no other."""
    done, running = make(host.root, "a/b/done", "root"), make(host.root, "a/b/running", "root", status="running")
    assert host.once().counts == {"scanned": 2, "committed": 1, "unfinished": 1}
    assert done.marker.exists()
    assert not running.meta.exists()
    running.write_status("root", status="merged")
    assert host.once().counts == {"scanned": 2, "committed": 1, "skipped": 1}
    assert running.line()["status"] == "merged"


@pytest.mark.parametrize("spoil", [lambda path: None, lambda path: path.write_text("x")], ids=["absent", "a file"])
def test_a_root_that_is_none_is_unavailable(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A root that is not there, or no directory, is said with its path and cause."""
    root = tmp_path / "root"
    spoil(root)
    with pytest.raises(RootUnavailable, match=str(root)):
        list(scan(Root(str(root))))


def test_a_directory_that_cannot_be_listed_hides_no_other(host: Host) -> None:
    """Trouble names the directory; what lies beside is found, and the index forgets nothing meanwhile."""
    make(host.root, "a/b/c")
    make(host.root, "x/y/z")
    host.once()
    (host.root / "x").chmod(0o300)
    try:
        result = host.once(lacking=POWERLESS)
    finally:
        (host.root / "x").chmod(0o755)
    assert list(result.failures) == ["x"]
    assert "Permission denied" in result.failures["x"]
    assert result.counts == {"scanned": 1, "skipped": 1, "failed": 1}
    assert len(host.query("SELECT * FROM workspaces")) == 2


def test_a_signature_tells_any_change(tmp_path: Path) -> None:
    """The signature of a candidate changes with either status file and with the marker, and with nothing else."""
    workspace = make(tmp_path, "a/b/c")
    seen: list[str] = []

    def signature() -> bytes:
        (candidate,) = scan(Root(str(tmp_path)))
        assert not isinstance(candidate, ScanError)
        return candidate.signature

    seen.append(signature())
    (workspace.path / "repo/file").write_text("x")
    workspace.write_report({"x": 1})
    assert signature() == seen[-1]
    for write in (
        lambda: workspace.write_status("meta", runs=1),
        lambda: workspace.write_status("root"),
        lambda: workspace.marker.write_text("{}"),
        workspace.marker.unlink,
    ):
        write()
        seen.append(signature())
    assert all(one != other for one, other in pairwise(seen))


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[0m", "\x7f", "a\u2028b", "a\u202eb", "\udcff"])
def test_a_name_that_would_break_a_line_is_a_problem(name: str) -> None:
    """Controls, line separators, direction marks and bytes that are no text make no name."""
    assert name_problem(f"org/{name}")


@pytest.mark.parametrize("name", ["a", "-dash", "a b", "n" * 255, "'; DROP TABLE x; --", "Ünïcode/✓", "..."])
def test_any_other_name_is_a_name(name: str) -> None:
    """What can stand in a line is a name."""
    assert name_problem(name) is None
