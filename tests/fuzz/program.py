"""The program, as it is called: its command line in this process, a daemon's work in this process, real processes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w
from click.testing import CliRunner
from support import command, environment

from agentic_watch.backfill import SharePass, Summary
from agentic_watch.cli.command_line import root as command_line
from agentic_watch.commit.committer import Committer
from agentic_watch.commit.outcome import Outcome
from agentic_watch.config import Config, Overrides, load
from agentic_watch.history.store import History
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.workspace.candidate import Candidate

Where = tuple[str, str]


class Ran(NamedTuple):
    """A command that ended: its exit status and what it printed."""

    code: int
    out: str
    err: str

    def document(self) -> dict[str, Any]:
        """The JSON document that it printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Program:
    """The program under the configuration file in `base`."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._file = base / "config.toml"
        self._runner = CliRunner(env={"HOME": str(base)})

    @property
    def history(self) -> Path:
        return self.base / "state" / "history.db"

    def configure(self, roots: Iterable[dict[str, str]], url: str = "") -> None:
        """Write the configuration for these roots; with a target at a URL, when one is given."""
        document: dict[str, Any] = {"roots": list(roots), "history": {"path": str(self.history)}}
        document["commit"] = {"settle_seconds": 0.4}
        if url:
            (self.base / "token").write_text("t0ken")
            (self.base / "token").chmod(0o600)
            target = {"name": "fleet", "kind": "http", "url": url, "token_file": str(self.base / "token")}
            document["push"] = [target]
        self._file.write_text(tomli_w.dumps(document))

    def config(self) -> Config:
        return load(Overrides(config=str(self._file)), {})

    def run(self, *arguments: str) -> Ran:
        """Run a command in this process."""
        result = self._runner.invoke(command_line, ["--config", str(self._file), *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    def process(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command as a process of its own."""
        line = command(["--config", str(self._file), *arguments])
        with (self.base / "process.log").open("ab") as log:
            return subprocess.Popen(line, env=environment(self.base), stdout=subprocess.DEVNULL, stderr=log, cwd="/")


class Daemon:
    """What a daemon keeps from one piece of work to the next, and what it does when it hears of workspaces."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._history = History(str(program.history))
        self._last_seen = LastSeen(self._history)
        self._committer = Committer(program.config(), self._history)

    def close(self) -> None:
        """It is killed: what it had yet to flush is gone."""
        self._committer.close()
        self._history.close()

    @property
    def has_history(self) -> bool:
        """Whether it has a history open."""
        return self._history._current is not None

    @property
    def has_another_file(self) -> bool:
        """Whether the history that it has open does not stand at its path any more."""
        current = self._history._current
        with contextlib.suppress(FileNotFoundError):
            info = self._program.history.stat()
            return current is not None and current.inode != (info.st_dev, info.st_ino)
        return current is not None

    def reconcile(self) -> Summary:
        """A pass over all roots."""
        return SharePass(self._program.config(), self._history, lambda _: None, lambda _: None).run()

    def look(self, where: Where) -> None:
        """It sees a workspace that is to be committed when it has come to rest."""
        (candidate,) = self._candidates([where])
        self._committer.look_ahead(candidate)

    def commit(self, places: Iterable[Where], *, flush: bool) -> list[tuple[Where, Outcome]]:
        """It commits these; gives what became of each."""
        done = []
        for outcome in self._committer.commit_each(self._candidates(places)):
            self._last_seen.note(outcome, time.time())
            done.append(((outcome.candidate.root.key, outcome.candidate.name), outcome))
        if flush:
            self._last_seen.flush()
        return done

    def _candidates(self, places: Iterable[Where]) -> list[Candidate]:
        self._committer.config = self._program.config()
        roots = {root.key: root for root in self._committer.config.roots}
        return [Candidate(roots[key], name) for key, name in places]
