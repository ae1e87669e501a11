"""`dispatch --log`: copies a command's output to `.meta/agent.log`, in addition to its usual destination.

Terminals are not copied, because programs behave differently without one. If stdout and stderr have the same
destination they share a pipe, which keeps the exact order; otherwise each has its own, and simultaneous output may be
reordered.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

from agentic_watch.dispatch import workspace_to_use
from agentic_watch.dispatch.run_types import Run
from agentic_watch.workspace import files, layout
from agentic_watch.workspace.workspace_errors import WorkspaceError

LOG = "agent.log"
_LABEL = f"{layout.META}/{LOG}"
_AT_MOST = 4 << 20
_KEPT = 2 << 20
_CHUNK = 65_536
_WAITS_AT_MOST = 65_536
_NEVER_BLOCKS = 4_096
"""PIPE_BUF: a pipe that poll(2) reports as writable accepts this much (pipe(7))."""
_CHUNKS_IN_A_PIPE = 16
"""Reads after the command's end: the capacity of a pipe (/proc/sys/fs/pipe-max-size). Later writers are not waited
for."""
_JOIN_SECONDS = 0.2


class _Log:
    """The log of a run; over 4 MiB its oldest lines are removed, so that the last 2 MiB remain."""

    def __init__(self, meta: int) -> None:
        self._meta = meta
        files.remove(meta, LOG)  # an earlier run's
        self._descriptor = files.create(meta, LOG, _LABEL, mode=0o666)
        self._size = 0
        self.problem = ""

    def add(self, data: bytes) -> None:
        """Append; the first error ends the log, but not the command."""
        if self.problem:
            return
        try:
            files.write(self._descriptor, data, _LABEL)
            self._size += len(data)
            if self._size > _AT_MOST:
                self._shorten()
        except (WorkspaceError, OSError) as error:
            self.problem = f"{error}; the rest of the output is not in it"

    def _shorten(self) -> None:
        last = b"".join(files.pieces(self._descriptor, self._size - _KEPT, self._size, _LABEL))
        last = last[last.find(b"\n") + 1 :]
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        files.write(self._descriptor, last, _LABEL)
        files.truncate(self._descriptor, len(last), _LABEL)
        self._size = len(last)

    def close(self) -> None:
        """Sync and close: the log must be durable before the status."""
        try:
            if not self.problem:
                files.sync(self._descriptor, _LABEL)
        except WorkspaceError as error:
            self.problem = str(error)
        os.close(self._descriptor)
        os.close(self._meta)


class _Stream:
    """A pipe from the command and its destinations; `waiting` holds bytes not forwarded yet."""

    def __init__(self, targets: tuple[int, ...]) -> None:
        self.target = targets[0]
        self.targets = targets
        self.source, self.inlet = os.pipe()
        os.set_blocking(self.source, False)
        self.waiting = b""
        self.is_open = True

    def close(self) -> None:
        """Close the pipe: further writes of the command fail as if its reader had closed it."""
        if self.is_open:
            os.close(self.source)
            self.is_open = False


class OutputCopy:
    """Copies one command's output: call `start` when it runs, `stop` when it has ended, `finish` at the end."""

    def __init__(self, run: Run, streams: list[tuple[int, ...]]) -> None:
        self._path = run.path
        place = workspace_to_use.open_existing(run.root, run.name)
        place.release()
        if place.meta is None:
            raise WorkspaceError(_LABEL, "is not there")
        try:
            self._log = _Log(place.meta)
        except BaseException:
            place.close()
            raise
        self._streams = [_Stream(targets) for targets in streams]
        self._ended, self._end = os.pipe()
        self._all_read = threading.Event()
        self._thread = threading.Thread(target=self._copy, daemon=True)

    @property
    def file_actions(self) -> list[tuple[int, int, int]]:
        """File actions for posix_spawn(3)."""
        return [(os.POSIX_SPAWN_DUP2, one.inlet, target) for one in self._streams for target in one.targets]

    def start(self) -> None:
        """Begin copying: the command runs and has the other ends."""
        for stream in self._streams:
            os.close(stream.inlet)
        self._thread.start()

    def stop(self) -> str:
        """End the log after the command ended or failed to start: all its output is then in the log, durably.

        Returns a message about missing output, or "". Later output of background processes is discarded.
        """
        os.close(self._end)
        if self._thread.ident is not None:
            self._all_read.wait()
        self._log.close()
        return f"{self._path}: {self._log.problem}" if self._log.problem else ""

    def finish(self, interrupted: Callable[[], bool]) -> None:
        """Wait until all output is forwarded, or until `interrupted`."""
        while self._thread.is_alive() and not interrupted():
            self._thread.join(_JOIN_SECONDS)

    def _copy(self) -> None:
        try:
            while not self._all_read.is_set() or any(stream.waiting for stream in self._streams):
                self._turn()
        finally:
            self._all_read.set()

    def _turn(self) -> None:
        poll = select.poll()
        by_descriptor: dict[int, tuple[_Stream, int]] = {}
        reads = not self._all_read.is_set()
        if reads:
            poll.register(self._ended, select.POLLIN)
        for stream in self._streams:
            if reads and stream.is_open and len(stream.waiting) < _WAITS_AT_MOST:
                poll.register(stream.source, select.POLLIN)
                by_descriptor[stream.source] = stream, select.POLLIN
            if stream.waiting:
                poll.register(stream.target, select.POLLOUT)
                by_descriptor[stream.target] = stream, select.POLLOUT
        ready = poll.poll()
        for descriptor, _ in ready:
            if descriptor != self._ended:
                stream, event = by_descriptor[descriptor]
                if event == select.POLLIN:
                    self._read(stream)
                else:
                    _pass_on(stream)
        if reads and self._ended in dict(ready):
            self._read_the_rest()

    def _read(self, stream: _Stream) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(stream.source, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            stream.close()
            return False
        self._log.add(data)
        stream.waiting += data
        return True

    def _read_the_rest(self) -> None:
        for stream in self._streams:
            for _ in range(_CHUNKS_IN_A_PIPE):
                if not (stream.is_open and self._read(stream)):
                    break
            stream.close()
        os.close(self._ended)
        self._all_read.set()


def _pass_on(stream: _Stream) -> None:
    try:
        count = os.write(stream.target, stream.waiting[:_NEVER_BLOCKS])
    except BlockingIOError:
        return
    except OSError:  # its reader is gone, or its disk is full
        stream.waiting = b""
        stream.close()
        return
    stream.waiting = stream.waiting[count:]


def of_run(run: Run, problems: list[str]) -> OutputCopy | None:
    """Create the copy of a run's output; None when its streams are terminals or closed, or when the log cannot be
    created, which adds a problem."""
    streams = [descriptor for descriptor in (1, 2) if _is_copied(descriptor)]
    if not streams:
        return None
    together = len(streams) > 1 and os.path.sameopenfile(*streams)
    try:
        return OutputCopy(run, [(1, 2)] if together else [(one,) for one in streams])
    except WorkspaceError as error:
        problems.append(f"{run.path}: {error}; the output is not kept")
        return None


def _is_copied(descriptor: int) -> bool:
    """Whether a descriptor was inherited and is no terminal; a number that was closed may be reused by our own file."""
    try:
        return os.get_inheritable(descriptor) and not os.isatty(descriptor)
    except OSError:
        return False
