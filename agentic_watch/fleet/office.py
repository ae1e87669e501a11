"""What every push of this host needs: its history, what was delivered, who it is."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from agentic_watch import __version__
from agentic_watch.fleet import host_identity, push_state
from agentic_watch.fleet.delivery import Sender
from agentic_watch.fleet.push_state import PushState

log = logging.getLogger("agentic_watch.push")


@dataclass(frozen=True, slots=True)
class Office:
    """The open state and the rest. `pause` waits for so many seconds, or less when the process shall end."""

    history: str
    state: PushState
    sender: Sender
    environ: Mapping[str, str]
    pause: Callable[[float], object] = time.sleep


@contextlib.contextmanager
def opened(history: str, pause: Callable[[float], object] = time.sleep, *, only_look: bool = False) -> Iterator[Office]:
    """Open it for one thread; with `only_look` nothing is made. Raises StateError and NoHostId."""
    path = push_state.path_of(history)
    state = PushState(":memory:" if only_look and not os.path.exists(path) else path)
    try:
        for notice in state.notices:
            log.warning(notice)
        whose = host_identity.known_host_id(history) if only_look else host_identity.host_id(history)
        sender = Sender(whose, host_identity.boot_id(), socket.gethostname(), __version__)
        yield Office(history, state, sender, os.environ, pause)
    finally:
        state.close()
