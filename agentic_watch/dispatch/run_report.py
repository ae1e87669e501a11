"""Assembles the report of a run: results of checks, verdict, and git's counts of changes; with `--patch` it writes the
changes to `.meta/changes.patch`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agentic_watch.dispatch import git_facts, status_writer, workspace_to_use
from agentic_watch.dispatch.git_facts import Since
from agentic_watch.dispatch.git_process import GitFailed
from agentic_watch.dispatch.run_types import Run
from agentic_watch.workspace import files, instant, layout
from agentic_watch.workspace import report as reports
from agentic_watch.workspace.jsontext import dump
from agentic_watch.workspace.workspace_errors import WorkspaceError

VERDICTS = ("passed", "build_passed", "test_passed", "lint_passed")
_LIMIT = 8 << 20
_PATCH, _PATCH_AT_MOST = "changes.patch", 1 << 20
_PATCH_LABEL = f"{layout.META}/{_PATCH}"


def report_of(run: Run, paths: Sequence[str], *, passed: bool, changed: Since, problems: list[str]) -> dict[str, Any]:
    """The report of an ended run: the command's `.meta/report.json` merged with the files `paths`.

    `passed` is the verdict of the exit status, `changed` git's counts; values in a report take precedence. Invalid
    files are skipped, with a line in `problems`.
    """
    found = [*_written_by_command(run, problems), *_from_files(run, paths, problems)]
    report = merged(found)
    report.setdefault("passed", passed and all(report.get(key) is not False for key in VERDICTS))
    if changed.changes:
        report.setdefault("changes", dict(changed.changes))
        if (files := changed.changes.get("files")) and isinstance(report["changes"], dict):
            report["changes"].setdefault("files", files)  # add the paths to counts given by a report
    if changed.commit:
        report.setdefault("commits", {"start": run.start_commit, "end": changed.commit})
    return report


def changed(run: Run, interrupted: Callable[[], bool], problems: list[str], left_out: Sequence[str] = ()) -> Since:
    """Branch and commit at the end of a run, and git's counts of changes since its start.

    The files `left_out` are not the agent's work and are not counted.
    """
    if not run.directory or not run.start_commit:
        return Since()
    try:
        since = git_facts.after(run.directory, run.start_commit, interrupted, left_out)
    except GitFailed as error:
        problems.append(f"{run.directory}: the changes are not counted: {error}")
        return Since()
    if unread := since.unread:
        problems.append(f"{run.directory}: {_listed(unread)} cannot be read; the changes are counted without")
    return since


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _written_by_command(run: Run, problems: list[str]) -> Iterable[dict[str, Any]]:
    try:
        with contextlib.closing(workspace_to_use.open_existing(run.root, run.name)) as place:
            written, warning = reports.read(place.meta, _LIMIT) if place.meta is not None else ({}, None)
    except WorkspaceError as error:
        problems.append(f"{run.path}: {error}")
        return
    if warning:
        problems.append(f"{run.path}: {warning}")
    if written:
        from agentic_watch.dispatch import input_file
        from agentic_watch.dispatch.reports import report_formats

        try:
            report_formats.refuse_result(written)
        except input_file.Unreadable as error:
            problems.append(f"{os.path.join(run.path, layout.META_REPORT)}: {error}; recorded without it")
            return
    yield written


def _from_files(run: Run, paths: Sequence[str], problems: list[str]) -> Iterable[dict[str, Any]]:
    if not paths:
        return
    from agentic_watch.dispatch import input_file
    from agentic_watch.dispatch.reports import report_formats
    from agentic_watch.dispatch.reports.report_shape import Clone

    since = instant.parse(run.started_at).ns
    top = git_facts.top_level(run.directory) if run.directory else ""
    for path in paths:
        place = input_file.locate(path, run.path)
        try:
            report, warning = report_formats.read(place, since, Clone(top, os.path.dirname(place)))
        except input_file.Unreadable as error:
            problems.append(f"{path}: {error}; recorded without it")
            continue
        if warning:
            problems.append(f"{path}: {warning}")
        yield report


def merged(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Merge reports: all findings; a verdict is true only if it is true in all reports that have it."""
    whole: dict[str, Any] = {}
    for report in found:
        for key, value in report.items():
            before = whole.get(key)
            if key in VERDICTS and isinstance(before, bool) and isinstance(value, bool):
                whole[key] = before and value
            elif isinstance(before, list) and isinstance(value, list):
                # The same report given twice adds nothing.
                known = {dump(item) for item in before}
                whole[key] = before + [item for item in value if dump(item) not in known]
            else:
                whole[key] = value
    return whole


def write_patch(run: Run, interrupted: Callable[[], bool], problems: list[str], left_out: Sequence[str] = ()) -> None:
    """Write the patch of an ended run; an earlier run's patch is removed, also when nothing changed.

    It is the `git diff` from the commit at the start to the current files, committed or not, including new files;
    binary files only by name. Nothing is written over 1 MiB. That, and errors of git, add a line to `problems`.
    """
    patch = b""
    try:
        if run.directory and run.start_commit:
            patch = git_facts.patch(run.directory, run.start_commit, interrupted, left_out, at_most=_PATCH_AT_MOST + 1)
    except GitFailed as error:
        problems.append(f"{run.directory}: no {_PATCH_LABEL}: {error}")
    if len(patch) > _PATCH_AT_MOST:
        problems.append(f"{run.path}: no {_PATCH_LABEL}: the patch is larger than 1 MiB")
        patch = b""
    try:
        with contextlib.closing(workspace_to_use.open_existing(run.root, run.name)) as place:
            if place.meta is None:
                return
            if patch:
                status_writer.replace_whole(place.meta, _PATCH, _PATCH_LABEL, patch)
            else:
                files.remove(place.meta, _PATCH)
    except WorkspaceError as error:
        problems.append(f"{run.path}: {error}")
