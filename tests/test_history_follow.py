"""`history --follow`: rows as they are committed, whatever becomes of the history meanwhile."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from daemon_support import Service, watches_of
from support import Host, command, environment, make, run, wait_for

SECONDS = 30.0


class Follower:
    """A `history --follow` of one host, and the lines that it prints."""

    def __init__(self, host: Host, *arguments: str) -> None:
        self._process = subprocess.Popen(
            command([*host.arguments(), "history", "--follow", *arguments]),
            env=environment(host.base),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._text = b""

    @property
    def output(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def wait_ready(self) -> None:
        """Until it watches the history's directory: it has its place in the history then."""
        wait_for(lambda: bool(watches_of(self._process.pid)), SECONDS)

    def line(self) -> str:
        """The next line."""
        deadline = time.monotonic() + SECONDS
        while b"\n" not in self._text:
            ready, _, _ = select.select([self.output], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "no line in time"
            more = os.read(self.output, 65536)
            assert more, f"it ended: {self.end()}"
            self._text += more
        first, _, self._text = self._text.partition(b"\n")
        return first.decode().rstrip("\r")

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line())
        return found

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Exit status, the rest of stdout, stderr."""
        out, err = self._process.communicate(timeout=SECONDS)
        return self._process.returncode, (self._text + out).decode(), err.decode()

    def leave(self) -> tuple[int, str]:
        """Read no more; gives exit status and stderr."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdout.close()
        return self._process.wait(SECONDS), self._process.stderr.read().decode()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@contextlib.contextmanager
def following(host: Host, *arguments: str) -> Iterator[Follower]:
    """A follower that has begun."""
    follower = Follower(host, *arguments)
    try:
        follower.wait_ready()
        yield follower
    finally:
        follower.close()


def commit(host: Host, name: str, **fields: Any) -> None:
    """Make a finished workspace and commit it."""
    make(host.root, name, **fields)
    assert run([*host.arguments(), "commit", name], host.base).returncode == 0


@pytest.fixture
def used(host: Host) -> Host:
    """A host with a dispatch in its history."""
    commit(host, "acme/api/before")
    return host


def test_rows_as_they_are_committed(used: Host) -> None:
    """Only what comes after the start, the first committed first, each with all its columns."""
    with following(used, "--json") as follower:
        commit(used, "acme/api/one", task="first")
        commit(used, "acme/api/two", report={"passed": True})
        first, second = follower.document(), follower.document()
    assert (first["schema"], first["workspace"], first["task"]) == (2, "acme/api/one", "first")
    assert (second["workspace"], second["report"]) == ("acme/api/two", {"passed": True})
    assert first["commit_id"] == used.rows()["acme/api/one"]["commit_id"]
    listed = run([*used.arguments(), "history", "--json", "-n", "1", "--workspace", "acme/api/one"], used.base)
    assert json.loads(listed.stdout) == first


def test_a_table_has_its_header_at_once(used: Host) -> None:
    """Rows of a table are under its header, and none is cut where nothing has to fit."""
    long = "a task that is longer than the column was until now, by far"
    with following(used) as follower:
        assert follower.line().split()[:4] == ["UPDATED", "(UTC)", "STATUS", "WORKSPACE"]
        commit(used, "acme/api/one", status="failed", task=long)
        line = follower.line()
    assert "failed" in line
    assert line.endswith(long)


def test_csv(used: Host) -> None:
    """CSV has its header at once, and the columns that were asked for."""
    with following(used, "--csv", "--columns", "workspace,status") as follower:
        assert follower.line() == "workspace,status"
        commit(used, "acme/api/one")
        assert follower.line() == "acme/api/one,completed"
    with following(used, "--csv") as follower:
        header = next(csv.reader([follower.line()]))
        commit(used, "acme/api/two")
        row = dict(zip(header, next(csv.reader([follower.line()])), strict=True))
    assert row["workspace"] == "acme/api/two"


def test_filters(used: Host) -> None:
    """Each filter of `history` says which of the rows are told."""
    with following(used, "--failed", "--repo", "api", "--json", "menu") as follower:
        commit(used, "acme/api/one", repo="api", task="the menu")
        commit(used, "acme/api/two", status="failed", repo="site", task="the menu")
        commit(used, "acme/api/three", status="failed", repo="api", task="the door")
        commit(used, "acme/api/four", status="rejected", repo="api", task="the menu")
        assert follower.document()["workspace"] == "acme/api/four"


def test_n_ends_it(used: Host) -> None:
    """-n N is the most that is printed, as without --follow: the next failure is `-n 1 --failed`."""
    with following(used, "--json", "-n", "1", "--failed") as follower:
        commit(used, "acme/api/one")
        commit(used, "acme/api/two", status="failed")
        code, out, err = follower.end()
    assert (code, err) == (0, "")
    assert [json.loads(line)["workspace"] for line in out.splitlines()] == ["acme/api/two"]


def test_a_reader_that_goes_away(used: Host) -> None:
    """`| head -1` ends it with 0 and in silence, though no further row comes."""
    with following(used, "--json") as follower:
        commit(used, "acme/api/one")
        follower.document()
        assert follower.leave() == (0, "")


def test_interrupted(used: Host) -> None:
    """Ctrl-C ends it with 130 and one line."""
    with following(used, "--json") as follower:
        commit(used, "acme/api/one")
        follower.document()
        follower.interrupt()
        assert follower.end() == (130, "", "Error: interrupted; 1 commit since the start\n")


def test_a_history_that_is_not_there_yet(host: Host) -> None:
    """It is waited for, and its first row is told."""
    host.history.parent.mkdir()
    with following(host, "--json") as follower:
        commit(host, "acme/api/one")
        assert follower.document()["workspace"] == "acme/api/one"
        follower.interrupt()
        assert f"no history at {host.history} yet; waiting for it" in follower.end()[2]


def test_prune(used: Host) -> None:
    """Rows that are removed are no news, and what comes afterwards is told."""
    with following(used, "--json") as follower:
        arguments = ["prune", "--older-than", "1d", "--archive", str(used.base / "old.jsonl")]
        assert run([*used.arguments(), *arguments], used.base).returncode == 0
        assert not used.rows()
        commit(used, "acme/api/one", updated_at="2126-04-14T11:17:08Z")
        assert follower.document()["workspace"] == "acme/api/one"


def test_a_lost_history_that_is_rebuilt(used: Host) -> None:
    """What its journals give back is told only where it was not told before."""
    with following(used, "--json") as follower:
        commit(used, "acme/api/one")
        assert follower.document()["workspace"] == "acme/api/one"
        used.forget_history()
        make(used.root, "acme/api/two")
        used.once()
        assert follower.document()["workspace"] == "acme/api/two"
        commit(used, "acme/api/three")
        assert follower.document()["workspace"] == "acme/api/three"


def test_a_backup_that_comes_back(used: Host) -> None:
    """A history that is put back gives its numbers to other rows: they are told."""
    kept = used.base / "kept.db"
    assert run([*used.arguments(), "backup", str(kept)], used.base).returncode == 0
    with following(used, "--json") as follower:
        commit(used, "acme/api/one")
        assert follower.document()["workspace"] == "acme/api/one"
        shutil.rmtree(used.root / "acme/api/one")
        used.forget_history()
        shutil.copyfile(kept, used.history.with_name("coming.db"))
        used.history.with_name("coming.db").rename(used.history)
        commit(used, "acme/api/two")
        assert follower.document()["workspace"] == "acme/api/two"
        commit(used, "acme/api/three")
        assert follower.document()["workspace"] == "acme/api/three"


def test_a_daemon_that_is_restarted(host: Host) -> None:
    """Its commits are told before and after a restart, and while it holds the history open."""
    service = Service(host)
    with service, following(host, "--json", "--columns", "workspace") as follower:
        make(host.root, "acme/api/one")
        assert follower.document()["workspace"] == "acme/api/one"
        assert service.stop() == 0
        service.start()
        service.wait_ready(2)
        make(host.root, "acme/api/two")
        assert follower.document()["workspace"] == "acme/api/two"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["--fleet", "warehouse"], "excludes --fleet"), (["--json", "--csv"], "exclude each other")],
)
def test_what_cannot_be_honoured(used: Host, arguments: list[str], text: str) -> None:
    """An option that means nothing here is refused."""
    result = run([*used.arguments(), "history", "-f", *arguments], used.base)
    assert result.returncode == 2
    assert text in result.stderr
