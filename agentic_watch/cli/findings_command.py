"""`agentic-watch findings`: findings that recur over runs, are new, or are gone."""

from __future__ import annotations

from typing import Any

import click

from agentic_watch import counted
from agentic_watch.answers.answer_shape import Answer
from agentic_watch.answers.past import findings
from agentic_watch.answers.past.filters import Filter
from agentic_watch.answers.past.findings import BY, Kind
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.cli import messages
from agentic_watch.cli.answer_options import (
    Form,
    asking,
    filtered,
    form_of,
    formed,
    print_answer,
    say_cut,
    say_nothing_matches,
    say_what_was_read,
    wanted,
)
from agentic_watch.cli.global_options import State, Whole
from agentic_watch.cli.table_layout import Column, print_table
from agentic_watch.cli.value_texts import shorten

_MESSAGE = 200
_RUNS = 2
_NAMED = {
    "rule": (Column("TOOL", "tool"), Column("RULE", "rule", least=12)),
    "file": (Column("REPO", "repo", least=10, path=True), Column("FILE", "file", least=16, path=True)),
    "tool": (Column("TOOL", "tool", least=8),),
    "repo": (Column("REPO", "repo", least=12, path=True),),
}
_CHANGE = (
    Column("REPO", "repo", least=10, path=True),
    Column("TOOL", "tool", goes=2),
    Column("RULE", "rule", least=6),
    Column("FILE", "file", least=14, path=True),
    Column("LINE", "line", number=True, goes=3),
    Column("MESSAGE", lambda row: shorten(row["message"] or "", _MESSAGE), least=14, goes=4),
)
_COUNTS = (
    Column("FINDINGS", lambda row: f"{row['findings_count']:,}", number=True),
    Column("DISPATCHES", lambda row: f"{row['dispatches_count']:,}", number=True, goes=2),
)
_REPOS = Column("REPOS", lambda row: f"{row['repositories_count']:,}", number=True, goes=3)
_LAST_SEEN = Column("LAST SEEN", "last_utc", goes=1, time=True)


@click.command("findings")
@filtered
@click.option("--by", type=click.Choice(BY), help="Group by this (default: rule).")
@click.option("--persistent", type=Whole(2), metavar="N", help="Findings in each of the newest N runs.")
@click.option("--new", is_flag=True, help="Findings in the newest run of a repository, not in the one before.")
@click.option("--gone", is_flag=True, help="Findings in the run before, not in the newest one.")
@formed()
@click.pass_obj
def command(state: State, /, by: str | None, persistent: int | None, **options: Any) -> None:
    """Show which findings recur over runs, by rule, file, tool or repository, and in how many repositories.

    A rule is a tool and its rule_id, else its code, category, or title without numbers and names. Findings match
    across runs of a repository when rule and file are the same.

    \b
    Examples:
      agentic-watch findings --since 30d
      agentic-watch findings --persistent 3 --repo billing
    """
    kinds: dict[Kind, bool] = {"persistent": bool(persistent), "new": options["new"], "gone": options["gone"]}
    chosen = [kind for kind, given in kinds.items() if given]
    if len(chosen) > 1:
        raise click.UsageError("--persistent, --new and --gone exclude each other")
    if chosen and by:
        raise click.UsageError(f"--by groups all findings and does not go with --{chosen[0]}")
    form, asked = form_of(options), wanted(options)
    with asking(state) as source:
        if chosen:
            answer = findings.changes_answer(source, asked, chosen[0], persistent or _RUNS)
        else:
            answer = findings.answer(source, asked, by or "rule")
        if form.name == "table":
            _print(source, asked, answer, form, utc=options["utc"])
        else:
            print_answer(form, answer)


def _print(source: Source, asked: Filter, answer: Answer, form: Form, *, utc: bool) -> None:
    shown = form.cut(answer.rows)
    if "kind" in answer.head:
        click.echo(_said(answer))
        print_table(_CHANGE, shown)
        if untold := answer.head["too_few_runs_count"]:
            few = f"fewer than {answer.head['runs']} runs with a report"
            messages.tell(messages.INFO, f"{counted(untold, 'repository')} not compared: {few}")
    elif not shown:
        say_nothing_matches(source, asked, utc=utc)
        return
    else:
        by = answer.head["by"]
        repositories = [_REPOS] if by in ("rule", "tool") else []
        print_table([*_NAMED[by], *_COUNTS, *repositories, _LAST_SEEN], shown, utc=utc)
        say_what_was_read(source, asked, counted(answer.head["examined_count"], "finding"), utc=utc)
    say_cut(len(shown), len(answer.rows))


def _said(answer: Answer) -> str:
    """The heading of a list of changes."""
    count = len(answer.rows)
    sentence = {
        "persistent": f"in each of the newest {answer.head['runs']} runs of their repository",
        "new": "in the newest run of their repository, not in the one before",
        "gone": "in the run before, not in the newest one of their repository",
    }[answer.head["kind"]]
    return f"{counted(count, 'finding')} {sentence}"
