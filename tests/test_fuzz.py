"""Random moves over two roots, judged by one rule: some passes, and the seeds that once failed.

`make fuzz` plays twenty thousand.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fuzz import rule
from fuzz.records import Dispatch, Line, Mark, Records, Row, Workspace
from fuzz.seeds import KEPT, KEPT_ORDINARY, play, play_on

OLD, NEW = ("here", "a/x/1"), ("here", "b/x/1")
AT = "2026-04-14T11:17:09Z"
DISPATCH = Dispatch("2026-04-14T11:17:08.000000000Z", 0, AT, "", "", "find the walrus", "codex", "")
ROW = Row(OLD, DISPATCH, ("merged", ""), AT, None, "here", "")
LINE = Line(OLD[1], DISPATCH, ROW.said, AT)
THERE = Workspace(True, DISPATCH, ROW.said, b"line\n", (LINE,), Mark(OLD[1], DISPATCH.key, AT), b"marker")
MOVED = Records({NEW: THERE}, {(OLD, DISPATCH.key): ROW})


def made(where: tuple[str, str]) -> Records:
    """What is there when the moved workspace gets a row under another name as well."""
    return replace(MOVED, rows={**MOVED.rows, (where, DISPATCH.key): ROW._replace(where=where)})


def with_line(line: Line) -> Records:
    """What is there when the moved workspace gets a line more."""
    there = replace(THERE, journal=b"line\nline\n", lines=(LINE, line))
    return replace(MOVED, workspaces={NEW: there})


@pytest.mark.parametrize(
    "after",
    [
        replace(MOVED, rows={}),
        made(NEW),
        made(("there", OLD[1])),
        with_line(LINE._replace(name=NEW[1])),
        with_line(LINE._replace(dispatch=DISPATCH._replace(runs=1))),
        replace(MOVED, workspaces={NEW: replace(THERE, journal=b"", lines=())}),
        replace(MOVED, workspaces={NEW: replace(THERE, marker=b"", mark=None)}),
    ],
)
def test_the_rule_refuses_what_doubles_or_destroys(after: Records) -> None:
    """A moved workspace: its row lost or made again, a line made again or made up, its journal or marker gone."""
    assert not [*rule.wrong(MOVED, MOVED, {}, whole=True), *rule.lacking(MOVED, MOVED)]
    assert [*rule.wrong(MOVED, after, {}, whole=True)]


def test_the_rule_misses_what_a_pass_left_undone() -> None:
    """A finished workspace without a row, a line and a marker lacks each of them."""
    undone = Records({OLD: Workspace(has_status=True, dispatch=DISPATCH)})
    assert len([*rule.lacking(undone, undone)]) == 3


@pytest.mark.parametrize(
    ("seed", "ordinary"), [*((seed, False) for seed in KEPT), *((seed, True) for seed in KEPT_ORDINARY)]
)
def test_a_seed_that_once_failed_shows_no_difference(tmp_path: Path, seed: int, ordinary: bool) -> None:
    """What it found stays mended."""
    assert play(tmp_path, seed, ordinary=ordinary) > 0


def test_random_moves_show_no_difference(tmp_path: Path) -> None:
    """Each finished dispatch is recorded once, wherever its directory went and whatever happened to the history."""
    *_, (_, passes) = play_on(tmp_path, 2, 100)
    assert passes >= 100
