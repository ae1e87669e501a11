"""Tables on a terminal: they fit, numbers stay whole, and what is missing is said."""

import itertools
from operator import itemgetter

import pytest

from agentic_watch.cli.table_layout import Column, cut, cut_middle, lay_out, pad, width

COLUMNS = (
    Column("WHEN", itemgetter(0)),
    Column("NAME", itemgetter(1), least=8, path=True),
    Column("TASK", itemgetter(2), least=6, goes=1),
    Column("COUNT", itemgetter(3), number=True, goes=2),
    Column("TOTAL", itemgetter(4), number=True),
)
ROWS = [
    ("2026-04-14", "acme/billing/task-102", "Übersetzung — 修正 ✓ 更新する", 7, 1_000_000),
    ("2026-04-15", "acme/site/a", None, 12_345, 3),
]


def test_a_table_without_a_limit_is_as_wide_as_it_is() -> None:
    """Where nothing has to fit nothing is cut, numbers stand at the right, and wide characters count twice."""
    assert lay_out(COLUMNS, ROWS, None) == [
        "WHEN        NAME                   TASK                           COUNT    TOTAL",
        "2026-04-14  acme/billing/task-102  Übersetzung — 修正 ✓ 更新する      7  1000000",
        "2026-04-15  acme/site/a                                           12345        3",
    ]


@pytest.mark.parametrize("limit", range(40, 141))
def test_a_table_fits_every_terminal(limit: int) -> None:
    """Whatever the width, no line is wider, the columns stand in line, and a number is whole or its column is gone."""
    lines = lay_out(COLUMNS, ROWS, limit)
    assert max(map(width, lines)) <= limit
    assert lines[1].endswith("1000000")
    assert ("12345" in lines[2]) == ("COUNT" in lines[0])
    gone = [header for header in ("TASK", "COUNT") if header not in lines[0]]
    assert " ".join(lines[3:]) == (f"(columns hidden to fit: {', '.join(gone)}; --json shows all)" if gone else "")


def test_text_shrinks_before_a_column_goes_and_columns_go_in_their_order() -> None:
    """From wide to narrow: text is cut, then COUNT goes, then TASK; a column that is gone does not come back."""
    seen = [lay_out(COLUMNS, ROWS, limit)[0].split() for limit in range(140, 29, -1)]
    order = [key for key, _ in itertools.groupby(seen)]
    assert order == [
        ["WHEN", "NAME", "TASK", "COUNT", "TOTAL"],
        ["WHEN", "NAME", "TASK", "TOTAL"],
        ["WHEN", "NAME", "TOTAL"],
    ]
    assert "…" in lay_out(COLUMNS, ROWS, 60)[1]


def test_widths_of_what_is_not_latin() -> None:
    """East Asian characters take two columns, combining ones none; a cut never leaves half of one."""
    assert (width("修正"), width("e\u0301"), width("ab")) == (4, 1, 2)
    assert [cut("修正する", columns) for columns in (8, 7, 6, 5)] == ["修正する", "修正す…", "修正…", "修正…"]
    assert cut_middle("acme/billing/task-102", 12) == "acm…task-102"
    assert pad("修", 4) + "|" + pad("修", 4, right=True) == "修  |  修"


def test_control_characters_are_shown_as_escapes() -> None:
    """What an agent wrote cannot move the cursor."""
    assert lay_out((Column("A", "a"),), [{"a": "x\x1b[31m\ny"}], None)[1] == r"x\x1b[31m\ny"
