"""A host with targets, and `agentic-watch push` as a real process of it."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import support
import tomli_w

from fleet import samples


@dataclass
class Pusher:
    """The configuration of one host; `push` runs the command to its end and reads what it printed."""

    base: Path
    targets: list[dict[str, Any]] = field(default_factory=list)
    hooks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def history(self) -> Path:
        return self.base / "state" / "history.db"

    @property
    def state(self) -> Path:
        return self.base / "state" / "push.db"

    def fill(self, numbers: range, **fields: Any) -> list[str]:
        return samples.fill(self.history, numbers, **fields)

    def postgres(self, dsn: str, name: str = "fleet", **more: Any) -> None:
        """Add a target, its connection string in a file."""
        self.base.mkdir(parents=True, exist_ok=True)
        secret = self.base / f"{name}.dsn"
        secret.write_text(f"{dsn}\n", "utf-8")
        secret.chmod(0o600)
        self.targets.append({"name": name, "kind": "postgres", "dsn_file": str(secret), **more})

    def http(self, url: str, name: str = "lead", token: str = "t0ken", **more: Any) -> None:
        self.base.mkdir(parents=True, exist_ok=True)
        secret = self.base / f"{name}.token"
        secret.write_text(token, "utf-8")
        secret.chmod(0o600)
        self.targets.append({"name": name, "kind": "http", "url": url, "token_file": str(secret), **more})

    def arguments(self, *options: str) -> list[str]:
        document = {
            "roots": [{"path": str(self.base / "root")}],
            "history": {"path": str(self.history)},
            "push": self.targets,
            "hooks": self.hooks,
        }
        file = self.base / "config.toml"
        file.write_text(tomli_w.dumps(document), "utf-8")
        return ["--config", str(file), "push", *options]

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return support.run(self.arguments(*options), self.base, timeout=120)

    def push(self, *options: str) -> Any:
        """Run it with --json; gives (exit status, document)."""
        result = self.run("--json", *options)
        return result.returncode, json.loads(result.stdout), result.stderr

    @contextlib.contextmanager
    def following(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """`push --follow` as a process, told to end at the end."""
        with (self.base / "follow.log").open("ab") as log:
            arguments = support.command(self.arguments("--follow", *options))
            process = subprocess.Popen(arguments, env=support.environment(self.base), stderr=log, cwd="/")
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            code = process.wait(60)
            text = self.log()
        assert code == 0, text[-2000:]
        assert "Traceback" not in text, text[-2000:]

    def log(self) -> str:
        return (self.base / "follow.log").read_text("utf-8")

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of push.db."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, values).fetchall()
