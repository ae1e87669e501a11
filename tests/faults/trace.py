"""strace: what the program asks of the kernel, and the same with one call made to fail or to be the last."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import tree as trees
from .tree import INLINE, Tree

STRACE = shutil.which("strace")
MUTATING = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "ftruncate",
    "mkdir",
    "mkdirat",
    "fchown",
    "openat",
)
READING = ("read", "pread64", "getdents64", "flock")
SYNCING = ("fsync", "fdatasync")

_CALL = re.compile(r"^(?P<thread>\d+) +(?P<call>\w+)\((?P<rest>.*)$")
_DIRECTORY = re.compile(r'^(?:AT_FDCWD|\d+)<(?P<directory>[^>]*)>, "(?P<name>[^"]+)"')
_DESCRIPTOR = re.compile(r"^\d+<(?P<path>[^>]*)>")
_PATH = re.compile(r'^"(?P<path>[^"]*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call of the program: `nth` of its name in its thread, on `path` (`root/…` or `state/…`)."""

    thread: int
    call: str
    nth: int
    path: str
    rest: str

    @property
    def mutates(self) -> bool:
        """Whether it may change something on disk."""
        return self.call in MUTATING and (self.call != "openat" or "O_CREAT" in self.rest)

    def __str__(self) -> str:
        return f"{self.call} #{self.nth} on {self.path}"


@dataclass(frozen=True, slots=True)
class Traced:
    """A run under strace: its exit status (negative: killed by that signal), stderr, and calls in order."""

    status: int
    stderr: str
    calls: list[Call]
    injected: list[str]


def traced(tree: Tree, log: Path, more: Sequence[str], *, inject: str = "", program: Sequence[str] = INLINE) -> Traced:
    """Run the program under strace; `inject` is strace's expression (`fsync:error=EIO:when=3`)."""
    assert STRACE is not None
    watch = ",".join(dict.fromkeys((*MUTATING, *READING)))
    options = ["-f", "-y", "-qq", "-s", "0", "-o", str(log), "-e", f"trace=?{watch.replace(',', ',?')}"]
    if inject:
        options += ["-e", f"inject={inject}"]
    if "signal=" not in inject:
        options.append("--seccomp-bpf")  # a third faster, but strace 6.1 then loses the signal
    done = trees.run([STRACE, *options, *program, *tree.arguments(*more)])
    text = log.read_text(errors="replace")
    injected = [line for line in text.splitlines() if "INJECTED" in line]
    return Traced(done.returncode, done.stderr, parse(text, tree), injected)


def parse(text: str, tree: Tree) -> list[Call]:
    """The calls on the root or the history's directory, each with its number among its thread's calls."""
    counts: Counter[tuple[int, str]] = Counter()
    found = []
    for line in text.splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        thread, call, rest = int(match["thread"]), match["call"], match["rest"]
        counts[thread, call] += 1
        path = _path(rest)
        if top := next((t for t in (tree.root, tree.history.parent) if f"{path}/".startswith(f"{t}/")), None):
            found.append(Call(thread, call, counts[thread, call], os.path.relpath(path, top.parent), rest))
    return found


def _path(rest: str) -> str:
    if match := _DIRECTORY.match(rest):
        return match["name"] if match["name"].startswith("/") else f"{match['directory']}/{match['name']}"
    match = _DESCRIPTOR.match(rest) or _PATH.match(rest)
    return match["path"] if match else ""
