"""Reads from git the repository and branch of an agent's directory, and counts the changes of a run.

External diffs and text conversions in the repository's configuration are not run; clean filters are, because line
endings and large files need them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from agentic_watch.dispatch.git_process import GitFailed, GitProcess, ask

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORTSTAT = re.compile(r" (\d+) (file|insertion|deletion)s?[ (]")
_KEYS = {"file": "files_changed", "insertion": "insertions", "deletion": "deletions"}
_COUNT_SECONDS = 10.0
_EXCLUDED_AT_MOST = 1000
_FILES_AT_MOST = 500
_AZURE = ("dev.azure.com", ".visualstudio.com")
_REF = ("--symbolic-full-name", "HEAD")
_DIFF = ("diff", "--no-ext-diff", "--no-textconv")
_HOME = ("--path-format=absolute", "--git-common-dir")


class Facts(NamedTuple):
    """The checked-out state; "" is unknown. `commit` is the full hash, or that of the empty tree before the first
    commit.

    `problem` is git's error when there is a clone that it cannot read.
    """

    org: str = ""
    repo: str = ""
    branch: str = ""
    commit: str = ""
    problem: str = ""


class Since(NamedTuple):
    """The changes of a clone since a commit: current branch and commit ("" is unknown), `changes` as in a report
    (counts, and the paths of at most 500 files; empty when unknown), and unreadable files that are not counted."""

    branch: str = ""
    commit: str = ""
    changes: Mapping[str, Any] = MappingProxyType({})
    unread: tuple[str, ...] = ()


def look(directory: str) -> Facts:
    """The facts of `directory`; empty outside a clone or without git."""
    try:
        return _facts(directory)
    except GitFailed as error:
        told = f"{directory}: {error}; recorded without its repository, branch and changes"
        return Facts(problem=told if _is_clone(directory) else "")


def _facts(directory: str) -> Facts:
    head = GitProcess(directory, "rev-parse", *_HOME, "HEAD", *_REF)
    try:
        # Started while the first one runs: free with a second processor.
        org, repo = owner_and_name(ask(directory, "config", "--get", "remote.origin.url"))
    except GitFailed:
        org, repo = "", ""
    home, commit, branch = _head(directory, head)
    return Facts(org, repo or os.path.basename(home.removesuffix("/.git")), branch, commit)


def _is_clone(directory: str) -> bool:
    """Whether the directory or one above it has a `.git`, valid or not."""
    here, above = os.path.realpath(directory), ""
    while here != above and not os.path.lexists(os.path.join(here, ".git")):
        here, above = os.path.dirname(here), here
    return here != above


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
    return home, empty, _branch(ask(directory, "symbolic-ref", "HEAD"))


def _branch(ref: str) -> str:
    """The branch of a full ref name; git's own short form keeps `heads/` if a tag has the same name."""
    return ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""


def owner_and_name(url: str) -> tuple[str, str]:
    """(org, repo) of a clone's origin: `https://host/org/repo.git`, `git@host:org/repo`, `ssh://…`, or a path."""
    path = os.path.normpath(url.strip()) if url.startswith(("/", ".")) else url.strip().rstrip("/")
    path = path.removesuffix(".git").rstrip("/")
    _, scheme, rest = path.partition("://")
    host = ""
    if scheme:
        host, _, path = rest.partition("/")
    elif ":" in path and "/" not in path.partition(":")[0]:
        host, _, path = path.partition(":")
    elif path.startswith(("/", ".")):
        return "", os.path.basename(path)  # a local directory has no organisation
    parts = [part for part in path.split("/") if part not in ("", "_git")]
    if (server := host.rpartition("@")[2].partition(":")[0]).endswith(_AZURE):
        parts = _of_azure(server, parts)
    return (parts[-2] if len(parts) > 1 else "", parts[-1] if parts else "")


def _of_azure(server: str, parts: list[str]) -> list[str]:
    """Organisation and repository of an Azure DevOps URL, which has a project between them.

    `dev.azure.com/org/project/_git/repo`, `org.visualstudio.com/project/_git/repo`, or by ssh
    `ssh.dev.azure.com:v3/org/project/repo`.
    """
    if parts[:1] == ["v3"]:
        return [*parts[1:2], parts[-1]]
    return [parts[0] if server == "dev.azure.com" else server.partition(".")[0], parts[-1]] if parts else []


def after(directory: str, start: str, interrupted: Callable[[], bool], left_out: Sequence[str] = ()) -> Since:
    """Count the changes since the commit `start` in the current files, including new ones, except `left_out`: files,
    lines inserted and deleted.

    Ends early when `interrupted` returns True. Raises GitFailed.
    """
    with _with_new_files(directory, start, interrupted) as clone:
        counts, files, unread = _changed(clone, start, _inside(left_out, clone.top))
    changes: dict[str, Any] = dict.fromkeys(_KEYS.values(), 0)
    changes |= {_KEYS[what]: int(count) for count, what in _SHORTSTAT.findall(counts)}
    return Since(_branch(clone.ref), clone.commit, changes | ({"files": list(files)} if files else {}), unread)


def patch(
    directory: str, start: str, interrupted: Callable[[], bool], left_out: Sequence[str] = (), *, at_most: int
) -> bytes:
    """The first `at_most` bytes of the same changes as a patch for `git apply`. Raises GitFailed."""
    with _with_new_files(directory, start, interrupted) as clone:
        options = (*_DIFF, "--no-color", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/", start, "--")
        process = clone.process(*options, *_but(_inside(left_out, clone.top)))
        return process.output(seconds=_COUNT_SECONDS, interrupted=interrupted, at_most=at_most)


class _Clone(NamedTuple):
    """A clone with a copy of its index that knows its new files: its top, and the checked-out commit ("" for none) and
    ref."""

    top: str
    commit: str
    ref: str
    index_file: str
    interrupted: Callable[[], bool]

    def process(self, *arguments: str) -> GitProcess:
        """Start git on this clone."""
        return GitProcess(self.top, *arguments, environ={"GIT_INDEX_FILE": self.index_file})

    def git(self, *arguments: str, allowed: int = 0) -> str:
        """The output of git."""
        return self.process(*arguments).answer(seconds=_COUNT_SECONDS, interrupted=self.interrupted, allowed=allowed)


@contextlib.contextmanager
def _with_new_files(directory: str, start: str, interrupted: Callable[[], bool]) -> Iterator[_Clone]:
    """The clone with its new files added to a copy of the index, so that git counts them; the agent's index is
    unchanged. Raises GitFailed."""
    if not _COMMIT.fullmatch(start):
        raise GitFailed("the commit at the start is unknown")
    out = ask(directory, "rev-parse", "--show-toplevel", "--absolute-git-dir", "HEAD", *_REF, allowed=128)
    top, git_directory, commit, ref = (*out.split("\n", 3), "", "", "")[:4]
    if not git_directory:
        raise GitFailed("there is no work tree")
    commit = commit if _COMMIT.fullmatch(commit) else ""
    clone = _Clone(top, commit, ref, os.path.join(git_directory, f"index.{os.urandom(6).hex()}"), interrupted)
    try:
        with contextlib.suppress(FileNotFoundError), open(os.path.join(git_directory, "index"), "rb") as source:
            _copy(source.read(), clone.index_file)
        # Exits with 1 if something cannot be added (a nested repository without a commit), after adding the rest.
        clone.git("add", "--intent-to-add", "--all", "--ignore-errors", allowed=1)
        yield clone
    except OSError as error:
        raise GitFailed(f"{error.filename}: {error.strerror}") from error
    finally:
        for leftover in (clone.index_file, f"{clone.index_file}.lock"):
            with contextlib.suppress(OSError):
                os.unlink(leftover)


def _changed(clone: _Clone, start: str, left_out: Sequence[str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """git's counts without the files `left_out`, the counted paths, and the unreadable files that were excluded too:
    one makes git fail."""
    try:
        return *_counted(clone, start, left_out), ()
    except GitFailed:
        changed = clone.git(*_DIFF, "--name-only", "-z", start, "--").split("\0")
        paths = ((name, os.path.join(clone.top, name)) for name in changed if name)
        unread = tuple(name for name, path in paths if os.path.isfile(path) and not os.access(path, os.R_OK))
        if not unread:
            raise
        return *_counted(clone, start, [*left_out, *unread[:_EXCLUDED_AT_MOST]]), unread


def _counted(clone: _Clone, start: str, left_out: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    which = (start, "--", *_but(left_out))
    *raw, counts = clone.git(*_DIFF, "--raw", "--no-abbrev", "--shortstat", "-z", *which).split("\0")
    names = []
    pieces = iter(raw)
    for status in pieces:
        name = next(pieces, "")
        names += [next(pieces, name) if status.rpartition(" ")[2][:1] in ("R", "C") else name]
    if raw and not _SHORTSTAT.search(counts):  # the output was cut because of many files
        counts = clone.git(*_DIFF, "--shortstat", *which)
    return counts, tuple(names[:_FILES_AT_MOST])


def _inside(paths: Sequence[str], top: str) -> list[str]:
    """The paths, relative to the work tree, of the files inside it."""
    inside = [os.path.relpath(os.path.realpath(path), os.path.realpath(top)) for path in paths]
    return [path for path in inside if not path.startswith("../")]


def _but(names: Sequence[str]) -> list[str]:
    """Pathspecs that exclude these files."""
    return [":(top)", *(f":(top,exclude,literal){name}" for name in names)] if names else []


def top_level(directory: str) -> str:
    """The top of a directory's clone; the directory itself outside a clone."""
    try:
        return ask(directory, "rev-parse", "--show-toplevel")
    except GitFailed:
        return directory


def _copy(data: bytes, path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
