"""What git says of the directory an agent works in: whose repository, which branch, and what was changed since.

The agent may have written that repository's configuration. Git is asked as the user who ran the agent, starts no
file-system monitor, external diff, text conversion or hook of it (a clean filter it does: line ends and large files
need it), and is not waited for at length.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORTSTAT = re.compile(r"(\d+) (file|insertion|deletion)")
_KEYS = {"file": "files_changed", "insertion": "insertions", "deletion": "deletions"}
_ASK_SECONDS = 5.0
_COUNT_SECONDS = 10.0
_POLL_SECONDS = 0.2
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_HOME = ("--path-format=absolute", "--git-common-dir")
_UNASKED = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is checked out; "" is unknown. `commit` is the full hash, of the empty tree before the first commit."""

    org: str = ""
    repo: str = ""
    branch: str = ""
    commit: str = ""


NOTHING = Facts()


class GitFailed(Exception):
    """Git is not there, cannot tell, or was too slow; the text is the cause, `out` what it said before it failed."""

    def __init__(self, cause: str, out: str = "") -> None:
        super().__init__(cause)
        self.out = out


def look(directory: str) -> Facts:
    """The facts of `directory`; NOTHING where it is in no clone, or there is no git."""
    try:
        home, commit, branch = _head(directory)
    except GitFailed:
        return NOTHING
    try:
        org, repo = owner_and_name(_ask(directory, "config", "--get", "remote.origin.url"))
    except GitFailed:
        org, repo = "", ""
    return Facts(org, repo or os.path.basename(home.removesuffix("/.git")), branch, commit)


def _head(directory: str) -> tuple[str, str, str]:
    """(directory of the repository, which linked worktrees share, commit, branch); a detached head has no branch."""
    try:
        out = _ask(directory, "rev-parse", *_HOME, "HEAD", "--abbrev-ref", "HEAD")
        home, commit, branch = out.rsplit("\n", 2)
        return home, commit, _branch(branch)
    except GitFailed as error:
        if not (home := error.out.partition("\n")[0]):
            raise
    # There is no commit yet.
    empty = _ask(directory, "hash-object", "-t", "tree", "/dev/null")
    return home, empty, _ask(directory, "symbolic-ref", "--short", "HEAD")


def _branch(name: str) -> str:
    return "" if name == "HEAD" else name


def owner_and_name(url: str) -> tuple[str, str]:
    """(org, repo) of a clone's origin: `https://host/org/repo.git`, `git@host:org/repo`, `ssh://…`, or a path."""
    path = url.strip().rstrip("/").removesuffix(".git")
    _, scheme, rest = path.partition("://")
    if scheme:
        path = rest.partition("/")[2]
    elif ":" in path and "/" not in path.partition(":")[0]:
        path = path.partition(":")[2]
    elif path.startswith(("/", ".")):
        return "", os.path.basename(path)  # a directory of this host says nothing of an organisation
    parts = [part for part in path.split("/") if part]
    return (parts[-2] if len(parts) > 1 else "", parts[-1] if parts else "")


def after(directory: str, start: str, hurried: Callable[[], bool]) -> tuple[str, dict[str, int]]:
    """The branch that is checked out now, and what was changed since the commit `start`: files, lines inserted and
    deleted, up to the files as they are, new ones too.

    Ends early when `hurried` says so. Raises GitFailed with the cause.
    """
    if not _COMMIT.fullmatch(start):
        raise GitFailed("the commit at the start is not known")
    out = _ask(directory, "rev-parse", "--show-toplevel", "--absolute-git-dir", "--abbrev-ref", "HEAD", allowed=128)
    top, git_directory, branch = (*out.split("\n", 2), "", "")[:3]
    # New files are announced to a copy of the index, so that git itself counts them; the agent's own stays.
    index = os.path.join(git_directory, f"index.{os.urandom(6).hex()}")
    try:
        with contextlib.suppress(FileNotFoundError), open(os.path.join(git_directory, "index"), "rb") as source:
            _copy(source.read(), index)
        environ = {"GIT_INDEX_FILE": index}
        _ask(top, "add", "--intent-to-add", "--all", "--ignore-errors", environ=environ, hurried=hurried)
        arguments = ("diff", "--shortstat", "--no-ext-diff", "--no-textconv", start, "--")
        text = _ask(top, *arguments, environ=environ, hurried=hurried)
    except OSError as error:
        raise GitFailed(f"{error.filename}: {error.strerror}") from error
    finally:
        for leftover in (index, f"{index}.lock"):
            with contextlib.suppress(OSError):
                os.unlink(leftover)
    counted = {_KEYS[what]: int(count) for count, what in _SHORTSTAT.findall(text)}
    return _branch(branch), dict.fromkeys(_KEYS.values(), 0) | counted


def _copy(data: bytes, path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)


def _ask(
    directory: str,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    allowed: int = 0,
    hurried: Callable[[], bool] = lambda: False,
) -> str:
    try:
        process = subprocess.Popen(  # noqa: S603
            [*_GIT, *arguments],
            cwd=directory,
            env={**os.environ, **_UNASKED, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise GitFailed(f"git cannot be run: {error.strerror}") from error
    with process:
        out, problem = _read(process, _COUNT_SECONDS if environ else _ASK_SECONDS, hurried)
    if process.returncode not in (0, allowed):
        cause = problem.strip().partition("\n")[0] or f"git {arguments[0]} ended with {process.returncode}"
        raise GitFailed(cause, out)
    return out.removesuffix("\n")


def _read(process: subprocess.Popen[bytes], seconds: float, hurried: Callable[[], bool]) -> tuple[str, str]:
    waited = 0.0
    while True:
        try:
            out, problem = process.communicate(timeout=_POLL_SECONDS)
            return out.decode("utf-8", "replace"), problem.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            waited += _POLL_SECONDS
            if waited >= seconds or hurried():
                process.kill()
                raise GitFailed("git was too slow, or there was no time") from None
