"""Detects roots, and mounts below them, that do not answer, and polls mounts that send no events.

A call into a hanging file system may never return, so one thread makes the calls and others check how long it has
waited.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from agentic_watch.config import Root
from agentic_watch.host.file_systems import Mount, MountTable, is_silent, mounts_below
from agentic_watch.scan import ScanError, scan_below
from agentic_watch.watch.change_queues import Announce
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.layout import META
from agentic_watch.workspace.workspace_errors import WorkspaceError

_FRESH_SECONDS = 1.0
"""A file system whose answer takes longer is left alone by all other threads."""
_HANGING_SECONDS = 5.0
"""A file system whose answer takes longer is reported as hanging."""
ASK_SECONDS = 2.0
ASK_OFTEN_SECONDS = 0.25
_NEWEST_SECONDS = 0.1
"""Network and FUSE file systems may hang at any moment: they are probed every ASK_OFTEN_SECONDS, and other threads use
them only within _NEWEST_SECONDS of an answer."""


class Contact:
    """How long one thread has waited for a file system to answer. Set by that thread, read by any.

    A new thread after a reload takes over the call of the former one that did not return.
    """

    def __init__(self, former: Contact | None = None) -> None:
        self.asked_at: float | None = former.asked_at if former is not None else None
        self._answered_at = float("-inf")
        self._has_hung = False
        self.answered = False

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """The body makes calls into the file system."""
        self.asked_at = self.asked_at or time.monotonic()
        try:
            yield
        finally:
            self.go_on()
            self.asked_at = None

    def go_on(self) -> None:
        """The last call returned; the next one begins."""
        self._has_hung |= self.unanswered() >= _HANGING_SECONDS
        self.asked_at = self._answered_at = time.monotonic()
        self.answered = True

    def take_has_hung(self) -> bool:
        """Whether a call took as long as a hang since this method was last called."""
        had, self._has_hung = self._has_hung, False
        return had

    def since_answer(self) -> float:
        """Seconds since the last answer."""
        return time.monotonic() - self._answered_at

    def unanswered(self) -> float:
        """Seconds that the current call has waited; 0.0 when there is none."""
        asked_at = self.asked_at
        return time.monotonic() - asked_at if asked_at is not None else 0.0


class MountContact(threading.Thread):
    """Probes one mount four times a second. No other thread waits for this one, which may hang for ever."""

    def __init__(self, path: str, former: MountContact | None) -> None:
        super().__init__(name=f"ask {path}", daemon=True)
        self._path = path
        self.contact: Contact = Contact(former.contact if former is not None else None)
        self._stopping = threading.Event()
        self._answered = threading.Event()

    def run(self) -> None:
        """Probe until stopped."""
        while not self._stopping.is_set():
            with self.contact.asking(), contextlib.suppress(OSError):
                os.close(os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            self._answered.set()
            self._stopping.wait(ASK_OFTEN_SECONDS)

    def unanswered(self) -> float:
        """Seconds that the current probe has waited; 0.0 when there is none."""
        return self.contact.unanswered()

    def has_answered(self, seconds: float = 0.0) -> bool:
        """Whether it has ever answered; waits up to `seconds` for the first answer."""
        return self._answered.wait(seconds)

    def stop(self) -> None:
        """Stop probing."""
        self._stopping.set()


log = logging.getLogger("agentic_watch.watch")

_FIRST_ANSWER_SECONDS = 0.5


class Mounts:
    """The file system of one root, and the mounts below it. Owned by the root's thread, which keeps `contact` with the
    root; other threads ask which mounts hang, and never wait. `may_hang` says that the root itself is on a network or
    FUSE file system.

    Only network and FUSE mounts below the root are probed: a local disk does not hang alone. After a reload `former`
    are the mounts of the same root as they were known before.
    """

    def __init__(self, root: Root, former: Mounts | None = None) -> None:
        self._root = root
        self.contact: Contact = Contact(former.contact if former is not None else None)
        self.may_hang = False
        self._table = MountTable()
        self.mounted: dict[str, Mount] = {}
        self.told: dict[str, Mount] = former.told | former.mounted if former is not None else {}
        """What the log said of mounts before a reload."""
        self.contacts: dict[str, MountContact] = former.contacts if former is not None else {}
        """The mounts that are probed."""
        self._left_alone: frozenset[str] = frozenset()
        self._seen: dict[str, dict[str, bytes]] = {}

    def close(self) -> None:
        """Stop all probes."""
        self._table.close()
        for contact in self.contacts.values():
            contact.stop()

    def has_changed(self) -> bool:
        """Whether anything was mounted or unmounted on the host since the last call."""
        return self._table.has_changed()

    def refresh(self) -> list[str]:
        """Read the mount table again; returns the paths whose mount changed."""
        before, self.mounted = self.mounted, mounts_below(self._root.path)
        changed = sorted(name for name in before.keys() | self.mounted if before.get(name) != self.mounted.get(name))
        for name in changed:
            if name in self.contacts:
                self.contacts[name].stop()
            self._seen.pop(name, None)
        new = [name for name in changed if name in self.mounted and is_silent(self.mounted[name].kind)]
        contacts = {name: MountContact(os.path.join(self._root.path, name), self.contacts.get(name)) for name in new}
        kept = self.mounted.keys() - changed
        # A new dictionary: other threads may be iterating over the old one.
        self.contacts = {name: one for name, one in self.contacts.items() if name in kept} | contacts
        told, self.told = self.told, {}
        for name, contact in contacts.items():
            contact.start()
            if self._root.watch == "auto" and told.get(name) != self.mounted[name]:
                text = "%s: lies on %s, which sends no events; this part of the root is polled"
                log.warning(text, name, self.mounted[name].kind, extra={"root": self._root.key})
        end = time.monotonic() + _FIRST_ANSWER_SECONDS
        for contact in contacts.values():
            contact.has_answered(max(0.0, end - time.monotonic()))
        return changed

    def answering_again(self) -> list[str]:
        """Mounts that were left alone at the last call and answer now."""
        before = self._left_alone
        self._left_alone = frozenset(name for name, one in self.contacts.items() if not _is_fresh(one))
        return sorted(before - self._left_alone)

    def is_left_alone(self, name: str = "") -> bool:
        """Whether the root, or the mount that holds the workspace `name`, does not answer now, so that a call might
        hang."""
        contact = self.contact
        if not contact.answered or contact.unanswered() >= _FRESH_SECONDS:
            return True
        if self.may_hang and contact.since_answer() > _NEWEST_SECONDS:
            return True
        return bool(name and self.contacts) and self.leaves_out(name)

    def leaves_out(self, name: str) -> bool:
        """Whether the directory `name` is in a mount that does not answer now, or its `.meta` is such a mount. Called
        during a scan of a root that answers."""
        return any(
            (f"{name}/".startswith(f"{mount}/") or mount == f"{name}/{META}") and not _is_fresh(contact)
            for mount, contact in self.contacts.items()
        )

    def hanging(self) -> list[str]:
        """File systems to report as hanging: "" for the root, and the paths of mounts below it."""
        contacts: dict[str, Contact | MountContact] = {"": self.contact, **self.contacts}
        return [name for name, contact in contacts.items() if contact.unanswered() >= _HANGING_SECONDS]

    def without_events(self) -> dict[str, str]:
        """Mounts that send no events, with the file system type of each."""
        return {name: self.mounted[name].kind for name in self.contacts if name in self.mounted}

    def poll(self, top: int, announce: Announce) -> None:
        """Scan the mounts that send no events, and announce each workspace that changed. `top` is the open root."""
        for name in list(self.contacts):
            if not self.leaves_out(name):
                with suppress(WorkspaceError, OSError):
                    self._look_into(name, top, announce)

    def _pass_by(self, name: str) -> bool:
        self.contact.go_on()
        return self.leaves_out(name)

    def _look_into(self, name: str, top: int, announce: Announce) -> None:
        before = self._seen.get(name, {})
        now: dict[str, bytes] = {}
        for found in scan_below(self._root, top, name, self._pass_by):
            if isinstance(found, ScanError):
                return  # its workspaces may still exist, so none counts as gone
            now[found.name] = found.signature
            if before.get(found.name) != found.signature:
                announce(found)
        for gone in before.keys() - now.keys():
            announce(Candidate(self._root, gone))
        self._seen[name] = now


def _is_fresh(contact: MountContact) -> bool:
    return contact.has_answered() and contact.unanswered() < _FRESH_SECONDS
