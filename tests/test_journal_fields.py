"""Log lines on their way to the journal: a datagram each, with the fields that a machine asks for."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentic_watch.cli.logs import JournalFields, NeverBlocking, connect


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket like the journal's."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(str(tmp_path / "journal"))
        listening.settimeout(10)
        yield listening


@pytest.fixture
def log(journal: socket.socket) -> Iterator[logging.Logger]:
    """A logger that writes there as the daemon does."""
    connection = connect(journal.getsockname())
    assert connection is not None
    handler = NeverBlocking(connection)
    handler.setFormatter(JournalFields())
    logger = logging.Logger("agentic_watch.daemon")
    logger.addHandler(handler)
    yield logger
    handler.close()


def entry(journal: socket.socket) -> dict[str, str]:
    """The next datagram, field by field."""
    lines = journal.recv(1 << 20).decode().rstrip("\n").split("\n")
    return dict(line.split("=", 1) for line in lines)


def test_an_entry_carries_its_fields(journal: socket.socket, log: logging.Logger) -> None:
    """Text, priority and identifier, and what is known beside them, in capitals."""
    where = {"root": "/srv", "workspace": "org/repo/task", "run": 2}
    log.warning("%s: is held", "org/repo/task", extra={**where, "error": "is held"})
    assert entry(journal) == {
        "MESSAGE": "org/repo/task: is held",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "agentic-watch",
        "ROOT": "/srv",
        "WORKSPACE": "org/repo/task",
        "RUN": "2",
        "ERROR": "is held",
    }


def test_what_an_agent_wrote_makes_no_field(journal: socket.socket, log: logging.Logger) -> None:
    """A newline in a text is an escape: nobody can forge a priority or a second entry."""
    log.error("evil\nPRIORITY=0\nMESSAGE=root says hello", extra={"error": "a\n_UID=0"})
    found = entry(journal)
    assert found["PRIORITY"] == "3"
    assert found["MESSAGE"].startswith("evil\\n")
    assert found["ERROR"] == "a\\n_UID=0"


def test_a_long_text_is_one_entry(journal: socket.socket, log: logging.Logger) -> None:
    """A text beyond what a datagram takes is cut; the next one comes as it is."""
    log.error("%s", "x" * 300_000)
    log.error("next")
    assert set(entry(journal)["MESSAGE"]) == {"x"}
    assert entry(journal)["MESSAGE"] == "next"


def test_a_journal_that_reads_nothing_holds_up_nobody(journal: socket.socket, log: logging.Logger) -> None:
    """Lines wait, then are dropped and counted; once it reads again the count is said."""
    for number in range(5_000):
        log.error("line %d", number)
    (handler,) = log.handlers
    assert isinstance(handler, NeverBlocking)
    assert handler.dropped > 0
    journal.setblocking(False)
    messages: list[str] = []
    while not messages or "were dropped" not in messages[-1]:
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(entry(journal)["MESSAGE"])
        handler.flush()
    assert messages[0] == "line 0"
    assert f"{handler.dropped} log lines were dropped" in messages[-1]


def test_without_a_journal_there_is_no_socket(tmp_path: Path) -> None:
    """Outside of systemd stderr stays the way."""
    assert connect(str(tmp_path / "nothing")) is None
