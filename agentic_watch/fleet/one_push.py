"""One push: sends everything that a target lacks, in order, and reports the result."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from agentic_watch import __version__
from agentic_watch.config import Target
from agentic_watch.fleet import credentials, host_identity, interchange, outbox, push_state
from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.push_state import DeadLetter, PushState
from agentic_watch.fleet.target_interface import Delivery, Pace, Refusal, Sender, Unavailable, Unusable, send_all
from agentic_watch.history import HistoryError
from agentic_watch.workspace.workspace_errors import Malformed

log = logging.getLogger("agentic_watch.push")


@dataclass(frozen=True, slots=True)
class PushContext:
    """The open state, host facts and settings. `pause` waits for seconds, or less when the process is ending."""

    history: str
    state: PushState
    sender: Sender
    pause: Callable[[float], object] = time.sleep


@contextlib.contextmanager
def opened(
    history: str, pause: Callable[[float], object] = time.sleep, *, only_look: bool = False
) -> Iterator[PushContext]:
    """Open a context for one thread; with `only_look` nothing is created. Raises StateError and NoHostId."""
    path = push_state.path_of(history)
    state = PushState(":memory:" if only_look and not os.path.exists(path) else path)
    try:
        for notice in state.notices:
            log.warning(notice)
        whose = host_identity.known_host_id(history) if only_look else host_identity.host_id(history)
        sender = Sender(whose, host_identity.boot_id(), socket.gethostname(), __version__)
        yield PushContext(history, state, sender, pause)
    finally:
        state.close()


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of one push. `error` is why it stopped early, `retry_after` the pause that the target requested.

    `refused` are commits rejected in this push; `dead_letters` counts all rejected ones; `warning` is logged once.
    """

    target: str
    kind: str
    sent: int = 0
    refused: tuple[Refusal, ...] = ()
    pending: int | None = None
    dead_letters: int = 0
    error: str | None = None
    warning: str | None = None
    retry_after: float | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class _Progress:
    sent: int = 0
    refused: list[Refusal] = field(default_factory=list)

    def count(self, commits: Sequence[Commit], refusals: Sequence[Refusal]) -> None:
        self.sent += len(commits) - len(refusals)
        self.refused += refusals


def push(target: Target, context: PushContext, *, retry_failed: bool = False, pace: Pace | None = None) -> Pushed:
    """Send everything that the target lacks; with `retry_failed` its dead letters again, too. Raises StateError.

    `pace` is the batch size adapted in earlier pushes.
    """
    began = time.monotonic()
    progress = _Progress()
    pace = pace or Pace()
    error = warning = retry_after = None
    try:
        with contextlib.closing(_delivery(target, context)) as delivery:
            if retry_failed:
                _retry(target, context, delivery, progress, pace)
            _drain(target, context, delivery, progress, pace)
            warning = delivery.report(0, context.state.dead_count(target.name))
    except (Unavailable, Unusable, HistoryError) as problem:
        error = str(problem)
        retry_after = getattr(problem, "retry_after", None)
    return Pushed(
        target=target.name,
        kind=target.kind,
        sent=progress.sent,
        refused=tuple(progress.refused),
        pending=waiting(target, context) if error else 0,
        dead_letters=context.state.dead_count(target.name),
        error=error,
        warning=warning,
        retry_after=retry_after,
        seconds=time.monotonic() - began,
    )


@contextlib.contextmanager
def beside(targets: Sequence[Target], history: str, *, retry_failed: bool = False) -> Iterator[dict[str, Pushed]]:
    """Push to every target in separate threads during the block; afterwards the results are available by name.

    Targets do not wait for each other. Raises the error of a push.
    """
    ends: dict[str, Pushed] = {}
    crashes: list[Exception] = []

    def work(target: Target) -> None:
        try:
            with opened(history) as context:
                ends[target.name] = push(target, context, retry_failed=retry_failed)
        except Exception as error:  # noqa: BLE001  raised again by the thread that asked
            crashes.append(error)

    # Daemon threads, so that Ctrl-C does not wait. Interrupted commits are sent again.
    threads = [threading.Thread(target=work, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    yield ends
    for thread in threads:
        thread.join()
    for error in crashes:
        raise error


def waiting(target: Target, context: PushContext) -> int | None:
    """Number of commits that the target lacks, from local state; None when unknown."""
    try:
        return outbox.pending(context.history, _reached(target, context), target.statuses)
    except HistoryError:
        return None


def _delivery(target: Target, context: PushContext) -> Delivery:
    if target.kind == "postgres":
        from agentic_watch.fleet.postgres_target import PostgresTarget

        return PostgresTarget(credentials.connection_string(target), context.sender, context.pause)
    from agentic_watch.fleet.http_target import HttpTarget

    return HttpTarget(target.url or "", credentials.secret(target), context.sender)


def _reached(target: Target, context: PushContext) -> int:
    """The id up to which the target has this history."""
    position = context.state.position(target.name, outbox.identity(context.history))
    return outbox.confirmed(context.history, position)


def _drain(target: Target, context: PushContext, delivery: Delivery, progress: _Progress, pace: Pace) -> None:
    """Deliver batch by batch, and store the progress after each. After a kill a batch is sent again, which is
    harmless."""
    whose = outbox.identity(context.history)
    last = _reached(target, context)
    if not last:
        context.state.begin_anew(target.name)
    is_last = False
    while not is_last:
        largest = pace.batch(delivery.largest)
        batch = outbox.next_batch(context.history, last, largest, target.statuses, files=target.files)
        if batch.history_id != whose:
            raise HistoryError(f"{context.history}: was replaced by another history; the next push begins with that")
        refusals = pace.send(delivery, batch.commits)
        if refusals is None:
            continue
        if batch.last.id > last:
            letters = [_letter(refusal, context.sender.host_id) for refusal in refusals]
            context.state.delivered(target.name, whose, batch.last, letters)
        progress.count(batch.commits, refusals)
        last, is_last = batch.last.id, batch.is_last


def _retry(target: Target, context: PushContext, delivery: Delivery, progress: _Progress, pace: Pace) -> None:
    letters = context.state.dead_letters(target.name)
    whole = [commit for letter in letters if (commit := _reread(letter)) is not None]
    for commits, refusals in send_all(delivery, whole, pace):
        gone = {commit.commit_id for commit in commits} - {refusal.commit.commit_id for refusal in refusals}
        again = [_letter(refusal, context.sender.host_id) for refusal in refusals]
        context.state.retried(target.name, sorted(gone), again)
        progress.count(commits, refusals)


def _letter(refusal: Refusal, host_id: str) -> DeadLetter:
    text = interchange.line(interchange.document(refusal.commit, host_id))
    return DeadLetter(refusal.commit.commit_id, refusal.commit.id, refusal.cause, text)


def _reread(letter: DeadLetter) -> Commit | None:
    """The commit of a dead letter; None when it cannot be parsed, and then it stays."""
    try:
        return interchange.commit(json.loads(letter.document), letter.id)
    except (Malformed, KeyError, ValueError):
        return None
