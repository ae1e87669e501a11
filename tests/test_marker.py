"""The marker: the original's keys in order, replaced atomically, moved aside when it cannot be one."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import FIXTURES, UPDATED

from agentic_watch.workspace import marker
from agentic_watch.workspace.instant import parse
from agentic_watch.workspace.marker import Marker
from agentic_watch.workspace.workspace_errors import Malformed, WorkspaceError

NEW = Marker("org/repo/task", parse(UPDATED), 3, "2026-04-14T11:17:09Z")
OLD = Marker("org/repo/task", parse(UPDATED), 2, "2026-04-13T11:17:09Z")


@contextlib.contextmanager
def directory(path: Path) -> Iterator[int]:
    """A descriptor of the directory `path`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_the_markers_of_the_original_are_read_and_written_the_same() -> None:
    """Go's marker, read and encoded by us, is the same bytes."""
    theirs = sorted(FIXTURES.rglob("commit.json"))
    assert theirs
    for file in theirs:
        with directory(file.parent) as meta:
            found = marker.read(meta)
        assert found is not None
        assert found.encode() == file.read_bytes().rstrip(b"\n")
        assert list(json.loads(found.encode())) == ["workspace", "updated_at", "runs", "committed_at"]


def test_further_keys_may_follow(tmp_path: Path) -> None:
    """Keys that a later program adds are passed over."""
    (tmp_path / "commit.json").write_bytes(NEW.encode()[:-1] + b',"signature":"x","more":{"a":[1]}}')
    with directory(tmp_path) as meta:
        assert marker.read(meta) == NEW


def test_no_marker_is_none(tmp_path: Path) -> None:
    """An absent marker is no error."""
    with directory(tmp_path) as meta:
        assert marker.read(meta) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\0" * 120,
        b"[]",
        b"{}",
        b'{"workspace":"w","runs":1}',
        b'{"workspace":1,"updated_at":"2026-04-14T11:17:08Z"}',
        b'{"updated_at":"never"}',
        b'{"updated_at":"2026-04-14T11:17:08Z","runs":"1"}',
        b'{"updated_at":"2026-04-14T11:17:08Z","x":"' + b"x" * 70_000 + b'"}',
    ],
)
def test_an_unreadable_marker_is_moved_aside_whole(tmp_path: Path, content: bytes) -> None:
    """What cannot be a marker is refused, and set aside under a dated name with every byte."""
    (tmp_path / "commit.json").write_bytes(content)
    with directory(tmp_path) as meta:
        with pytest.raises(Malformed, match=r"\.meta/commit\.json: "):
            marker.read(meta)
        name = marker.set_aside(meta)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo"])
def test_a_planted_marker_is_moved_aside_untouched(tmp_path: Path, kind: str) -> None:
    """A directory, a link or a FIFO in the marker's place is moved as it is, and its target not touched."""
    meta_path, victim = tmp_path / ".meta", tmp_path / "victim"
    meta_path.mkdir()
    victim.write_bytes(NEW.encode())
    place = meta_path / "commit.json"
    plant: dict[str, Callable[[], None]] = {
        "directory": place.mkdir,
        "symlink": lambda: place.symlink_to(victim),
        "fifo": lambda: os.mkfifo(place),
    }
    plant[kind]()
    with directory(meta_path) as meta:
        with pytest.raises(Malformed, match=r"\.meta/commit\.json: "):
            marker.read(meta)
        name = marker.set_aside(meta)
        assert marker.read(meta) is None
    assert os.path.lexists(meta_path / name)
    assert victim.read_bytes() == NEW.encode()


def test_a_marker_with_another_name_is_read_and_never_written(tmp_path: Path) -> None:
    """As `cp -al` leaves it: it says what it says, and the new one takes its place and not its content."""
    meta_path, other = tmp_path / ".meta", tmp_path / "other"
    meta_path.mkdir()
    other.write_bytes(OLD.encode())
    (meta_path / "commit.json").hardlink_to(other)
    with directory(meta_path) as meta:
        assert marker.read(meta) == OLD
        marker.replace(meta, NEW)
        assert marker.read(meta) == NEW
    assert other.read_bytes() == OLD.encode()


def test_a_marker_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever step fails, the old marker stands and nothing lies beside it; then it is replaced."""
    (tmp_path / "commit.json").write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with directory(tmp_path) as meta:
        for step in ("write", "fsync", "rename"):
            with monkeypatch.context() as patch:
                patch.setattr(os, step, fail)
                with pytest.raises(WorkspaceError, match="No space left") as caught:
                    marker.replace(meta, NEW)
            assert caught.value.transient
            assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"commit.json": b"old"}
        marker.replace(meta, NEW)
        assert marker.read(meta) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["commit.json"]


def test_the_temporary_file_has_a_name_nobody_can_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new marker is whole under a new random name before it takes its place; a killed run's file goes."""
    (tmp_path / ".commit.json.0123456789abcdef.tmp").write_bytes(b"{")
    used = []
    rename = os.rename

    def watch(source: str, target: str, **options: int) -> None:
        used.append((source, (tmp_path / source).read_bytes()))
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", watch)
    with directory(tmp_path) as meta:
        marker.remove_temporaries(meta, os.listdir(meta))
        for _ in range(2):
            marker.replace(meta, NEW)
    assert [content for _, content in used] == [NEW.encode()] * 2
    assert len({name for name, _ in used}) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["commit.json"]
