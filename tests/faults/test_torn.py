"""The journal as a power cut or a full disk may leave it: cut at any byte, or really short of space."""

from __future__ import annotations

import json
import resource
import subprocess
from pathlib import Path

from . import tree as trees
from .tree import PROGRAM, Tree, write_status

_ROOM_FOR_A_PIECE = 40


def test_line_cut_at_every_byte(tmp_path: Path) -> None:
    """Wherever a line was torn: one whole line of its commit, none lost before it, and the torn piece kept."""
    tree = Tree(tmp_path / "root", tmp_path / "state" / "history.db")
    write_status(tree.meta("org/repo/whole"), 2)
    assert tree.run("--once").returncode == 0
    line = (tree.meta("org/repo/whole") / "journal.jsonl").read_bytes()
    for cut in range(len(line) + 1):
        _torn_workspace(tree, line, cut)
    done = tree.run("--once")
    assert done.returncode == 0, done.stderr
    for cut in range(len(line) + 1):
        name = f"org/repo/w{cut:04d}"
        journal = (tree.meta(name) / "journal.jsonl").read_bytes()
        asides = [path.read_bytes() for path in tree.meta(name).glob("journal.jsonl.corrupt-*")]
        assert journal.endswith(b"\n"), cut
        assert [record["runs"] for record in map(json.loads, journal.splitlines())] == [1, 2], cut
        own = _own_line(line, name)
        assert asides == ([own[:cut]] if 0 < cut < len(own) - 1 else []), cut
    assert len(trees.rows(tree)) == 1 + 2 * (len(line) + 1)


def _own_line(line: bytes, name: str) -> bytes:
    return line.replace(b"org/repo/whole", name.encode())


def _torn_workspace(tree: Tree, line: bytes, cut: int) -> None:
    name = f"org/repo/w{cut:04d}"
    write_status(tree.meta(name), 2)
    whole = _own_line(line, name)
    older = whole.replace(b'"runs":2', b'"runs":1').replace(b".000000002", b".000000001")
    (tree.meta(name) / "journal.jsonl").write_bytes(older + whole[:cut])


def test_disk_that_takes_a_piece_of_a_line(tmp_path: Path) -> None:
    """When only a piece of a line fits, it is taken back and the failure named; with room the next run commits."""
    tree = Tree(tmp_path / "root", tmp_path / "state" / "history.db")
    name = "org/repo/full"
    write_status(tree.meta(name), 1)
    assert tree.run("--once").returncode == 0
    journal = tree.meta(name) / "journal.jsonl"
    padding = b'{"padding":"' + b"x" * (4 * tree.history.stat().st_size) + b'"}\n'
    with journal.open("ab") as file:
        file.write(padding)
    before = journal.read_bytes()
    write_status(tree.meta(name), 2)

    limit = len(before) + _ROOM_FOR_A_PIECE
    done = subprocess.run(
        [*PROGRAM, *tree.arguments("--once")],
        capture_output=True,
        text=True,
        env=trees.environment(),
        check=False,
        timeout=trees.DEADLINE_SECONDS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert (done.returncode, journal.read_bytes()) == (1, before)
    assert f"took only {_ROOM_FOR_A_PIECE} of" in done.stderr
    assert name in done.stderr

    assert tree.run("--once").returncode == 0
    assert [line.get("runs") for line in trees.lines(tree, name)] == [1, None, 2]
    assert sorted(trees.rows(tree)) == [(name, 1), (name, 2)]
