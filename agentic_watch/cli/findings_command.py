"""`agentic-watch findings`: what recurs over runs, what is new, what went away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from agentic_watch.answers import documents
from agentic_watch.answers.filters import Wanted
from agentic_watch.answers.finding_changes import CHANGE_COLUMNS, Kind, changes
from agentic_watch.answers.findings import BY, Recurring, recurring
from agentic_watch.answers.source import Source
from agentic_watch.cli import clock_times
from agentic_watch.cli.answer_options import (
    asking,
    counted,
    filtered,
    one_form,
    say_nothing_matches,
    say_what_was_read,
    wanted,
)
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import print_csv, print_json, shorten
from agentic_watch.cli.table_layout import Column, print_columns

_MESSAGE = 200
_RUNS = 2
_NAMED = {
    "rule": (Column("TOOL"), Column("RULE", least=12)),
    "file": (Column("REPO", least=10, path=True), Column("FILE", least=16, path=True)),
    "tool": (Column("TOOL", least=8),),
    "repo": (Column("REPO", least=12, path=True),),
}
_CHANGE = (
    Column("REPO", least=10, path=True),
    Column("TOOL", goes=2),
    Column("RULE", least=6),
    Column("FILE", least=14, path=True),
    Column("LINE", number=True, goes=3),
    Column("MESSAGE", least=14, goes=4),
)
_COUNTS = (
    Column("FINDINGS", number=True),
    Column("DISPATCHES", number=True, goes=2),
    Column("REPOS", number=True, goes=3),
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was found: what was asked for, a document for each row, and how many findings were looked at."""

    head: dict[str, Any]
    rows: list[dict[str, Any]]
    looked_at: int


@click.command("findings")
@filtered
@click.option("--by", type=click.Choice(BY), default="rule", show_default=True, help="Count by this.")
@click.option("--persistent", type=click.IntRange(2), metavar="N", help="Those in the newest N runs of a repository.")
@click.option("--new", is_flag=True, help="Those in the newest run of a repository, not in the one before.")
@click.option("--gone", is_flag=True, help="Those in the run before, not in the newest one.")
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(0), help="At most so many; 0: all.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, /, by: str, persistent: int | None, limit: int, **options: Any) -> None:
    """Tell which findings recur over runs, by rule, file, tool or repository, and in how many repositories.

    A rule is a tool and its rule_id, else its code, else its category, else the title without numbers and names. A
    finding is the same in two runs of a repository when its rule and its file are.

    \b
    Examples:
      agentic-watch findings --since 30d
      agentic-watch findings --persistent 3 --repo billing
    """
    kinds: dict[Kind, bool] = {"persistent": bool(persistent), "new": options["new"], "gone": options["gone"]}
    chosen = [kind for kind, given in kinds.items() if given]
    if len(chosen) > 1:
        raise click.UsageError("--persistent, --new and --gone ask for different things; give one")
    one_form(as_json=options["as_json"], as_csv=options["as_csv"])
    asked = wanted(options)
    with asking(state) as source:
        if chosen:
            found = changes(source, asked, chosen[0], persistent or _RUNS)
            head = {"kind": chosen[0], "runs": persistent or _RUNS}
            head |= {"repositories": found.repositories, "too_few_runs": found.untold}
            answer = _Answer(head, [one.document() for one in found.found], len(found.found))
        else:
            groups = recurring(source, asked, by)
            answer = _Answer({"by": by}, [one.document(by) for one in groups], sum(one.findings for one in groups))
        if options["as_json"]:
            head = {**documents.head(source, asked, answer.looked_at), **answer.head, "count": len(answer.rows)}
            print_json({**head, "findings": answer.rows[: limit or None]})
        elif options["as_csv"]:
            columns = CHANGE_COLUMNS if chosen else Recurring("", "", "").document(by)
            print_csv(tuple(columns), answer.rows[: limit or None])
        else:
            _print(source, asked, answer, limit, utc=options["utc"])


def _print(source: Source, asked: Wanted, answer: _Answer, limit: int, *, utc: bool) -> None:
    shown = answer.rows[: limit or None]
    if "kind" in answer.head:
        click.echo(_said(answer))
        print_columns(_CHANGE, [_change_cells(row) for row in shown])
        if untold := answer.head["too_few_runs"]:
            few = f"fewer than {answer.head['runs']} runs with a report"
            click.echo(f"nothing is told of {counted(untold, 'repository')} with {few}", err=True)
    elif not shown:
        say_nothing_matches(source, asked, utc=utc)
        return
    else:
        header, times = clock_times.column("LAST SEEN", [row["last_utc"] for row in shown], utc=utc)
        by = answer.head["by"]
        columns = [*_NAMED[by], *(column for column in _COUNTS if by in ("rule", "tool") or column.header != "REPOS")]
        cells = [_cells(by, row, last) for row, last in zip(shown, times, strict=True)]
        print_columns([*columns, Column(header, goes=1)], cells)
        say_what_was_read(source, asked, counted(answer.looked_at, "finding"), utc=utc)
    if len(shown) < len(answer.rows):
        click.echo(f"{len(shown)} of {len(answer.rows):,} are shown; -n 0 shows all", err=True)


def _said(answer: _Answer) -> str:
    """The sentence above a list of changes."""
    count = len(answer.rows)
    sentence = {
        "persistent": f"in each of the newest {answer.head['runs']} runs of their repository",
        "new": "in the newest run of their repository, not in the one before",
        "gone": "in the run before, not in the newest one of their repository",
    }[answer.head["kind"]]
    return f"{counted(count, 'finding')} {sentence}"


def _cells(by: str, row: dict[str, Any], last: str) -> list[str]:
    names = [row[column.header.lower()] for column in _NAMED[by]]
    repositories = [f"{row['repositories']:,}"] if by in ("rule", "tool") else []
    return [*names, f"{row['findings']:,}", f"{row['dispatches']:,}", *repositories, last]


def _change_cells(row: dict[str, Any]) -> list[Any]:
    return [row["repo"], row["tool"], row["rule"], row["file"], row["line"], shorten(row["message"], _MESSAGE)]
