"""Does the tools' work, all of it in one thread, while the server's own thread answers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from agentic_watch.commit.committer import Committer
from agentic_watch.config import Config, ConfigError, NoRootsError
from agentic_watch.history.history_errors import HistoryError, HistoryRefused
from agentic_watch.history.store import History
from agentic_watch.mcp_server.tool import ToolRefusal

log = logging.getLogger("agentic_watch.mcp")
P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """The thread, and the writing end of the history, whose connection belongs to that thread."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._history = History(config.history)
        self.committer = Committer(config, self._history)
        self._thread = ThreadPoolExecutor(1, "mcp-worker")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do some work in the worker's thread. Raises ToolRefusal for what was foreseen."""

        def guarded() -> T:
            try:
                return work(*args, **kwargs)
            except (HistoryRefused, HistoryError, ConfigError, NoRootsError) as error:
                raise ToolRefusal("; ".join(str(error).split("\n"))) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def open(self) -> None:
        """Open the history; one that is not there or cannot be used now is logged. Raises HistoryRefused."""
        self._thread.submit(self._open).result()

    def close(self) -> None:
        """Finish the work in hand, then close everything."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _open(self) -> None:
        if not os.path.lexists(self.config.history):
            # Who asks makes none: the name may be wrong. A commit does, as on the command line.
            log.info("%s: there is no history; the first commit makes it", self.config.history)
            return
        try:
            self._history.open()
        except HistoryError as error:
            log.warning("%s; commits go on without it, their rows are added later from the journals", error)
        self.pass_on_notices()

    def _close(self) -> None:
        self.committer.close()
        self._history.close()

    def pass_on_notices(self) -> None:
        """Log what an operator must know of the history."""
        for notice in self._history.notices:
            log.warning("%s", notice)
        self._history.notices.clear()
