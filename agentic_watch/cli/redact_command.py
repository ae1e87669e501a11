"""`agentic-watch redact`: removes secrets from existing records."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import click

from agentic_watch import counted
from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.cli import messages
from agentic_watch.cli.exit_status import EXIT_FAILED, EXIT_UNCOMMITTABLE, HistoryHeld, Interrupted, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.messages import progress
from agentic_watch.cli.output import clean, print_json
from agentic_watch.config import Config
from agentic_watch.config.value_checks import regex_problem
from agentic_watch.daemon.single_instance import HistoryInUse, Instance
from agentic_watch.exchange import ExchangeError, redacting
from agentic_watch.exchange.redacting import Redacted
from agentic_watch.exchange.redacting_journals import Left, RedactedJournals, out_of_reach, redact_journals
from agentic_watch.history import HistoryError, opening
from agentic_watch.history.store import History
from agentic_watch.workspace.redactor import Redactor, redactor

_FILE_BYTES = 1 << 20
_SHORTEST = 6
_LONGEST = 2_000
_NOT_OURS = "the dispatcher's or the agent's: edit it, or remove the workspace"
_NO_ROOTS = Left("journals: no root is configured", "name the roots with --root, or the configuration with --config")
_NAMES = "a name is kept: rename the directory, and delete its rows with sqlite3 if it must not be known"
_COPIES = Left(
    "copies made by `backup` and `export`, and backups of this host",
    "agentic-watch --history COPY redact … for a copy of the history; delete or recreate the others",
)


@dataclass(slots=True)
class _Work:
    """The secrets to find, and the progress."""

    without: Redactor
    dry_run: bool
    history: Redacted = field(default_factory=Redacted)
    journals: RedactedJournals = field(default_factory=RedactedJournals)
    left: list[Left] = field(default_factory=list)


@click.command("redact")
@click.option("--text-file", metavar="FILE", help="Secrets to redact: one per line, verbatim.")
@click.option("--pattern", metavar="REGEX", help="Redact every match of this regular expression (Python).")
@click.option("--built-in", is_flag=True, help="Redact the built-in forms and those of [redact] (default).")
@click.option("--dry-run", is_flag=True, help="Count what would be redacted; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(
    state: State, text_file: str | None, pattern: str | None, built_in: bool, dry_run: bool, as_json: bool
) -> int | None:
    """Replace secrets in the history and in the journals below the roots by [redacted:KIND].

    New records are redacted by [redact]; this is for older ones, and for secrets that no pattern knows. Stop the daemon
    first (--dry-run works beside it). The history file is rewritten, which needs twice its size of free disk space. If
    interrupted, run it again. Status files, reports, archives, backups and push targets are not changed: those that may
    contain a secret are named, with what to do. Revoke the secret, too: others may know it.

    \b
    Examples:
      agentic-watch redact --dry-run
      agentic-watch redact --text-file /root/leaked
      agentic-watch redact --pattern 'itk_[a-z0-9]{32}'
    """
    if bool(text_file) + bool(pattern) + built_in > 1:
        raise click.UsageError("--text-file, --pattern and --built-in exclude each other")
    config = state.config_to_read()
    work = _Work(_redactor(config, text_file, pattern), dry_run)
    started = time.monotonic()
    try:
        with _without_daemon(config, dry_run=dry_run):
            _redact(config, work)
    except HistoryInUse as error:
        raise HistoryHeld(f"{error}; stop it before redacting") from error
    except OSError as error:
        raise Refused(f"{error.filename or config.history}: {error.strerror}") from error
    except (HistoryError, ExchangeError) as error:
        raise Refused(f"{error}{_so_far(work)}") from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted{_so_far(work)}; run it again for the rest") from error
    _tell(work, as_json=as_json, seconds=time.monotonic() - started)
    if work.journals.failed:
        return EXIT_FAILED
    return EXIT_UNCOMMITTABLE if work.journals.unfit else None


def _redactor(config: Config, text_file: str | None, pattern: str | None) -> Redactor:
    if text_file:
        return Redactor([("text", "|".join(map(re.escape, _secrets(text_file))))], built_in=False)
    if pattern:
        if problem := regex_problem(pattern):
            raise click.BadParameter(problem, param_hint="--pattern")
        return Redactor([("pattern", pattern)], built_in=False)
    if not config.limits.redact.enabled:
        return redactor(config.limits.redact._replace(enabled=True))
    return redactor(config.limits.redact)


def _secrets(path: str) -> list[str]:
    """The lines of the file, longest first, since one may be part of another. Messages never contain a secret."""
    hint = "--text-file"
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise click.BadParameter(f"{path}: cannot be read: {error.strerror}", param_hint=hint) from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path}: is not UTF-8", param_hint=hint) from error
    if len(data) > _FILE_BYTES:
        raise click.BadParameter(f"{path}: is larger than 1 MiB", param_hint=hint)
    lines = {number: line for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    if short := next((number for number, line in lines.items() if len(line) < _SHORTEST), 0):
        text = f"{path}: line {short} has fewer than {_SHORTEST} characters: other words could contain it"
        raise click.BadParameter(text, param_hint=hint)
    if not lines:
        raise click.BadParameter(f"{path}: is empty; write one secret per line", param_hint=hint)
    return sorted(set(lines.values()), key=len, reverse=True)


@contextlib.contextmanager
def _without_daemon(config: Config, *, dry_run: bool) -> Iterator[None]:
    with opening.reading(config.history):
        pass  # raises if there is no history, which a writer would create
    if dry_run:
        yield
        return
    held = Instance.acquire(config.history)
    try:
        yield
    finally:
        held.release()


def _redact(config: Config, work: _Work) -> None:
    # First the journals, from which rows may be recovered; a process that read a line earlier holds its workspace until
    # the row is inserted.
    with progress("workspaces", 0) as tell:
        redact_journals(config, work.without, work.journals, tell, dry_run=work.dry_run)
    with progress("rows", 0) as tell:
        if work.dry_run:
            work.history = redacting.look(config.history, work.without, tell)
        else:
            _redact_history(config.history, work, tell)
    ids = redacting.commit_ids(config.history, work.history)
    work.left += [Left(path, _NOT_OURS) for path in work.journals.left]
    if named := redacting.named_by_secrets(config.history, work.without):
        work.left.append(Left(f"the names of {counted(named, 'workspace')}", _NAMES))
    work.left += out_of_reach(config, work.without, ids)
    work.left += [] if config.roots else [_NO_ROOTS]
    work.left.append(_COPIES)


def _redact_history(path: str, work: _Work, tell: redacting.OnProgress) -> None:
    history = History(path, patience_ms=redacting.PATIENCE_MS)
    try:
        redacting.redact(history, work.without, work.history, tell)
        redacting.clean(history)
    finally:
        history.close()


def _so_far(work: _Work) -> str:
    lines, rows = counted(work.journals.lines, "journal line"), counted(sum(work.history.rows.values()), "row")
    return f": {lines} and {rows} are done"


def _tell(work: _Work, *, as_json: bool, seconds: float) -> None:
    rows, journals = work.history.rows, work.journals
    if as_json:
        print_json(
            {
                "schema": SCHEMA,
                "dry_run": work.dry_run,
                "commits_count": rows["dispatch_history"],
                "findings_count": rows["findings"],
                "kept_files_count": rows["kept_files"],
                "states_count": rows["workspaces"],
                "journals_count": journals.journals,
                "lines_count": journals.lines,
                "kinds": [{"kind": kind, "secrets_count": number} for kind, number in _kinds(work.history.kinds)],
                "left": [left._asdict() for left in work.left],
                "failures": [{"error": text} for text in (*journals.failed, *journals.unfit)],
                "seconds": round(seconds, 3),
            }
        )
        return
    does = "would be redacted" if work.dry_run else "redacted"
    numbers = (
        f"{counted(rows['dispatch_history'], 'commit')}, {counted(rows['findings'], 'finding')}, "
        f"{counted(rows['kept_files'], 'kept file')}, "
        f"{counted(journals.lines, 'line')} of {counted(journals.journals, 'journal')}"
    )
    click.echo(f"{numbers} {does}")
    for kind, number in _kinds(work.history.kinds):
        click.echo(f"  {number:,} {kind}")
    for text in (*journals.failed, *journals.unfit):
        messages.tell(messages.ERROR, clean(text), "failed: ")
    for left in work.left:
        does = left.next_step
        does = does if len(does) <= _LONGEST else f"{does[:_LONGEST]} … (--json has all of it)"
        messages.tell(messages.WARNING, clean(f"not changed: {left.where}: {does}"), "note: ")


def _kinds(kinds: Counter[str]) -> list[tuple[str, int]]:
    return sorted(kinds.items(), key=lambda found: (-found[1], found[0]))
