"""core-agent's tool agentic_watch: waits until dispatches are finished and recorded, and reports progress."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pydantic import BaseModel

from agentic_watch.answers.past import sql_dialects
from agentic_watch.config import Config
from agentic_watch.history import HistoryError, HistoryRefused
from agentic_watch.mcp_server.tool import Given, Progress, Said, ToolRefusal, shortened
from agentic_watch.mcp_server.workspace_tools import Worker, refuse_name, standings
from agentic_watch.waiting import wait_result
from agentic_watch.waiting.wait_loop import Until, wait_for_recorded
from agentic_watch.waiting.wait_result import Awaited, Wanted
from agentic_watch.workspace.candidate import UnknownWorkspace

TIMEOUT_SECONDS = 600
POLL_SECONDS = 5
"""core-agent's defaults; 0 and less mean the default, too."""
_AT_ONCE = 16
"""Calls that may wait at once: each has a thread and an inotify instance."""

_MOST = 1_000

_NOT_ENDED = ("running", "queued")
_ALWAYS = ("workspace", "agent", "repo", "status")


class WatchResult(BaseModel):
    """The result for one workspace: `status` is "timeout" after the time limit; `error` is why it has no row."""

    workspace: str
    agent: str = ""
    repo: str = ""
    status: str
    pr_url: str = ""
    question: str = ""
    error: str = ""


class WatchAnswer(BaseModel):
    """`success`: none failed, waits for an answer, or was still missing at the end. `duration` as Go writes it."""

    success: bool
    completed: list[WatchResult]
    failed: list[WatchResult]
    duration: str


class Watching:
    """The threads in which calls wait. `close` it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._threads = ThreadPoolExecutor(_AT_ONCE, "mcp-watch")
        self._calls: set[threading.Event] = set()

    def close(self) -> None:
        """End the threads after their calls."""
        self._threads.shutdown()

    async def run(self, given: Given, progress: Progress) -> Said:
        """Wait for some workspaces, or for all that have not ended. Raises ToolRefusal."""
        began, config = time.monotonic(), self._worker.config
        names, wanted = await self._worker.run(_asked_for, config, given.get("workspaces", []))
        if not wanted:
            return Said(_document([], [], 0))
        if len(self._calls) >= _AT_ONCE:
            raise ToolRefusal(f"{_AT_ONCE} calls of agentic_watch wait already; try again when one of them has ended")
        cancelled = threading.Event()
        self._calls.add(cancelled)
        try:
            call = _Call(config, wanted, progress)
            timeout = _positive(given.get("timeout"), TIMEOUT_SECONDS)
            ends = await call.wait(self._threads, Until(timeout, cancelled=cancelled), _every(given))
        finally:
            # Also when the client cancelled the call or disconnected.
            cancelled.set()
            self._calls.discard(cancelled)
        return Said(_document(names, ends, time.monotonic() - began))


class _Call:
    """One call: `heard` are finished workspaces, from the waiting thread."""

    def __init__(self, config: Config, wanted: Sequence[Wanted], progress: Progress) -> None:
        self._config = config
        self._wanted = wanted
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._heard: list[tuple[Awaited, WatchResult]] = []
        self._news = asyncio.Event()

    async def wait(self, threads: ThreadPoolExecutor, until: Until, every: float) -> list[tuple[Awaited, WatchResult]]:
        """Wait until all have ended or the time is over; reports each to the client, and progress `every` N seconds."""
        waiting = self._loop.run_in_executor(
            threads, partial(wait_for_recorded, self._config, self._wanted, until, self._hear)
        )
        waiting.add_done_callback(lambda _: self._news.set())
        began, told = time.monotonic(), 0
        while True:
            self._news.clear()
            for one, result in self._heard[told:]:
                told += 1
                await self._progress(told, len(self._wanted), _sentence(one, result))
            if waiting.done() and told == len(self._heard):
                break
            try:
                await asyncio.wait_for(self._news.wait(), every)
            except TimeoutError:
                # Progress must increase with each message, so elapsed time counts too.
                over = min(0.999, (time.monotonic() - began) / (until.timeout or 1))
                left = len(self._wanted) - told
                await self._progress(told + over, len(self._wanted), f"waiting for {left} of {len(self._wanted)}")
        try:
            end = waiting.result()
        except (HistoryError, HistoryRefused) as error:
            raise ToolRefusal(str(error)) from error
        heard = {id(one): result for one, result in self._heard}
        return [(one, heard.get(id(one)) or _missing(one)) for one in end.workspaces]

    def _hear(self, one: Awaited) -> None:
        """In the thread that waits."""
        self._heard.append((one, _result(self._config, one)))
        with contextlib.suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._news.set)


def _positive(value: int | None, default: int) -> int:
    return value if value is not None and value > 0 else default


def _every(given: Given) -> float:
    return float(_positive(given.get("poll_interval"), POLL_SECONDS))


def _asked_for(config: Config, given: Sequence[str]) -> tuple[list[str], list[Wanted]]:
    """The workspaces to wait for, with the client's names. Raises ToolRefusal."""
    found = {name: _wanted(config, name) for name in given} or dict(_unended(config))
    if len(found) > _MOST:
        raise ToolRefusal(f"workspaces: {len(found):,} are too many to wait for; name at most {_MOST:,}")
    return list(found), list(found.values())


def _wanted(config: Config, path: str) -> Wanted:
    refuse_name(path)
    try:
        # Paths are never relative to the server's working directory.
        return wait_result.wanted(config.roots, path, os.devnull)
    except UnknownWorkspace as error:
        raise ToolRefusal(str(error)) from error


def _unended(config: Config) -> Iterator[tuple[str, Wanted]]:
    """Each running or queued workspace, except ghosts, which never end by themselves, and invalid names.

    If two roots have a workspace of one name, the second is identified by its path.
    """
    paths = {root.key: root.path for root in config.roots}
    names = set[str]()
    for standing in standings(config):
        if standing.workspace and standing.status in _NOT_ENDED and not standing.ghost:
            with contextlib.suppress(ToolRefusal):
                path = os.path.join(paths[standing.root], standing.workspace)
                wanted = _wanted(config, path)
                yield path if standing.workspace in names else standing.workspace, wanted
                names.add(standing.workspace)


def _result(config: Config, one: Awaited) -> WatchResult:
    result = WatchResult(
        workspace=one.workspace,
        status=shortened(one.status or "unknown"),
        question="" if one.has_passed else shortened(one.question or ""),
        error=one.error or "",
    )
    if one.commit_id is None:
        return result
    # Without it the answer only lacks what the row says.
    with contextlib.suppress(HistoryError, HistoryRefused), sql_dialects.history(config.history) as history:
        sql = f"SELECT d.agent, d.repo, d.pr_url FROM {history.dialect.commits} AS d WHERE d.commit_id = ?"
        for agent, repo, pr_url in history.rows(sql, (one.commit_id,)):
            named = {"agent": shortened(agent), "repo": shortened(repo), "pr_url": shortened(pr_url)}
            result = result.model_copy(update=named)
    return result


def _missing(one: Awaited) -> WatchResult:
    """The result of a workspace that is not finished at the time limit."""
    return WatchResult(workspace=one.workspace, status="timeout", error=one.error or "")


def _sentence(one: Awaited, result: WatchResult) -> str:
    agent = f" ({result.agent})" if result.agent else ""
    return f"{result.repo or one.workspace} {result.status}{agent}"


def _document(names: list[str], ends: list[tuple[Awaited, WatchResult]], seconds: float) -> dict[str, Any]:
    completed: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for name, (one, result) in zip(names, ends, strict=True):
        said = result.model_copy(update={"workspace": name}).model_dump()
        said = {key: value for key, value in said.items() if value or key in _ALWAYS}
        (completed if one.has_passed else failed).append(said)
    return {
        "success": not failed,
        "completed": completed,
        "failed": failed,
        "duration": go_duration(round(seconds)),
    }


def go_duration(seconds: int) -> str:
    """Whole seconds as Go's time.Duration prints them: `0s`, `1m5s`, `1h0m0s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes or hours else "") + f"{rest}s"
