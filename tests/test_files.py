"""Opening paths in hostile ground: nothing followed, nothing waited for, nothing read over its limit."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import wait_for

from agentic_watch.workspace import files, jsontext, signatures
from agentic_watch.workspace.workspace_errors import Malformed, Missing, WorkspaceError


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the test's directory."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_file_up_to_its_limit_is_read_whole(tmp_path: Path, directory: int, size: int) -> None:
    """Every byte of a file of at most `limit` bytes is given."""
    (tmp_path / "f").write_bytes(b"x" * size)
    assert files.read(directory, "f", "f", 100).data == b"x" * size


def test_a_file_over_its_limit_is_refused(tmp_path: Path, directory: int) -> None:
    """One byte over the limit, or a hole of a terabyte, is an error and not memory."""
    (tmp_path / "f").write_bytes(b"x" * 101)
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    for name in ("f", "sparse"):
        with pytest.raises(Malformed, match="over the limit of 100"):
            files.read(directory, name, name, 100)


def test_a_file_that_grows_while_it_is_read_is_bounded(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that appends between stat and read gets no more than the limit into memory."""
    file = tmp_path / "f"
    file.write_bytes(b"x" * 10)
    plain: Callable[[int, int], bytes] = os.read

    def grow_then_read(descriptor: int, count: int) -> bytes:
        with file.open("ab") as writer:
            writer.write(b"y" * 50)
        return plain(descriptor, count)

    monkeypatch.setattr(os, "read", grow_then_read)
    with pytest.raises(Malformed, match="grew over the limit"):
        files.read(directory, "f", "f", 100)


def plant(path: Path, kind: str) -> contextlib.ExitStack:
    """Put something hostile where a plain file should be; close the result to end it."""
    stack = contextlib.ExitStack()
    target = path.parent / "target"
    target.write_bytes(b"secret")
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
    elif kind == "hard link":
        path.hardlink_to(target)
    else:
        path.symlink_to({"symlink": str(target), "dangling": "nowhere", "loop": str(path), "device": "/dev/zero"}[kind])
    return stack


KINDS = ["directory", "fifo", "socket", "hard link", "symlink", "dangling", "loop", "device"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path, directory: int, kind: str) -> None:
    """Neither reading nor opening to append follows, blocks on or accepts anything but a file of one name."""
    signal.alarm(10)  # a blocked open ends the test instead of hanging it
    try:
        with plant(tmp_path / "f", kind):
            for attempt in (
                lambda: files.read(directory, "f", "f", 100),
                lambda: files.open_lines(directory, "f", "f", append=True),
            ):
                with pytest.raises(Malformed, match=r"^f: (is|has) "):
                    attempt()
    finally:
        signal.alarm(0)


def test_a_leased_file_is_not_waited_for(tmp_path: Path, directory: int) -> None:
    """A file lease gives an error that passes, instead of a wait of 45 seconds."""
    (tmp_path / "f").write_bytes(b"x")
    holder = os.open(tmp_path / "f", os.O_RDWR)
    handler = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(WorkspaceError, match="leased") as caught:
            files.read(directory, "f", "f", 100)
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, handler)
    assert caught.value.transient


def test_a_walk_enters_real_directories_only(tmp_path: Path, directory: int) -> None:
    """Every component is a real directory: links, files and absent ones are told apart."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/link").symlink_to(tmp_path / "a/b")
    (tmp_path / "a/file").touch()
    inside = files.walk(directory, "a/b")
    try:
        assert os.path.samestat(os.fstat(inside), (tmp_path / "a/b").stat())
    finally:
        os.close(inside)
    for name, error, cause in [
        ("a/link", Malformed, "symbolic link"),
        ("a/link/x", Malformed, "symbolic link"),
        ("a/file", Malformed, "not a directory"),
        ("a/gone", Missing, "not there"),
    ]:
        with pytest.raises(error, match=cause):
            files.walk(directory, name)


def test_a_new_file_never_takes_the_place_of_another(tmp_path: Path, directory: int) -> None:
    """Creating is exclusive: a file or a link that is there is left as it is."""
    (tmp_path / "there").write_bytes(b"x")
    (tmp_path / "link").symlink_to("elsewhere")
    for name in ("there", "link"):
        with pytest.raises(WorkspaceError, match="cannot be created"):
            files.create(directory, name, name)
    assert (tmp_path / "there").read_bytes() == b"x"
    assert not (tmp_path / "elsewhere").exists()


def test_making_a_directory_twice_is_the_same_directory(tmp_path: Path, directory: int) -> None:
    """A directory that is there already will do; a link in its place will not."""
    for _ in range(2):
        os.close(files.make_directory(directory, "d", "d"))
    assert (tmp_path / "d").is_dir()
    (tmp_path / "link").symlink_to("d")
    with pytest.raises(Malformed, match="symbolic link"):
        files.make_directory(directory, "link", "link")


def test_a_lock_is_tried_and_not_waited_for(tmp_path: Path) -> None:
    """The second taker of a lock is told at once, and gets it when the first is gone; no file is left."""
    with contextlib.ExitStack() as stack:
        second = os.open(tmp_path, os.O_RDONLY)
        stack.callback(os.close, second)
        first = os.open(tmp_path, os.O_RDONLY)
        try:
            assert files.try_lock(first, "d")
            assert not files.try_lock(second, "d")
        finally:
            os.close(first)
        assert files.try_lock(second, "d")
    assert list(tmp_path.iterdir()) == []


def test_a_signature_changes_with_the_file(tmp_path: Path, directory: int) -> None:
    """Content, a forged mtime and another inode change the signature; nothing else does."""
    file = tmp_path / "f"
    seen = set()
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    before = signatures.at(directory, "f")
    assert before == signatures.at(directory, "f")
    seen.add(before)
    wait_for(lambda: signatures.is_settled(file.stat(), time.time_ns()))  # the file system's clock has ticked
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    seen.add(signatures.at(directory, "f"))
    (tmp_path / "g").write_bytes(b"two")
    os.replace(tmp_path / "g", file)
    seen.add(signatures.at(directory, "f"))
    assert len(seen) == 3
    assert signatures.at(directory, "gone") == signatures.ABSENT


def test_a_file_changed_just_now_has_no_signature_yet(tmp_path: Path, directory: int) -> None:
    """Content read within a tick of the file clock is not trusted as unchanged; later it is."""
    (tmp_path / "f").write_bytes(b"x")
    os.utime(tmp_path / "f")
    fresh = files.read(directory, "f", "f", 100).signature
    changed = (tmp_path / "f").stat().st_ctime_ns
    while time.time_ns() - changed < 50_000_000:
        time.sleep(0.005)
    assert fresh in (b"", signatures.at(directory, "f"))
    assert files.read(directory, "f", "f", 100).signature == signatures.at(directory, "f")


def test_a_read_error_of_the_disk_is_passing_and_not_absence(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An I/O error is neither "not there" nor "malformed": the next try may succeed."""
    (tmp_path / "f").write_bytes(b"x")

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    attempts: dict[str, Callable[[], object]] = {
        "read": lambda: files.read(directory, "f", "f", 100),
        "pread": lambda: list(files.pieces(directory, 0, 10, "f")),
        "fsync": lambda: files.sync(directory, "f"),
    }
    for name, attempt in attempts.items():
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(WorkspaceError) as caught:
                attempt()
        assert caught.value.transient
        assert not isinstance(caught.value, (Missing, Malformed))


def test_a_lock_that_the_filesystem_refuses_is_a_workspace_error(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOLCK of a network filesystem is that workspace's failure, not a crash."""

    def fail(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(WorkspaceError, match="ock"):
        files.try_lock(directory, "f")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "is empty"),
        (b"{}{}", "is not JSON"),
        (b"{}\0", "is not JSON"),
        (b'{"a":"\xff"}', "is not UTF-8"),
        (b'{"a":Infinity}', "Infinity"),
        (b'{"a":1e999}', "out of range"),
        (b'{"a":-' + b"9" * 5000 + b"}", "too many digits"),
        (rb'{"a":"\udc00"}', "surrogate"),
        (rb'{"\ud83d":1}', "surrogate"),
        (b'{"a":' + b"[" * 101 + b"]" * 101 + b"}", "nested deeper"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper"),
        (b'{"a":[' + b"{}," * 250_000 + b"{}]}", "more than 250000 values"),
        (b"3", "not a JSON object"),
    ],
)
def test_hostile_json_is_refused_with_a_cause(data: bytes, cause: str) -> None:
    """Whatever is in a file, the answer is one short error of that file."""
    with pytest.raises(Malformed, match=cause) as caught:
        jsontext.load_object(data, "f")
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_json_at_the_bounds_is_read() -> None:
    """A hundred levels, a whole surrogate pair and large floats are JSON."""
    deep = b'{"a":' + b"[" * 99 + b"]" * 99 + b"}"
    assert jsontext.load_object(deep, "f")
    assert jsontext.load_object(rb'{"a":"\ud83d\ude00","b":1e308}', "f") == {"a": "\U0001f600", "b": 1e308}


def test_a_directory_that_is_removed_meanwhile_is_missing(tmp_path: Path) -> None:
    """Neither a new file nor a rename in it is a failure: whoever removed the workspace is done with it."""
    (tmp_path / "meta").mkdir()
    meta = os.open(tmp_path / "meta", os.O_RDONLY)
    try:
        with pytest.raises(WorkspaceError, match="cannot be replaced: No such file") as caught:
            files.replace(meta, "gone", "new", "new")
        assert not isinstance(caught.value, Missing)
        (tmp_path / "meta").rmdir()
        with pytest.raises(Missing):
            files.create(meta, "new", "new")
        with pytest.raises(Missing):
            files.replace(meta, "gone", "new", "new")
    finally:
        os.close(meta)
