"""`dispatch --log`: what a command prints goes where it goes anyway, and into `.meta/agent.log` as well.

Only a stream that is no terminal is copied: a program that has one behaves otherwise without it. Where stdout and
stderr lead to the same place they share one pipe, so that the order of what comes through them is kept exactly; else
each has its own, and what is printed into both within a moment may stand in another order.
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
"""PIPE_BUF: a pipe that poll(2) calls writable takes so much at once (pipe(7))."""
_CHUNKS_IN_A_PIPE = 16
"""What a pipe may hold at the command's end (/proc/sys/fs/pipe-max-size): who goes on to write is not waited for."""
_JOIN_SECONDS = 0.2


class _Log:
    """The file, from when the run began; over 4 MiB it loses its oldest lines, so that its last 2 MiB are there."""

    def __init__(self, meta: int) -> None:
        self._meta = meta
        files.remove(meta, LOG)  # an earlier run's
        self._descriptor = files.create(meta, LOG, _LABEL, mode=0o666)
        self._size = 0
        self.problem = ""

    def add(self, data: bytes) -> None:
        """Append; the first error ends it, for the command is worth more than its log."""
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
        """Make it durable: the status that follows must not come before it."""
        try:
            if not self.problem:
                files.sync(self._descriptor, _LABEL)
        except WorkspaceError as error:
            self.problem = str(error)
        os.close(self._descriptor)
        os.close(self._meta)


class _Stream:
    """A pipe from the command, and where its bytes go on to; in `waiting` what has not gone on yet."""

    def __init__(self, targets: tuple[int, ...]) -> None:
        self.target = targets[0]
        self.targets = targets
        self.source, self.inlet = os.pipe()
        os.set_blocking(self.source, False)
        self.waiting = b""
        self.is_open = True

    def close(self) -> None:
        """No more from the command: if it goes on to write, it is told as the reader would have told it."""
        if self.is_open:
            os.close(self.source)
            self.is_open = False


class OutputCopy:
    """The copying of one command's output: `start` when it runs, `stop` when it has ended, `finish` at last."""

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
        """What posix_spawn(3) does to the command's descriptors."""
        return [(os.POSIX_SPAWN_DUP2, one.inlet, target) for one in self._streams for target in one.targets]

    def start(self) -> None:
        """The command runs, and holds the other ends."""
        for stream in self._streams:
            os.close(stream.inlet)
        self._thread.start()

    def stop(self) -> str:
        """The command has ended, or could not be run: when this returns, all that it printed is in the log, durably.

        Gives a line on what is missing there, and why; "" for nothing. Who still holds its stdout by then, in the
        background, writes into nothing from now on.
        """
        os.close(self._end)
        if self._thread.ident is not None:
            self._all_read.wait()
        self._log.close()
        return f"{self._path}: {self._log.problem}" if self._log.problem else ""

    def finish(self, interrupted: Callable[[], bool]) -> None:
        """Wait until all has gone on to where it goes anyway, or somebody wants us to end."""
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
    except OSError:  # its reader has gone away, or its disk is full
        stream.waiting = b""
        stream.close()
        return
    stream.waiting = stream.waiting[count:]


def of_run(run: Run, problems: list[str]) -> OutputCopy | None:
    """The copying of a run's output; None when its streams are terminals, or closed, and when it has no log: a line in
    `problems` then."""
    streams = [descriptor for descriptor in (1, 2) if _is_copied(descriptor)]
    if not streams:
        return None
    together = len(streams) > 1 and os.path.sameopenfile(*streams)
    try:
        return OutputCopy(run, [(1, 2)] if together else [(one,) for one in streams])
    except WorkspaceError as error:
        problems.append(f"{run.path}: {error}; what is printed is not kept")
        return None


def _is_copied(descriptor: int) -> bool:
    """Whether it is one that we were given, and no terminal: where none was given the number may be a file of ours."""
    try:
        return os.get_inheritable(descriptor) and not os.isatty(descriptor)
    except OSError:
        return False
