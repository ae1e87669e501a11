"""`agentic-watch show`: everything about one dispatch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from agentic_watch import counted
from agentic_watch.answers.now.explain import Explanation
from agentic_watch.answers.past import show_dispatch, sql_dialects
from agentic_watch.answers.past.kept_logs import Kept
from agentic_watch.answers.past.show_dispatch import NoSuchDispatch, Shown
from agentic_watch.cli import messages, value_texts
from agentic_watch.cli.answer_options import asking, of_fleet, usable
from agentic_watch.cli.exit_status import EXIT_FAILED, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, line_width, print_content, print_json
from agentic_watch.cli.table_layout import Column, cut, print_table, wrap
from agentic_watch.cli.value_texts import human_duration
from agentic_watch.workspace.candidate import here

_FILES_SHOWN = 20
_FINDINGS_SHOWN = 20
_LONGEST_TEXT = 2_000
_LONGEST_LINE = 504
_WIDTH = 100
_LABEL = 12
_WORDS = {True: "yes", False: "no", None: "?"}
_VERDICTS = (("passed", "passed"), ("build_passed", "build"), ("test_passed", "test"), ("lint_passed", "lint"))
_COMMITS = (
    Column("UPDATED", "updated_utc", time=True),
    Column("RUN", "runs", number=True),
    Column("STATUS", "status", least=9),
    Column("AGENT", "agent", least=8, goes=4),
    Column("DURATION", lambda row: human_duration(row["duration_ms"]), number=True, goes=3),
    Column("FINDINGS", "findings_count", number=True, goes=5),
    Column("ID", "id", number=True, goes=6),
)
_KEPT = (
    Column("FILE", "name", least=14, path=True),
    Column("BYTES", lambda file: f"{file['bytes']:,}", number=True),
    Column(
        "KEPT", lambda file: f"the last {file['bytes'] - file['kept_from']:,}" if file["kept_from"] else "all", goes=1
    ),
)
_FINDINGS = (
    Column("SEVERITY", "severity", least=6, goes=1),
    Column("TOOL", "tool", least=6, goes=2),
    Column("RULE", lambda found: found["rule_id"] or found["code"] or found["category"], least=6, goes=3),
    Column("FILE", "file", least=14, path=True),
    Column("LINE", "line", number=True, goes=4),
    Column("MESSAGE", lambda found: found["message"] or found["title"], least=16),
)


@click.command("show")
@click.argument("given", metavar="WORKSPACE|ID")
@of_fleet
@click.option("--file", "file", metavar="NAME", help="Print the kept part of this file instead, unchanged.")
@click.option("--utc", is_flag=True, help="Use UTC for times.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, /, given: str, file: str | None, utc: bool, as_json: bool) -> None:
    """Show everything about one dispatch: commits and runs, verdicts, changes, findings, and its state on disk.

    WORKSPACE is a path, or a name below a root; ID is a row's id or a commit_id of the history. For a workspace that
    is on disk it shows step by step why it is committed, or why it is not. Changes nothing.

    \b
    Examples:
      agentic-watch show acme/billing/task-101
      agentic-watch show --json 4711
      agentic-watch show --file agent.log 4711
    """
    if file is not None and (as_json or utc):
        raise click.UsageError("--file prints the file as it is: without --json and --utc")
    try:
        shown, content = _ask(state, usable(given), file)
    except NoSuchDispatch as error:
        raise Refused(str(error)) from error
    if content is not None:
        print_content(content)
    elif as_json:
        print_json(show_dispatch.document(shown))
    else:
        _print(shown, utc)
    if shown.failure:
        messages.tell(messages.ERROR, shown.failure, "failed: ")
        click.get_current_context().exit(EXIT_FAILED)


def _ask(state: State, given: str, file: str | None) -> tuple[Shown, bytes | None]:
    """The facts, and the content of the requested kept file."""
    if not state.fleet:
        config = state.config_to_read()
        shown = show_dispatch.one_dispatch(config, given, here())
        if file is None or shown.failure:
            return shown, None
        with sql_dialects.history(config.history) as history:
            return shown, show_dispatch.kept_file(history, shown, file).data
    from agentic_watch.answers.past.fleet_source import fleet_dispatch

    with asking(state) as fleet:
        shown = fleet_dispatch(fleet, given)
        return shown, show_dispatch.kept_file(fleet, shown, file).data if file is not None else None


def _print(shown: Shown, utc: bool) -> None:
    click.echo(clean(f"{shown.workspace}  (root {shown.root})"))
    if shown.dispatch is not None:
        for label, text in _facts(shown.dispatch, utc):
            _say(label, text)
        _print_commits(shown, utc)
        _print_findings(shown)
        _print_kept(shown.kept)
    elif shown.on_disk is None:
        click.echo("  nothing is recorded about it")
    if shown.on_disk is not None:
        _print_disk(shown.on_disk)
    else:
        click.echo("no longer on disk")


def _say(label: str, text: str) -> None:
    """Print a labelled text with further lines indented; nothing for an empty text."""
    if not text:
        return
    width = max(30, (line_width() or _WIDTH) - _LABEL - 4)
    cut = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… (--json shows all)"
    lines = [line for part in cut.split("\n") for line in wrap(clean(part), width)]
    for number, line in enumerate(lines):
        click.echo(f"  {(label if not number else ''):<{_LABEL}}  {line}".rstrip())


def _facts(row: dict[str, Any], utc: bool) -> Iterator[tuple[str, str]]:
    duration = human_duration(row["duration_ms"])
    yield "status", ", ".join(filter(None, [row["status"], f"run {row['runs']}", duration and f"took {duration}"]))
    yield "agent", row["agent"]
    yield "task", row["task"]
    yield "question", row["question"]
    yield "verdicts", ", ".join(f"{name} {_WORDS[row[key]]}" for key, name in _VERDICTS if row[key] is not None)
    yield "changes", _changes(row)
    yield "files", _files(row)
    yield "used", value_texts.usage_text(row)
    yield "branch", row["branch"]
    yield "commits", _commits_of(row)
    yield "issue", str(row["issue"] or "")
    yield "PR", row["pr_url"]
    yield "process", row["process_id"]
    yield "session", row.get("session_id") or ""
    yield "command", _said(row, "command") or ""
    yield "started", value_texts.time_text(row["started_utc"] or "", as_utc=utc)
    yield "updated", value_texts.time_text(row["updated_utc"], as_utc=utc)
    yield "committed", f"{value_texts.time_text(row['committed_at'], as_utc=utc)} on {row['host']}"
    yield "id", " ".join(str(row[name]) for name in ("id", "commit_id") if row.get(name))


def _changes(row: dict[str, Any]) -> str:
    files, added, gone = (row[name] for name in ("files_changed", "insertions", "deletions"))
    if files is None and added is None and gone is None:
        return ""
    return f"{_number(files)} file{'s' * (files != 1)}, +{_number(added)} -{_number(gone)}"


def _said(row: dict[str, Any], key: str, kind: type = str) -> Any:
    """The report's value for a key; None if it has another type."""
    value = (row.get("report") or {}).get(key)
    return value if isinstance(value, kind) else None


def _files(row: dict[str, Any]) -> str:
    files = (_said(row, "changes", dict) or {}).get("files")
    names = [name for name in files if isinstance(name, str)] if isinstance(files, list) else []
    more = f" and {len(names) - _FILES_SHOWN} more" if len(names) > _FILES_SHOWN else ""
    return ", ".join(names[:_FILES_SHOWN]) + more


def _commits_of(row: dict[str, Any]) -> str:
    """The commits at start and end; only one if nothing was committed."""
    start, end = (_said(row, "commits", dict) or {}).get("start"), row.get("head_commit")
    return end or "" if start == end or not isinstance(start, str) else f"{start} to {end or '?'}"


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _print_commits(shown: Shown, utc: bool) -> None:
    click.echo(f"{counted(len(shown.commits), 'commit')} of this workspace, oldest first")
    print_table(_COMMITS, shown.commits, utc=utc)


def _print_findings(shown: Shown) -> None:
    if not shown.findings:
        return
    count = len(shown.findings)
    click.echo(f"{counted(count, 'finding')}")
    print_table(_FINDINGS, shown.findings[:_FINDINGS_SHOWN])
    if count > _FINDINGS_SHOWN:
        click.echo(f"and {count - _FINDINGS_SHOWN} more; --json lists all")


def _print_kept(kept: Kept) -> None:
    if not kept.files:
        return
    click.echo(f"{counted(len(kept.files), 'kept file')}; show --file NAME prints one")
    print_table(_KEPT, kept.files)
    if kept.lines:
        click.echo(clean(f"last lines of {kept.log}"))
        width = max(30, (line_width() or _LONGEST_LINE) - 4)
        for line in kept.lines:
            click.echo(f"    {cut(clean(line.expandtabs()), width)}".rstrip())


def _print_disk(told: Explanation) -> None:
    click.echo(clean(f"on disk: {told.path}"))
    for step in told.steps:
        _say(f"{step.name} {_WORDS[step.holds]}", step.says)
    for difference in told.differences:
        _say("but", difference)
    _say("so", told.why)
