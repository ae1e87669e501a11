"""The daemon: alive, fresh, of this version, and content with its history and roots."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from agentic_watch import __version__
from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.daemon.instance import Pulse, file_of, pulse
from agentic_watch.daemon.state_file import DaemonState
from agentic_watch.service.root_access import open_for
from agentic_watch.service.units import is_below

_NAME = "daemon"


def daemon(subject: Subject) -> Iterator[Finding]:
    """As `alive`, but a host on which no daemon ever ran may be one where only --once is wanted."""
    if not subject.installed and not _has_run(subject.config.history):
        yield Finding(_NAME, None, f"{subject.config.history}: no daemon has run for this history yet")
        return
    yield from alive(subject)


def _has_run(history: str) -> bool:
    """Whether a daemon left its words; a file that may not be looked at may hold them.

    Without any it is that of another command, which kept daemons away.
    """
    try:
        return os.lstat(file_of(history)).st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def alive(subject: Subject) -> Iterator[Finding]:
    """A stopped or stuck daemon is not well; one that this user may not look at is unknown."""
    history = subject.config.history
    start = "systemctl restart agentic-watch" if subject.installed else "start agentic-watch"
    how, state = pulse(history)
    if how is Pulse.UNKNOWN:
        yield Finding(_NAME, None, f"{file_of(history)}: this user may not look")
    elif how is Pulse.STOPPED:
        seen = f"; last seen {state.updated_at} (pid {state.pid})" if state else ""
        yield Finding(_NAME, False, f"{history}: no daemon runs{seen}", start)
    elif how is Pulse.STALE and state is not None:
        silent = time.monotonic() - state.beat
        text = f"{history}: daemon (pid {state.pid}): no heartbeat for {silent:.0f} s; stopped or hung"
        yield Finding(_NAME, False, text, start)
    elif state is None:
        yield Finding(_NAME, None, f"{history}: a daemon runs and has not reported its state yet")
    else:
        yield Finding(_NAME, True, f"pid {state.pid}, {state.phase} since {state.started_at}, as of {state.updated_at}")
        yield from _content(subject, state, start)


def _openings(subject: Subject, state: DaemonState) -> Iterator[str]:
    for root in subject.config.roots:
        if any(is_below(name, (root.key,)) for name in state.unreadable_names):
            yield open_for(subject.account.name, root.path)


def _content(subject: Subject, state: DaemonState, start: str) -> Iterator[Finding]:
    if state.history_error:
        yield Finding(_NAME, False, f"the daemon cannot use its history: {state.history_error}", "see ownership, space")
    if state.unreadable:
        named = f"{', '.join(state.unreadable_names)}{' …' if state.unreadable > len(state.unreadable_names) else ''}"
        text = f"{state.unreadable} below the roots that the daemon cannot look into, so nothing in there is committed"
        step = f"let {subject.account.name} in: {' && '.join(_openings(subject, state))}"
        yield Finding(_NAME, False, f"{named}: {text}", step)
    there = {root.key for root in subject.config.roots if os.path.isdir(root.path)}
    for root in state.roots:
        if root.watching == "waiting" and root.root in there:  # the check of the roots names one that is not
            step = f"let {subject.account.name} look into it and all above it"
            yield Finding(_NAME, False, f"{root.root}: the daemon waits for it ({root.detail})", step, root=root.root)
    if state.version != __version__:
        yield Finding(_NAME, False, f"the daemon is version {state.version}, this program {__version__}", start)
