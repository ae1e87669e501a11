"""The journal: appended to only; a torn tail moved aside, a whole one completed, bad lines passed over and said."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentic_watch.config import Limits
from agentic_watch.workspace import journal, record, status, undo
from agentic_watch.workspace.journal import Journal
from agentic_watch.workspace.workspace_errors import Busy, Linked, Malformed, WorkspaceError

LIMITS = Limits()
REST_SECONDS = undo.REST_SECONDS


@pytest.fixture(autouse=True)
def long_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test has just written counts as written long ago."""
    monkeypatch.setattr(undo, "REST_SECONDS", 0.0)


def line(task: str = "t", runs: int = 0) -> bytes:
    """A whole journal line."""
    data = b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","runs":%d,"task":"%s"}' % (runs, task.encode())
    return record.from_status("w", status.parse(data, "status.json"), {}, "2026-04-14T11:17:09Z").line()


@contextlib.contextmanager
def opened(meta: Path, limits: Limits = LIMITS) -> Iterator[Journal]:
    """The journal of the directory `meta`, open."""
    descriptor = os.open(meta, os.O_RDONLY)
    try:
        found = journal.open_journal(descriptor, limits)
        try:
            yield found
        finally:
            found.close()
    finally:
        os.close(descriptor)


def asides(meta: Path) -> list[Path]:
    """What was moved aside, oldest name first."""
    return sorted(meta.glob("journal.jsonl.corrupt-*"))


def test_a_new_journal_is_made_by_the_first_line(tmp_path: Path) -> None:
    """Opening makes no file, the first append does, with exactly that line, 0644 less umask."""
    umask = os.umask(0o022)
    try:
        with opened(tmp_path) as found:
            assert list(found.records()) == []
            assert list(tmp_path.iterdir()) == []
            found.append(line())
    finally:
        os.umask(umask)
    file = tmp_path / "journal.jsonl"
    assert file.read_bytes() == line()
    assert file.stat().st_mode & 0o777 == 0o644


def test_lines_are_appended_after_what_is_there(tmp_path: Path) -> None:
    """Two more lines change no byte of those before, and all are read in order."""
    file = tmp_path / "journal.jsonl"
    file.write_bytes(line(runs=1))
    with opened(tmp_path) as found:
        found.append(line(runs=2))
        found.append(line(runs=3))
        assert [each.runs for each in found.records()] == [1, 2, 3]
    assert file.read_bytes() == line(runs=1) + line(runs=2) + line(runs=3)


@pytest.mark.parametrize("cut", [1, 40, len(line()) - 2], ids=["one byte", "some", "all but the brace"])
@pytest.mark.parametrize("before", [b"", line(runs=7)], ids=["alone", "after a line"])
def test_a_torn_tail_is_moved_aside_before_the_next_line(tmp_path: Path, before: bytes, cut: int) -> None:
    """What a power cut left of a line goes to a file of its own, byte for byte, and is said."""
    file = tmp_path / "journal.jsonl"
    file.write_bytes(before + line("torn")[:cut])
    with opened(tmp_path) as found:
        found.append(line())
        warnings = found.warnings
    assert file.read_bytes() == before + line()
    (aside,) = asides(tmp_path)
    assert re.fullmatch(r"journal\.jsonl\.corrupt-\d{8}T\d{6}Z", aside.name)
    assert aside.read_bytes() == line("torn")[:cut]
    assert len(warnings) == 1
    assert aside.name in warnings[0]


def test_a_tail_of_nothing_but_zeros_is_moved_aside(tmp_path: Path) -> None:
    """Blocks that a power cut left as zeros are no line, however many they are."""
    file = tmp_path / "journal.jsonl"
    file.write_bytes(line(runs=1) + bytes(200_000))
    with opened(tmp_path) as found:
        found.append(line(runs=2))
    assert file.read_bytes() == line(runs=1) + line(runs=2)
    assert asides(tmp_path)[0].read_bytes() == bytes(200_000)


def test_two_torn_tails_in_one_second_are_both_kept(tmp_path: Path) -> None:
    """A name that is taken already is never written over."""
    for torn in (b"{first", b"{second", b"{third"):
        with (tmp_path / "journal.jsonl").open("ab") as file:
            file.write(torn)
        with opened(tmp_path) as found:
            found.append(line())
    assert sorted(path.read_bytes() for path in asides(tmp_path)) == [b"{first", b"{second", b"{third"]
    assert (tmp_path / "journal.jsonl").read_bytes() == 3 * line()


def test_a_whole_record_without_its_newline_is_completed(tmp_path: Path) -> None:
    """Only the newline was lost: it is added, and nothing is moved."""
    file = tmp_path / "journal.jsonl"
    file.write_bytes(line(runs=1)[:-1])
    with opened(tmp_path) as found:
        assert [each.runs for each in found.records()] == [1]
        found.append(line(runs=2))
        assert found.warnings == []
    assert file.read_bytes() == line(runs=1) + line(runs=2)
    assert asides(tmp_path) == []


def test_reading_repairs_nothing(tmp_path: Path) -> None:
    """A journal that is only read keeps its torn tail; the warning says so."""
    file = tmp_path / "journal.jsonl"
    file.write_bytes(line() + b'{"torn')
    with opened(tmp_path) as found:
        assert len(list(found.records())) == 1
        assert len(found.warnings) == 1
    assert file.read_bytes() == line() + b'{"torn'


def test_lines_that_are_no_records_are_counted_in_one_warning(tmp_path: Path) -> None:
    """Garbage in the middle is passed over, left where it is, and counted."""
    content = line(runs=1) + b"garbage\n\xff\xfe\n\n[]\n" + line(runs=2)
    (tmp_path / "journal.jsonl").write_bytes(content)
    with opened(tmp_path) as found:
        assert [each.runs for each in found.records()] == [1, 2]
        (warning,) = found.warnings
    assert warning.startswith(".meta/journal.jsonl: 4 invalid lines")
    assert (tmp_path / "journal.jsonl").read_bytes() == content


def test_a_line_longer_than_any_record_is_passed_over(tmp_path: Path) -> None:
    """A line over the bound never stands in memory whole, wherever it is; the records around it count."""
    small = Limits(status_bytes=1024, report_bytes=1024)
    long = b"x" * (journal.longest_line(small) + 1)
    with (tmp_path / "journal.jsonl").open("wb") as file:
        for part in (long * 3, line(runs=1), long * 40, line(runs=2), long):
            file.write(part.rstrip(b"\n") + b"\n")
    with opened(tmp_path, small) as found:
        assert [each.runs for each in found.records()] == [1, 2]
        assert any("longer than" in warning for warning in found.warnings)


def test_records_across_the_pieces_of_a_large_journal(tmp_path: Path) -> None:
    """A journal of some megabytes is read in pieces, and every record is found once."""
    tasks = ["x" * (size * 977 % 9000) for size in range(1000)]
    (tmp_path / "journal.jsonl").write_bytes(b"".join(line(task, runs) for runs, task in enumerate(tasks)))
    with opened(tmp_path) as found:
        assert [(each.runs, each.task) for each in found.records()] == list(enumerate(tasks))
        assert found.warnings == []


def test_a_journal_over_its_limit_is_refused(tmp_path: Path) -> None:
    """A journal is neither read over its limit nor grown over it; up to the limit it is."""
    limits = Limits(journal_bytes=2 * len(line()))
    with opened(tmp_path, limits) as found:
        found.append(line())
        found.append(line())
        with pytest.raises(Malformed, match="over the limit"):
            found.append(line())
    assert (tmp_path / "journal.jsonl").read_bytes() == 2 * line()
    with pytest.raises(Malformed, match="over the limit"), opened(tmp_path, Limits(journal_bytes=len(line()))):
        pass


def test_what_a_short_write_left_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes half of a line gets it taken back; the error says how much was taken."""
    file = tmp_path / "journal.jsonl"
    file.write_bytes(line(runs=1))
    whole: Callable[[int, bytes], int] = os.write
    with opened(tmp_path) as found:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[: len(data) // 2]))
            with pytest.raises(WorkspaceError, match="took only") as caught:
                found.append(line(runs=2))
        assert caught.value.transient
        assert file.read_bytes() == line(runs=1)
        found.append(line(runs=2))
    assert file.read_bytes() == line(runs=1) + line(runs=2)


@pytest.mark.parametrize("existing", [b"", line(runs=1)], ids=["new", "after a line"])
def test_a_line_that_could_not_be_synced_is_taken_back(tmp_path: Path, existing: bytes) -> None:
    """The line is cut off again and nothing before it, so that the next try writes its bytes anew."""
    (tmp_path / "journal.jsonl").write_bytes(existing)
    with opened(tmp_path) as found:
        found.append(line(runs=2))
        found.take_back()
        assert (tmp_path / "journal.jsonl").read_bytes() == existing
        found.take_back()
        assert (tmp_path / "journal.jsonl").read_bytes() == existing
        found.append(line(runs=3))
    assert (tmp_path / "journal.jsonl").read_bytes() == existing + line(runs=3)


# --- the original appends without our lock


@contextlib.contextmanager
def appending(meta: Path) -> Iterator[Callable[[bytes], None]]:
    """Another program that has the journal open to append."""
    descriptor = os.open(meta / "journal.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        yield lambda data: os.write(descriptor, data) and None
    finally:
        os.close(descriptor)


def test_a_line_that_is_being_written_is_not_cut(tmp_path: Path) -> None:
    """While another program has the journal open and its line is not whole, nothing is done; then both are there."""
    theirs = line("theirs", runs=1)
    with appending(tmp_path) as write:
        write(theirs[:50])
        with opened(tmp_path) as found, pytest.raises(Busy):
            found.append(line(runs=2))
        assert (tmp_path / "journal.jsonl").read_bytes() == theirs[:50]
        write(theirs[50:])
    with opened(tmp_path) as found:
        found.append(line(runs=2))
        assert found.warnings == []
    assert (tmp_path / "journal.jsonl").read_bytes() == theirs + line(runs=2)


def test_a_line_that_grew_since_the_journal_was_opened_is_not_cut(tmp_path: Path) -> None:
    """What looked torn at first and is whole by now stays."""
    theirs = line("theirs", runs=1)
    (tmp_path / "journal.jsonl").write_bytes(theirs[:50])
    with opened(tmp_path) as found:
        with appending(tmp_path) as write:
            write(theirs[50:])
        with pytest.raises(Busy):
            found.append(line(runs=2))
    assert (tmp_path / "journal.jsonl").read_bytes() == theirs


@pytest.mark.parametrize("content", [line()[:30], line()[:-1]], ids=["torn", "without its newline"])
def test_a_piece_that_came_just_now_is_left_alone(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens the file anew for each piece gets the time to write the next one."""
    monkeypatch.setattr(undo, "REST_SECONDS", 3600.0)
    (tmp_path / "journal.jsonl").write_bytes(content)
    with opened(tmp_path) as found, pytest.raises(Busy):
        found.append(line())
    assert (tmp_path / "journal.jsonl").read_bytes() == content
    assert asides(tmp_path) == []


@pytest.mark.parametrize("count", [1, 2, 50, len(line()) - 1])
def test_a_failed_append_takes_nothing_of_another_back(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a piece of ours was taken and another program has appended behind it, only our piece is taken back."""
    file = tmp_path / "journal.jsonl"
    file.write_bytes(line(runs=1))
    whole: Callable[[int, bytes], int] = os.write
    with opened(tmp_path) as found, appending(tmp_path) as write:

        def short_and_overtaken(descriptor: int, data: bytes) -> int:
            monkeypatch.setattr(os, "write", whole)
            taken = whole(descriptor, data[:count])
            write(line("theirs", runs=2))
            return taken

        monkeypatch.setattr(os, "write", short_and_overtaken)
        with pytest.raises(WorkspaceError, match="took only"):
            found.append(line(runs=3))
    with opened(tmp_path) as found:
        assert [each.runs for each in found.records()] == [1, 2]
    assert line("theirs", runs=2) in file.read_bytes()


@pytest.mark.parametrize("closed", [False, True], ids=["still open", "closed again"])
def test_a_line_that_could_not_be_synced_takes_nothing_of_another_along(tmp_path: Path, closed: bool) -> None:
    """What another program appended behind our line stays, and our line is gone all the same."""
    (tmp_path / "journal.jsonl").write_bytes(line(runs=1))
    with opened(tmp_path) as found, contextlib.ExitStack() as stack:
        found.append(line(runs=2))
        write = stack.enter_context(appending(tmp_path))
        write(line("theirs", runs=3))
        if closed:
            stack.close()
        found.take_back()
    with opened(tmp_path) as found:
        assert [each.runs for each in found.records()] == [1, 3]
        assert found.warnings == []


def test_a_line_is_not_cut_off_while_another_has_the_journal_open(tmp_path: Path) -> None:
    """It might append before the cut: our line is written over instead, and the next one is read as ever."""
    (tmp_path / "journal.jsonl").write_bytes(line(runs=1))
    with opened(tmp_path) as found, appending(tmp_path) as write:
        found.append(line(runs=2))
        found.take_back()
        write(line("theirs", runs=3))
    with opened(tmp_path) as found:
        assert [each.runs for each in found.records()] == [1, 3]
        assert found.warnings == []


def test_the_signature_tells_whether_all_of_it_was_read_or_written_here(tmp_path: Path) -> None:
    """A line that another program appended after the journal was opened leaves no signature to trust."""
    file = tmp_path / "journal.jsonl"
    file.write_bytes(line(runs=1))
    with opened(tmp_path) as found:
        before = found.signature()
        found.append(line(runs=2))
        after = found.signature()
        assert before != after != b""
    with opened(tmp_path) as found:
        assert found.signature() == after
        with appending(tmp_path) as write:
            write(line("theirs", runs=3))
        assert found.signature() == after  # it has another one now
        found.append(line(runs=4))
        assert found.signature() == b""
    assert file.read_bytes().count(b"\n") == 4


# --- what is no journal


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo"])
def test_a_planted_journal_is_refused(tmp_path: Path, kind: str) -> None:
    """What stands at the journal's place and is no plain file of one name is neither read nor written."""
    meta, victim = tmp_path / ".meta", tmp_path / "victim"
    meta.mkdir()
    victim.write_bytes(b"untouched")
    place = meta / "journal.jsonl"
    plant: dict[str, Callable[[], None]] = {
        "directory": place.mkdir,
        "symlink": lambda: place.symlink_to(victim),
        "fifo": lambda: os.mkfifo(place),
    }
    plant[kind]()
    with pytest.raises(Malformed, match=r"\.meta/journal\.jsonl: is"), opened(meta):
        pass
    assert victim.read_bytes() == b"untouched"


def test_a_journal_with_another_name_is_read_and_not_written(tmp_path: Path) -> None:
    """As `cp -al` leaves it: its lines count, and nothing is appended, completed or cut."""
    meta, other = tmp_path / ".meta", tmp_path / "other"
    meta.mkdir()
    content = line(runs=1) + line(runs=2)[:-1]
    other.write_bytes(content)
    (meta / "journal.jsonl").hardlink_to(other)
    with opened(meta) as found:
        assert [each.runs for each in found.records()] == [1, 2]
        for change in (found.repair_tail, lambda: found.append(line())):
            with pytest.raises(Linked, match=r"\.meta/journal\.jsonl: has 2 hard links"):
                change()
    assert other.read_bytes() == content
    assert [path.name for path in meta.iterdir()] == ["journal.jsonl"]
