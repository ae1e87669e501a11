"""What git says of the directory an agent works in: whose repository, which branch, and what was changed since.

No external diff or text conversion of the repository's configuration is started to count what was changed (a clean
filter is: line ends and large files need it).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from agentic_watch.dispatch.git_process import GitFailed, GitProcess, ask

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORTSTAT = re.compile(r"(\d+) (file|insertion|deletion)")
_KEYS = {"file": "files_changed", "insertion": "insertions", "deletion": "deletions"}
_COUNT_SECONDS = 10.0
_HOME = ("--path-format=absolute", "--git-common-dir")


class Facts(NamedTuple):
    """What is checked out; "" is unknown. `commit` is the full hash, of the empty tree before the first commit."""

    org: str = ""
    repo: str = ""
    branch: str = ""
    commit: str = ""


NOTHING = Facts()


def look(directory: str) -> Facts:
    """The facts of `directory`; NOTHING where it is in no clone, or there is no git."""
    try:
        head = GitProcess(directory, "rev-parse", *_HOME, "HEAD", "--abbrev-ref", "HEAD")
    except GitFailed:
        return NOTHING
    try:
        # Asked while the first is at work: it costs no time where there is a second processor.
        org, repo = owner_and_name(ask(directory, "config", "--get", "remote.origin.url"))
    except GitFailed:
        org, repo = "", ""
    try:
        home, commit, branch = _head(directory, head)
    except GitFailed:
        return NOTHING
    return Facts(org, repo or os.path.basename(home.removesuffix("/.git")), branch, commit)


def _head(directory: str, asked: GitProcess) -> tuple[str, str, str]:
    """(directory of the repository, which linked worktrees share, commit, branch); a detached head has no branch."""
    try:
        home, commit, branch = asked.answer().rsplit("\n", 2)
        return home, commit, _branch(branch)
    except GitFailed as error:
        if not (home := error.out.partition("\n")[0]):
            raise
    # There is no commit yet.
    empty = ask(directory, "hash-object", "-t", "tree", "/dev/null")
    return home, empty, ask(directory, "symbolic-ref", "--short", "HEAD")


def _branch(name: str) -> str:
    return "" if name == "HEAD" else name


def owner_and_name(url: str) -> tuple[str, str]:
    """(org, repo) of a clone's origin: `https://host/org/repo.git`, `git@host:org/repo`, `ssh://…`, or a path."""
    path = os.path.normpath(url.strip()) if url.startswith(("/", ".")) else url.strip().rstrip("/")
    path = path.removesuffix(".git").rstrip("/")
    _, scheme, rest = path.partition("://")
    if scheme:
        path = rest.partition("/")[2]
    elif ":" in path and "/" not in path.partition(":")[0]:
        path = path.partition(":")[2]
    elif path.startswith(("/", ".")):
        return "", os.path.basename(path)  # a directory of this host says nothing of an organisation
    parts = [part for part in path.split("/") if part]
    return (parts[-2] if len(parts) > 1 else "", parts[-1] if parts else "")


def after(
    directory: str, start: str, hurried: Callable[[], bool], left_out: Sequence[str] = ()
) -> tuple[str, dict[str, int]]:
    """The branch that is checked out now, and what was changed since the commit `start`: files, lines inserted and
    deleted, up to the files as they are, new ones too, but for those `left_out`.

    Ends early when `hurried` says so. Raises GitFailed with the cause.
    """
    if not _COMMIT.fullmatch(start):
        raise GitFailed("the commit at the start is not known")
    out = ask(directory, "rev-parse", "--show-toplevel", "--absolute-git-dir", "--abbrev-ref", "HEAD", allowed=128)
    top, git_directory, branch = (*out.split("\n", 2), "", "")[:3]
    if not git_directory:
        raise GitFailed("there is no work tree")
    # New files are announced to a copy of the index, so that git itself counts them; the agent's own stays.
    index = os.path.join(git_directory, f"index.{os.urandom(6).hex()}")
    add = ("add", "--intent-to-add", "--all", "--ignore-errors")
    diff = ("diff", "--shortstat", "--no-ext-diff", "--no-textconv", start, "--", *_but(left_out, top))
    try:
        with contextlib.suppress(FileNotFoundError), open(os.path.join(git_directory, "index"), "rb") as source:
            _copy(source.read(), index)
        for step in (add, diff):
            process = GitProcess(top, *step, environ={"GIT_INDEX_FILE": index})
            text = process.answer(seconds=_COUNT_SECONDS, hurried=hurried)
    except OSError as error:
        raise GitFailed(f"{error.filename}: {error.strerror}") from error
    finally:
        for leftover in (index, f"{index}.lock"):
            with contextlib.suppress(OSError):
                os.unlink(leftover)
    counted = {_KEYS[what]: int(count) for count, what in _SHORTSTAT.findall(text)}
    return _branch(branch), dict.fromkeys(_KEYS.values(), 0) | counted


def _but(paths: Sequence[str], top: str) -> list[str]:
    """Pathspecs of all but these files."""
    inside = [os.path.relpath(os.path.realpath(path), os.path.realpath(top)) for path in paths]
    found = [f":(top,exclude,literal){path}" for path in inside if not path.startswith("../")]
    return [":(top)", *found] if found else []


def top_level(directory: str) -> str:
    """The top of the clone that a directory lies in; the directory itself where it is in none."""
    try:
        return ask(directory, "rev-parse", "--show-toplevel")
    except GitFailed:
        return directory


def _copy(data: bytes, path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
