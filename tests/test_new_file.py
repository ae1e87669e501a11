"""Files that appear whole or not at all, in directories where others may write, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentic_watch.host.new_file import new_file


def test_what_is_put_under_the_temporary_name_is_not_written_to(tmp_path: Path) -> None:
    """A link there leads to somebody's file: the content goes into the file that was made."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"somebody's")
    with new_file(str(tmp_path / "there"), 0o644, replace=True) as file:
        (temporary,) = tmp_path.glob("*.part")
        temporary.unlink()
        temporary.symlink_to(outside)
        file.write(b"ours")
    assert outside.read_bytes() == b"somebody's"


@pytest.mark.parametrize("replace", [True, False])
def test_what_was_there_is_replaced_only_where_that_is_wanted(tmp_path: Path, replace: bool) -> None:
    """And nothing is left under another name."""
    path = tmp_path / "there"
    path.write_bytes(b"before")
    try:
        with new_file(str(path), 0o644, replace=replace) as file:
            file.write(b"after")
    except FileExistsError:
        assert not replace
    assert path.read_bytes() == (b"after" if replace else b"before")
    assert list(tmp_path.iterdir()) == [path]
