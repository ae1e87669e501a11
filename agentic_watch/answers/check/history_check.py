"""Checks the history: that the file exists and is valid, and that findings and search index match the rows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

from agentic_watch import counted
from agentic_watch.answers.check.check_result import CheckResult, Subject
from agentic_watch.history import HistoryError, findings_and_search, opening
from agentic_watch.host import new_file

_NAME = "history"
_RESTORE = "restore the backup (docs/operations.md); rows committed since come back from the journals"
REPAIR = "agentic-watch check --repair"


def history(subject: Subject) -> Iterator[CheckResult]:
    """SQLite's own check of the file, then the data derived from the rows."""
    path = subject.config.history
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        yield CheckResult(_NAME, False, f"{path}: is not there", "agentic-watch --once creates it from the journals")
        return
    except OSError as error:
        yield CheckResult(_NAME, None, f"{path}: {error.strerror}")
        return
    try:
        with opening.reading(path) as connection:
            yield from _sound(connection, path)
    except HistoryError as error:
        yield CheckResult(_NAME, False, str(error), "fix the named cause; journals and markers are still written")
        return
    yield from _search(path)
    yield from _leftovers(path)


def _sound(connection: sqlite3.Connection, path: str) -> Iterator[CheckResult]:
    # Newer SQLite versions report a damaged search index here too, which does not affect the rows.
    told = [text for (text,) in connection.execute("PRAGMA integrity_check(3)")]
    problems = [" ".join(text.split()) for text in told if text != "ok" and "FTS5" not in text]
    findings = [CheckResult(_NAME, False, f"{path}: {problem}", _RESTORE) for problem in problems]
    if orphans := findings_and_search.orphans(connection):
        text = f"{path}: findings or kept files without a dispatch: {orphans:,}"
        findings.append(CheckResult(_NAME, False, text, REPAIR))
    if count := findings_and_search.miscounted(connection):
        text = f"{path}: dispatches with a wrong number of findings: {count:,}"
        findings.append(CheckResult(_NAME, False, text, _RESTORE))
    yield from findings
    if not findings:
        (rows,) = connection.execute("SELECT count(*) FROM dispatch_history").fetchone()
        yield CheckResult(_NAME, True, f"{path}: sound, {counted(rows, 'commit')}")


def _search(path: str) -> Iterator[CheckResult]:
    try:
        sound = findings_and_search.search_is_sound(path)
    except HistoryError as error:
        yield CheckResult("search", None, f"{error}; comparing the search index with the rows needs write permission")
        return
    if sound:
        yield CheckResult("search", True, f"{path}: the search index matches the rows")
    else:
        yield CheckResult("search", False, f"{path}: the search index differs from the rows", REPAIR)


def _leftovers(path: str) -> Iterator[CheckResult]:
    """Report files that a killed backup or prune left beside the history."""
    try:
        left = new_file.leftovers(os.path.dirname(path))
        sizes = [os.path.getsize(one) for one in left]
    except OSError:
        return  # already removed, or reported by the check of ownership
    for one, size in zip(left, sizes, strict=True):
        text = f"{one}: {size:,} bytes left by a killed backup or prune"
        yield CheckResult(_NAME, False, text, "remove it, or let the next prune do it")


def mend(subject: Subject) -> None:
    """Rebuild the data derived from the rows. Raises HistoryError."""
    findings_and_search.rebuild(subject.config.history)
