"""What is read of a dispatch's files, whatever stands in their places: bounded, safe, and never a failure."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import Host, Workspace, make

from agentic_watch.config import Keep
from agentic_watch.workspace import instant, kept_files
from agentic_watch.workspace.kept_part import KeptFile
from agentic_watch.workspace.place import Place, open_place

KIB = 1024


@contextlib.contextmanager
def opened(workspace: Workspace) -> Iterator[Place]:
    """A workspace as a commit holds it."""
    with contextlib.closing(open_place(str(workspace.root), workspace.name)) as place:
        assert place.lock()
        yield place


def read(workspace: Workspace, keep: Keep | None = None, since: str = "") -> tuple[dict[str, KeptFile], list[str]]:
    """What is kept by its name, and the warnings."""
    began = instant.parse(since) if since else instant.ZERO
    with opened(workspace) as place:
        found, warnings = kept_files.read(place, keep or Keep(), began, str)
    assert len({file.name for file in found}) == len(found)
    assert all(line.isprintable() and len(line) < 500 for line in warnings)
    assert len(warnings) <= 1
    return {file.name: file for file in found}, warnings


@pytest.fixture
def workspace(host: Host) -> Workspace:
    return make(host.root)


def test_a_small_file_is_kept_whole(workspace: Workspace) -> None:
    """Byte for byte, whatever it holds, with its size."""
    whole = b"one\r\n\x1b[31mtwo\xff\x00\nthree"
    (workspace.meta / "agent-codex.log").write_bytes(whole)
    found, warnings = read(workspace)
    assert [(file.name, file.size, file.kept_from, file.data) for file in found.values()] == [
        (".meta/agent-codex.log", len(whole), 0, whole)
    ]
    assert warnings == []


@pytest.mark.parametrize("beyond", range(-3, 12))
def test_of_a_large_file_its_last_whole_lines(workspace: Workspace, beyond: int) -> None:
    """Wherever the cut falls: the kept part begins at a line's start and is what the file holds from there on."""
    whole = b"".join(b"line %04d\n" % number for number in range(500))
    (workspace.meta / "a.log").write_bytes(whole)
    found, _ = read(workspace, Keep(tail_bytes=KIB + beyond))
    file = found[".meta/a.log"]
    assert file.data == whole[file.kept_from :]
    assert file.data.startswith(b"line ")
    assert KIB + beyond - 10 < len(file.data) <= KIB + beyond
    assert file.size == len(whole)


@pytest.mark.parametrize("whole", ["é" * 5000, "x" * 9999 + "\n", "word " * 3000, "a" + "\U0001f680" * 2000])
def test_of_one_endless_line_its_last_whole_word(workspace: Workspace, whole: str) -> None:
    """No character and no word is cut in half where that can be helped."""
    (workspace.meta / "a.log").write_text(whole, "utf-8")
    file = read(workspace, Keep(tail_bytes=KIB + 1))[0][".meta/a.log"]
    text = file.data.decode("utf-8")
    assert 0 < len(file.data) <= KIB + 1
    assert whole.endswith(text)
    assert " " not in whole or text.startswith("word")


def test_all_together_have_a_bound(workspace: Workspace) -> None:
    """In the order of the patterns; what has no room left is named."""
    for name in ("a.log", "b.log", "c.log"):
        (workspace.meta / name).write_bytes(b"0123456\n" * 200)
    (workspace.meta / "changes.patch").write_bytes(b"+1\n")
    keep = Keep((".meta/changes.patch", ".meta/*.log"), tail_bytes=KIB, total_bytes=KIB + 500)
    found, warnings = read(workspace, keep)
    assert [(name, len(file.data)) for name, file in found.items()] == [
        (".meta/changes.patch", 3),
        (".meta/a.log", 1024),
        (".meta/b.log", 496),
    ]
    assert warnings == [".meta/c.log: more than is kept of one dispatch; not kept"]
    found, warnings = read(workspace, keep._replace(total_bytes=KIB + 3))
    assert list(found) == [".meta/changes.patch", ".meta/a.log"]
    assert warnings == [".meta/b.log: more than is kept of one dispatch; not kept (and 1 more)"]


def test_globs_reach_below_directories(workspace: Workspace) -> None:
    """`*` stays within one directory; each file is kept once, whatever patterns match it."""
    for path in ("logs/a/out.txt", "logs/b/out.txt", "logs/out.txt", "logs/a/deep/out.txt", "out.txt"):
        (workspace.path / path).parent.mkdir(parents=True, exist_ok=True)
        (workspace.path / path).write_text(path)
    keep = Keep(("logs/*/out.txt", "logs/[a]/*.txt", "out.txt", "no/*/thing", "status.json/*"))
    found, warnings = read(workspace, keep)
    assert list(found) == ["logs/a/out.txt", "logs/b/out.txt", "out.txt"]
    assert {file.data.decode() for file in found.values()} == set(found)
    assert warnings == []


def test_a_file_of_an_earlier_run_is_passed_over(workspace: Workspace) -> None:
    """What was last written before this run began tells nothing of it."""
    old, new = workspace.meta / "old.log", workspace.meta / "new.log"
    for path in (old, new):
        path.write_text("text\n")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    assert list(read(workspace, since="2026-01-01T00:00:00Z")[0]) == [".meta/new.log"]
    assert list(read(workspace)[0]) == [".meta/new.log", ".meta/old.log"]


def _listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


HOSTILE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "a symlink": (lambda path, secret: path.symlink_to(secret), "is a symbolic link"),
    "a dangling symlink": (lambda path, _: path.symlink_to("nowhere"), "is a symbolic link"),
    "a symlink to a device": (lambda path, _: path.symlink_to("/dev/zero"), "is a symbolic link"),
    "a hard link": (lambda path, secret: os.link(secret, path), "has 2 hard links"),
    "a FIFO": (lambda path, _: os.mkfifo(path), "is not a regular file"),
    "a socket": (lambda path, _: _listening(path), "is a FIFO or a socket"),
    "a directory": (lambda path, _: path.mkdir(), "is not a regular file"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_plain_file_is_not_read(workspace: Workspace, host: Host, what: str) -> None:
    """Nothing hangs, nothing outside is read, one warning says why, and the other files are kept."""
    plant, cause = HOSTILE[what]
    secret = host.base / "secret"
    secret.write_text("correct-horse-battery-staple")
    plant(workspace.meta / "agent.log", secret)
    (workspace.meta / "other.log").write_text("sound\n")
    found, warnings = read(workspace)
    assert list(found) == [".meta/other.log"]
    assert warnings == [f".meta/agent.log: {cause}; not kept"]


def test_a_directory_that_is_a_symlink_is_not_entered(workspace: Workspace, host: Host) -> None:
    """Neither by its name nor by a glob."""
    outside = host.base / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (workspace.path / "logs").symlink_to(outside)
    assert read(workspace, Keep(("logs/*.txt",))) == ({}, ["logs: is a symbolic link; not kept"])
    assert read(workspace, Keep(("*/secret.txt",))) == ({}, [])


def test_a_terabyte_of_holes_costs_its_end(workspace: Workspace) -> None:
    """Only the last bytes are read, and zeros take no room."""
    with (workspace.meta / "agent.log").open("wb") as file:
        file.truncate(1 << 40)
        file.seek((1 << 40) - 6)
        file.write(b"\nlast\n")
    kept = read(workspace)[0][".meta/agent.log"]
    assert (kept.size, kept.kept_from, kept.data) == (1 << 40, (1 << 40) - 5, b"last\n")


def test_a_file_that_grows_meanwhile_ends_where_it_ended(workspace: Workspace) -> None:
    """Reading has an end, whoever writes faster."""
    path, stop = workspace.meta / "agent.log", threading.Event()
    path.write_bytes(b"begun\n")

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"more and more\n" * 1000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            kept = read(workspace)[0][".meta/agent.log"]
            assert kept.kept_from + len(kept.data) == kept.size
            assert len(kept.data) <= Keep().tail_bytes
    finally:
        stop.set()
        writer.join()


def test_names_without_number(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a directory with more names than are looked at some are, and it is said that there are more."""
    for number in range(10_050):
        (workspace.meta / f"{number}.log").touch()
    found, warnings = read(workspace)
    assert len(found) == kept_files.FILES_AT_MOST
    assert len(warnings) == 1 and "more entries than are examined" in warnings[0]
    monkeypatch.setattr(kept_files, "_NAMES_AT_MOST", 50)
    for name in ("a", "b"):
        for number in range(40):
            (workspace.path / name).mkdir(exist_ok=True)
            (workspace.path / name / f"{number}.txt").touch()
    found, warnings = read(workspace, Keep(("*/*.txt",)))
    assert len(found) == kept_files.FILES_AT_MOST
    assert len(warnings) == 1


def test_more_files_than_are_kept(workspace: Workspace) -> None:
    """Sixteen, by their names, and a word on the others."""
    for number in range(20):
        (workspace.meta / f"{number:02}.log").write_text("text")
    found, warnings = read(workspace)
    assert list(found) == [f".meta/{number:02}.log" for number in range(16)]
    assert warnings == [".meta/16.log: more than is kept of one dispatch; not kept (and 3 more)"]


def test_names_that_are_no_text(workspace: Workspace) -> None:
    """Newlines, escapes and bytes that are no UTF-8 get into neither the history nor the log."""
    for name in (b"a\nb.log", b"\x1b[2J.log", b"\xff.log", b"good.log"):
        Path(os.fsdecode(os.fsencode(workspace.meta) + b"/" + name)).write_text("text")
    found, warnings = read(workspace)
    assert list(found) == [".meta/good.log"]
    assert len(warnings) == 1 and "(and 2 more)" in warnings[0]
