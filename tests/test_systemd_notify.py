"""What systemd hears on its socket: sd_notify(3), from the notifier and from a whole life of the daemon."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import Service
from support import Host, make, wait_for

from agentic_watch.daemon.systemd_notify import Notifier


class Manager:
    """The receiving end of $NOTIFY_SOCKET."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._socket.setblocking(False)
        self._heard: list[dict[str, str]] = []

    def heard(self) -> list[dict[str, str]]:
        """Every message so far, oldest first, each as its assignments."""
        while True:
            try:
                text = self._socket.recv(65536).decode()
            except BlockingIOError:
                return self._heard
            self._heard.append(dict(line.split("=", 1) for line in text.splitlines()))

    def status_at_ready(self) -> str:
        """The STATUS that was said last before the first READY."""
        before = self.heard()[: self.having("READY")[0]]
        return [message["STATUS"] for message in before if "STATUS" in message][-1]

    def having(self, key: str) -> list[int]:
        """The positions of the messages that assign `key`."""
        return [number for number, message in enumerate(self.heard()) if key in message]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A socket in the test's own directory."""
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def test_each_word_is_one_datagram_of_assignments(manager: Manager) -> None:
    """As sd_notify(3) writes them."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.path})
    notifier.starting("looking", 30.0)
    notifier.ready()
    notifier.status("busy")
    notifier.stopping()
    assert manager.heard() == [
        {"STATUS": "looking", "EXTEND_TIMEOUT_USEC": "30000000"},
        {"READY": "1"},
        {"STATUS": "busy"},
        {"STOPPING": "1", "STATUS": "finishing the current batch"},
    ]


def test_a_reload_says_when_it_began(manager: Manager) -> None:
    """Type=notify-reload wants the monotonic clock beside RELOADING."""
    Notifier({"NOTIFY_SOCKET": manager.path}).reloading()
    (message,) = manager.heard()
    assert message["RELOADING"] == "1"
    assert int(message["MONOTONIC_USEC"]) > 0


def test_an_abstract_socket_is_found() -> None:
    """systemd may name a socket without a file; `@` stands for its leading NUL."""
    name = f"agentic-watch-{os.urandom(8).hex()}"
    manager = Manager(f"\0{name}")
    try:
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).status("well")
        assert manager.heard() == [{"STATUS": "well"}]
    finally:
        manager.close()


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_a_manager_that_does_not_listen_is_no_error(address: str) -> None:
    """Without systemd, or while it restarts, the daemon goes on."""
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.status("well")
    assert notifier.has_owed == bool(address)


def test_a_manager_that_does_not_read_blocks_nothing(manager: Manager) -> None:
    """A full socket swallows what does not fit."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.path})
    for _ in range(5000):
        notifier.status("x" * 100)
    assert 0 < len(manager.heard()) < 5000


def test_ready_is_sent_again_until_it_is_taken(manager: Manager) -> None:
    """A socket that is full at that moment does not lose it; what is owed comes in its order."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.path})
    while notifier._send("STATUS=noise"):
        pass
    notifier.reloading()
    notifier.ready()
    assert notifier.has_owed
    manager.heard()
    notifier.send_owed()
    assert not notifier.has_owed
    assert [key for message in manager.heard() for key in message if key in ("RELOADING", "READY")] == [
        "RELOADING",
        "READY",
    ]


def test_a_status_is_cut_to_what_systemd_takes(manager: Manager) -> None:
    """systemd passes over a datagram of more than 4,096 bytes as a whole; lines and torn characters do not pass."""
    Notifier({"NOTIFY_SOCKET": manager.path}).starting("ä\n" * 4000, 30.0)
    (message,) = manager.heard()
    assert message["EXTEND_TIMEOUT_USEC"] == "30000000"
    assert len(f"STATUS={message['STATUS']}".encode()) < 2100
    assert message["STATUS"].endswith("…")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_only_when_it_is_meant_for_us(
    manager: Manager, environ: dict[str, str], seconds: float | None
) -> None:
    """sd_watchdog_enabled(3)."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.path, **environ})
    notifier.alive()
    assert notifier.watchdog_seconds == seconds
    assert manager.heard() == ([{"WATCHDOG": "1"}] if seconds else [])


def test_a_life_is_told_in_order(host: Host, manager: Manager) -> None:
    """STATUS and more time while it starts; when systemd calls it started, the root is watched; STOPPING is last."""
    made = [make(host.root, f"org/repo/task-{number:02}") for number in range(30)]
    with Service(host, environ={"NOTIFY_SOCKET": manager.path}) as service:
        service.wait(lambda: bool(manager.having("READY")))
        assert "inotify, 63 watches" in manager.status_at_ready()
        starting = manager.having("EXTEND_TIMEOUT_USEC")
        assert starting[0] == 0
        assert starting[-1] < manager.having("READY")[0]
        service.wait_committed(*made)
        assert service.stop() == 0
    assert manager.having("READY") == manager.having("READY")[:1]
    assert manager.having("STOPPING") == [len(manager.heard()) - 1]


def test_what_was_due_at_the_start_is_committed_before_ready(host: Host, manager: Manager) -> None:
    """Statuses that rested long enough are in the history when READY is sent."""
    made = [make(host.root, f"org/repo/task-{number}") for number in range(5)]
    service = Service(host, environ={"NOTIFY_SOCKET": manager.path})
    settled = max((workspace.meta / "status.json").stat().st_ctime for workspace in made) + 0.3
    wait_for(lambda: time.time() > settled)
    with service:
        service.wait(lambda: bool(manager.having("READY")))
        assert "5 committed, 0 pending" in manager.status_at_ready()
        assert len(service.names()) == 5


def test_status_tells_of_commits_and_of_a_lost_root(host: Host, manager: Manager) -> None:
    """`systemctl status` shows the watcher's true state."""
    workspace = make(host.root, status="running")
    with Service(host, environ={"NOTIFY_SOCKET": manager.path}) as service:
        workspace.write_status()
        service.wait(lambda: "1 committed" in manager.heard()[-1].get("STATUS", ""))
        host.root.rename(host.base / "elsewhere")
        service.wait(lambda: "waiting (was removed, renamed or unmounted)" in manager.heard()[-1].get("STATUS", ""))


def test_a_reload_is_announced_and_ended_by_ready(host: Host, manager: Manager) -> None:
    """RELOADING, then READY once the new roots are looked at; a bad file ends in READY too."""
    with Service(host, environ={"NOTIFY_SOCKET": manager.path}) as service:
        for text in (service.config_file.read_text(), "roots = 3\n"):
            service.config_file.write_text(text)
            before = len(manager.having("READY"))
            service.signal(signal.SIGHUP)
            service.wait(lambda before=before: len(manager.having("READY")) > before)
            assert manager.having("RELOADING")[-1] < manager.having("READY")[-1]
    assert len(manager.having("RELOADING")) == 2


def test_the_watchdog_is_fed_by_full_turns_only(host: Host, manager: Manager) -> None:
    """While the loop stands still nothing is sent; once it goes on, the watchdog is fed again."""
    environ = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"}
    with Service(host, environ=environ) as service:
        service.wait(lambda: len(manager.having("WATCHDOG")) >= 3)
        os.kill(service.pid, signal.SIGSTOP)
        wait_for(lambda: Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        seen = len(manager.having("WATCHDOG"))
        os.kill(service.pid, signal.SIGCONT)
        service.wait(lambda: len(manager.having("WATCHDOG")) > seen)


def test_seventy_roots_are_ready(host: Host, manager: Manager) -> None:
    """However many roots there are and however long their names, READY comes, and no datagram is too long."""
    service = Service(host, environ={"NOTIFY_SOCKET": manager.path})
    service.roots = []
    for number in range(70):
        path = host.base / f"root-{number}-{'x' * 60}"
        path.mkdir()
        service.roots.append({"path": str(path)})
    with service:
        service.wait(lambda: bool(manager.having("READY")))
        assert manager.heard()[manager.having("READY")[0]] == {"READY": "1"}
        assert "70 roots: 70 inotify" in manager.status_at_ready()


def test_reloads_in_the_middle_of_a_start_are_ready_when_all_is_watched(host: Host, manager: Manager) -> None:
    """What a watcher that was stopped still had to say is not taken for the word of its successor."""
    for number in range(600):
        (host.root / f"org-{number % 20}/repo-{number}/task/.meta").mkdir(parents=True)
    service = Service(host, environ={"NOTIFY_SOCKET": manager.path})
    with service:
        for _ in range(4):
            before = len(manager.having("READY"))
            service.signal(signal.SIGHUP)
            service.signal(signal.SIGHUP)
            service.wait(lambda before=before: len(manager.having("READY")) > before)
            service.signal(signal.SIGHUP)
            service.wait(lambda before=before: len(manager.having("READY")) > before + 1)
            position = manager.having("READY")[-1]
            said = [message["STATUS"] for message in manager.heard()[:position] if "STATUS" in message]
            assert "inotify, 1,821 watches" in said[-1], said[-1]
