"""Some of a large tree's known workspaces, compared by a second process while the first one scans.

Two looks at files that are not in the processor's caches are most of what a scan costs, and two cores can wait for
two of them. The second process only asks for stats and names those that may have changed; the first one decides.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from itertools import groupby

from agentic_watch.config import Root
from agentic_watch.scan.look import is_unchanged
from agentic_watch.workspace import files
from agentic_watch.workspace.workspace_errors import WorkspaceError

_WORTH_IT = 1_000
"""Below so many known workspaces the process is not worth its start."""
_CHUNK = 1 << 16

SHARES = 16
_FIRST_SHARE = 7
"""A little less than half: the first process has the directories to list, too."""


class Ahead:
    """The second process; it has no threads, no history and no lock, and ends by itself when its share is done.

    Made only while this process has no other thread: a fork takes along whatever lock another one holds.
    """

    def __init__(self, root: Root, known: dict[str, bytes]) -> None:
        self._root = root
        self._known = known
        self._pid = 0
        self._answer = -1
        if len(known) >= _WORTH_IT and threading.active_count() == 1 and _processors() > 1:
            self._start()

    @property
    def first_share(self) -> int:
        """The first process looks at the names whose `share_of` is less, the second one at the others."""
        return _FIRST_SHARE if self._pid else SHARES

    def doubtful(self) -> set[str] | None:
        """The names that may have changed, when it has looked at all of its share; None when it could not."""
        said = b""
        while piece := os.read(self._answer, _CHUNK):
            said += piece
        return set(os.fsdecode(said[:-1]).split("\0")) if said.endswith(b"\0") else None

    def close(self) -> None:
        """End it, whether it is done or not."""
        if self._pid:
            os.close(self._answer)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _start(self) -> None:
        self._answer, tell = os.pipe()
        with contextlib.suppress(OSError):  # no process to be had: the first one does it all
            self._pid = os.fork()
            if self._pid == 0:
                _answer(tell, self._root, self._known)
        os.close(tell)
        if not self._pid:
            os.close(self._answer)


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except OSError:  # a strict seccomp filter
        return 1


def share_of(name: str) -> int:
    """A number below SHARES; both processes have the same for a name, since the second is a fork of the first."""
    return hash(name) % SHARES


def _is_second(name: str) -> bool:
    return share_of(name) >= _FIRST_SHARE


def _answer(tell: int, root: Root, known: dict[str, bytes]) -> None:
    """The second process: each doubtful name, and a NUL behind the last. Never returns."""
    try:
        said = b"\0".join(map(os.fsencode, _changed(root, known))) + b"\0"
        while said:
            said = said[os.write(tell, said) :]
    finally:
        os._exit(0)  # whatever happened: an answer without its end counts as none


def _changed(root: Root, known: dict[str, bytes]) -> Iterator[str]:
    top = files.open_root(root.path)
    for above, names in groupby(filter(_is_second, known), _directory):
        yield from _changed_in(root, top, above, names, known)


def _changed_in(root: Root, top: int, above: str, names: Iterable[str], known: dict[str, bytes]) -> Iterator[str]:
    try:
        directory = files.walk(top, above) if above else os.dup(top)
    except WorkspaceError:
        yield from names
        return
    try:
        for name in names:
            if not is_unchanged(root, directory, name[len(above) + 1 if above else 0 :], known[name]):
                yield name
    finally:
        os.close(directory)


def _directory(name: str) -> str:
    return name.rpartition("/")[0]
