"""`dispatch --patch`: what the command changed, as a patch for who reviews it: `.meta/changes.patch`.

From the commit at the start to the files as they are, committed or not, new files too, as `git diff` shows it; of
binary files only their names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from agentic_watch.dispatch import git_facts, new_workspace, status_writer
from agentic_watch.dispatch.git_process import GitFailed
from agentic_watch.dispatch.runs import Run
from agentic_watch.workspace import files, layout
from agentic_watch.workspace.workspace_errors import WorkspaceError

PATCH = "changes.patch"
_LABEL = f"{layout.META}/{PATCH}"
_AT_MOST = 1 << 20


def write(run: Run, interrupted: Callable[[], bool], problems: list[str], left_out: Sequence[str] = ()) -> None:
    """Write the patch of a run that has ended; none when nothing changed, and one of an earlier run goes.

    Over 1 MiB it is left out. That, and what git cannot tell, becomes a line in `problems`.
    """
    patch = b""
    try:
        if run.directory and run.start_commit:
            patch = git_facts.patch(run.directory, run.start_commit, interrupted, left_out, at_most=_AT_MOST + 1)
    except GitFailed as error:
        problems.append(f"{run.directory}: no {_LABEL}: {error}")
    if len(patch) > _AT_MOST:
        problems.append(f"{run.path}: no {_LABEL}: the patch is larger than 1 MiB")
        patch = b""
    try:
        with closing(new_workspace.open_existing(run.root, run.name)) as place:
            if place.meta is None:
                return
            if patch:
                status_writer.replace_whole(place.meta, PATCH, _LABEL, patch)
            else:
                files.remove(place.meta, PATCH)
    except WorkspaceError as error:
        problems.append(f"{run.path}: {error}")
