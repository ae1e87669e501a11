"""The thread of one root: waits until it exists, watches it by inotify or polling, and reports when it is lost."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator

from agentic_watch.config import Root
from agentic_watch.host.file_systems import filesystem_without_events
from agentic_watch.scan import LeftAlone
from agentic_watch.watch import RootState
from agentic_watch.watch.change_queues import Hint, HintQueue
from agentic_watch.watch.hanging_mounts import ASK_OFTEN_SECONDS, ASK_SECONDS, Mounts
from agentic_watch.watch.inotify_reader import InotifyReader
from agentic_watch.watch.watched_root import WatchedRoot
from agentic_watch.workspace import files

log = logging.getLogger("agentic_watch.watch")

_WAIT_SECONDS = 0.5
_WORTH_A_REST_SECONDS = 0.0002
_REST_FACTOR = 2.0
_LONGEST_REST_SECONDS = 1.0


class RootThread(threading.Thread):
    """Queues hints for one root, whose state is waiting, scanning (placing watches), inotify or poll.

    The root is open only during work: an open descriptor would prevent an unmount. The root and mounts below it may
    hang: other threads check `mounts` before they use it, and never wait for this thread. After a reload `former` is
    the thread that watched the same directory: what it logged is not logged again.
    """

    def __init__(
        self,
        hints: HintQueue,
        root: Root,
        reader: InotifyReader | None,
        poll: tuple[float, str],
        former: RootThread | None = None,
    ) -> None:
        super().__init__(name=f"watch {root.key}", daemon=True)
        self.root = root
        self._poll_seconds, without = poll
        self._watching, self._detail = "waiting", without
        self._without = without
        self._hints = hints
        self._told: tuple[str, str] | None = former.told if former is not None else None
        self.mounts: Mounts = Mounts(root, former.mounts if former is not None else None)
        self._watched = WatchedRoot(root, reader, hints, self._may_enter) if reader is not None else None
        self._identity: tuple[int, int] | None = None
        self._stopping = threading.Event()
        self._next_look = self._next_poll = 0.0
        self._missed = False
        self._tries_again = False

    # --- called by other threads

    def state(self) -> RootState:
        """How the root is watched, and which mounts do not answer."""
        hanging = self.mounts.hanging()
        watching, detail = self._watching, [self._detail] if self._detail else []
        if "" in hanging:
            watching, detail = "hanging", ["does not answer; nothing in it is read or committed until it does"]
        else:
            detail += [f"{name} does not answer" for name in hanging]
            polled = self.mounts.without_events() if watching == "inotify" and self.root.watch == "auto" else {}
            detail += [f"{name} ({kind}) is polled" for name, kind in polled.items() if name not in hanging]
        watches = self._watched.watches if self._watched is not None else 0
        return RootState(self.root.key, self.root.path, watching, watches, "; ".join(detail), len(hanging))

    @property
    def told(self) -> tuple[str, str]:
        """How the log says that the root is watched, and why."""
        return self._told or (self._watching, self._detail)

    def left_alone(self) -> LeftAlone | None:
        """A predicate for scans: which directories to skip because their mount does not answer; None when no mount can
        hang."""
        return self.mounts.leaves_out if self.mounts.contacts else None

    def ensure_watched(self, name: str) -> None:
        """A scan found the workspace `name` changed, so its watches may be missing."""
        if self._watched is not None:
            self._watched.want(name)

    def scanned(self) -> None:
        """A whole scan of the root is complete: place the deferred watches now."""
        if self._watched is not None:
            self._watched.scanned()

    def retry_inotify(self) -> None:
        """If the root is polled because no watch was left, try inotify again."""
        self._tries_again = True

    def stop(self) -> None:
        """Ask the thread to end; it does so soon unless the root hangs."""
        self._stopping.set()
        if self._watched is not None:
            self._watched.wake()

    # --- main loop of the thread

    def run(self) -> None:
        """Run until stopped. The watches end with the inotify instance, which closes after all roots."""
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            if self._watched is not None:
                self._watched.close()
            self.mounts.close()

    def _turn(self) -> None:
        """Wait until the root is available, or for its changes, and pass them on."""
        is_removing = self._watched is not None and self._watched.remove_some()
        if self._identity is None:
            with self.mounts.contact.asking():
                began = self._begin()
            if not began:
                self._stopping.wait(_WAIT_SECONDS)
        elif self._watching == "inotify" and self._watched is not None:
            worked = self._listen(self._watched)
            if not is_removing:
                self._rest(worked)
        else:
            self._poll()
        if self.mounts.contact.take_has_hung():
            self._hints.put(Hint(self.root, None, "answers again"))

    # --- coming and going

    def _begin(self) -> bool:
        """Open the root and start to watch it; False while it is not available."""
        try:
            top = files.open_root(self.root.path)
        except OSError as error:
            self._miss(error.strerror or "cannot be opened")
            self._told = None
            return False
        read_only = False
        try:
            self._identity = _identity(top)
            read_only = bool(os.fstatvfs(top).f_flag & os.ST_RDONLY)
            self._choose(top)
        except OSError as error:
            self._fall_back(f"cannot be watched ({error.strerror})")
        finally:
            os.close(top)
            self._told = None
        if self._missed:
            log.info("%s: available, watching (%s)", self.root.path, self._watching, extra=self._where)
            self._missed = False
        self._hints.put(Hint(self.root, None, self._watching, read_only=read_only))
        return True

    def _miss(self, why: str) -> None:
        if not self._missed:
            if self._told != ("waiting", why):
                log.warning("%s: not available (%s); waiting", self.root.path, why, extra=self._where)
            self._detail = why
            self._hints.put(Hint(self.root, None, "waiting"))
        self._missed = True

    def _choose(self, top: int) -> None:
        """Watch by inotify if configured and possible, else by polling."""
        self.mounts.has_changed()
        self.mounts.refresh()
        silent = filesystem_without_events(top)
        self.mounts.may_hang = silent is not None
        if self.root.watch == "poll":
            self._watching, self._detail = "poll", "as configured"
            return
        if silent is not None and self.root.watch == "auto":
            self._fall_back(f"lies on {silent}, which sends no events")
        elif self._watched is None:
            self._watching, self._detail = "poll", self._without  # already logged for all roots together
        else:
            self._watching, self._detail = "scanning", "its watches are being placed"
            self._watched.watch_all(top)
            self._watching, self._detail = "inotify", self._watched.lack()

    def _may_enter(self, path: str) -> bool:
        """Called before each directory is entered: the root has answered until now, and the directory may be a
        mount."""
        self.mounts.contact.go_on()
        return not self._stopping.is_set() and not self.mounts.leaves_out(path)

    def _fall_back(self, why: str) -> None:
        if self._watched is not None:
            self._watched.unwatch_all()
        if ("poll", why) not in ((self._watching, self._detail), self._told):
            text = "%s: %s; polling every %.0f s"
            log.warning(text, self.root.path, why, self._poll_seconds, extra=self._where)
        self._watching, self._detail = "poll", why

    def _lose(self) -> None:
        text = "%s: was removed, renamed or unmounted; waiting for it to come back"
        log.warning(text, self.root.path, extra=self._where)
        if self._watched is not None:
            self._watched.unwatch_all()
        self._identity = None
        self._watching = "waiting"
        self._detail, self._missed = "was removed, renamed or unmounted", True
        self._hints.put(Hint(self.root, None, "lost"))

    # --- at work

    def _poll(self) -> None:
        """Check that the root is still there, and request a scan when one is due."""
        if self._stopping.wait(self._ask_seconds):
            return
        with self._opened() as top:
            if top is None:
                self._lose()
                return
            self._look_at_mounts(top)
            if self._tries_again:
                self._tries_again = False
                self._try_inotify(top)
        if time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + self._poll_seconds
            self._hints.put(Hint(self.root, None, "poll"))

    def _try_inotify(self, top: int) -> None:
        """No watch was left when this root asked for one; other programs may have released some since."""
        before = self._watching, self._detail
        try:
            self._choose(top)
        except OSError as error:
            self._watching, self._detail = before
            self._fall_back(f"cannot be watched ({error.strerror})")
        if self._watching == "inotify":
            log.info("%s: now watching (inotify)", self.root.path, extra=self._where)
            self._hints.put(Hint(self.root, None, self._watching))

    def _listen(self, watched: WatchedRoot) -> float:
        """Handle the queued changes; returns how many seconds that took."""
        taken = watched.take(self._ask_seconds)
        if self._stopping.is_set():
            return 0.0
        began = time.monotonic()
        with self._opened() as top:
            try:
                if top is None or not watched.follow(taken, top):
                    self._lose()
                else:
                    self._look_at_mounts(top)
                    self._detail = watched.lack()
            except OSError as error:
                self._fall_back(f"cannot be watched ({error.strerror})")
        return time.monotonic() - began

    def _look_at_mounts(self, top: int) -> None:
        """Follow changes of mounts, of which inotify sends no event, and poll mounts that send no events themselves."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + min(self._poll_seconds, ASK_SECONDS)
        elsewhere = self.mounts.refresh() if self.mounts.has_changed() else []
        for name in {*elsewhere, *self.mounts.answering_again()}:
            if self._watched is not None:
                self._watched.look_at(name, top)
        if self.root.watch == "auto" and self._watching == "inotify" and now >= self._next_poll:
            self._next_poll = now + self._poll_seconds
            self.mounts.poll(top, lambda candidate: self._hints.put(Hint(self.root, candidate)))

    def _rest(self, worked: float) -> None:
        """Pause after work, so that the events of one root cost at most a third of one processor."""
        if worked > _WORTH_A_REST_SECONDS:
            self._stopping.wait(min(_REST_FACTOR * worked, _LONGEST_REST_SECONDS))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """The open root; None when its path no longer leads to the watched directory."""
        with self.mounts.contact.asking():
            try:
                top = files.open_root(self.root.path)
            except OSError:
                yield None
                return
            try:
                yield top if _identity(top) == self._identity else None
            finally:
                os.close(top)

    @property
    def _ask_seconds(self) -> float:
        return ASK_OFTEN_SECONDS if self.mounts.may_hang else ASK_SECONDS

    @property
    def _where(self) -> dict[str, str]:
        return {"root": self.root.key}


def _identity(directory: int) -> tuple[int, int]:
    info = os.fstat(directory)
    return info.st_dev, info.st_ino
