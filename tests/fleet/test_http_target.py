"""Pushing to a real HTTP server that takes, refuses, stalls, drops, answers late, or asks for patience."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentic_watch.fleet import http_target, interchange, postgres_connection
from agentic_watch.fleet.http_target import HttpTarget, retry_after
from agentic_watch.fleet.one_push import Pushed
from agentic_watch.fleet.push_follow import pause_after
from agentic_watch.fleet.target_interface import Sender, Unavailable, Unusable
from fleet import samples
from fleet.http_server import OK, Received, serving
from fleet.pusher import Pusher

SENDER = Sender(samples.HOST_ID, "", "host-a", "1.0")


@pytest.fixture
def server() -> Iterator[Received]:
    with serving() as received:
        yield received


@pytest.fixture
def target(server: Received) -> Iterator[HttpTarget]:
    with closing(HttpTarget(server.url, "t0ken", SENDER)) as opened:
        yield opened


def test_what_is_sent(server: Received, target: HttpTarget) -> None:
    """The address, the token and two keys are those of the dispatcher's own sync, the rest is what an export has; the
    order is the history's."""
    commits = [samples.commit(number, report=samples.REPORT) for number in range(3)]
    assert target.deliver(commits) == []
    assert server.paths == ["/v1/agent/sync"]
    assert server.headers[0]["Authorization"] == "Bearer t0ken"
    (request,) = server.requests
    assert request["agent_id"] == samples.HOST_ID
    assert [item["issue"] for item in request["dispatches"]] == [0, 1, 2]
    item = request["dispatches"][1]
    assert item["commit_id"] == commits[1].commit_id
    assert (item["id"], item["synced"], item["updated_at"]) == (
        commits[1].columns["workspace"],
        False,
        commits[1].columns["updated_at"],
    )
    exchanged = interchange.document(commits[1], samples.HOST_ID)
    assert item == {**exchanged, "id": item["workspace"], "synced": False}
    assert (item["findings"], item["changes"]) == (samples.REPORT["findings"], samples.REPORT["changes"])


def test_items_are_refused_one_by_one(server: Received, target: HttpTarget) -> None:
    """A 422 for some items sets aside those and no other, in the order of the history."""

    def judge(items: list[dict[str, object]]) -> tuple[int, dict[str, str], str]:
        bad = [item for item in items if item["issue"] in (3, 40)]
        return (422, {}, "no such repo") if bad else OK

    server.script = [judge] * 100
    commits = [samples.commit(number) for number in range(50)]
    refused = target.deliver(commits)
    assert [(one.commit.id, one.cause) for one in refused] == [
        (3, "answers 422: no such repo"),
        (40, "answers 422: no such repo"),
    ]
    assert server.taken == [commit.commit_id for commit in commits if commit.id not in (3, 40)]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_passes_is_tried_again(server: Received, target: HttpTarget, status: int) -> None:
    """An answer that may be another one later sets nothing aside, and says when to come again."""
    server.script = [(status, {"Retry-After": "7"}, "busy")]
    with pytest.raises(Unavailable, match=f"answers {status}: busy") as caught:
        target.deliver([samples.commit(1)])
    assert caught.value.retry_after == 7
    assert target.deliver([samples.commit(1)]) == []


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_wrong_token_or_address_sets_nothing_aside(server: Received, target: HttpTarget, status: int) -> None:
    """What is no item's fault is an operator's work: a token that ran out buries no history."""
    server.script = [(status, {}, "")]
    with pytest.raises(Unusable, match=f"answers {status}; check url and token_file"):
        target.deliver([samples.commit(1)])
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed(server: Received, target: HttpTarget) -> None:
    """The token goes to no other host: where it would lead is said, without what a query may hold."""
    with serving() as other:
        server.script = [(307, {"Location": f"{other.url}/v1/agent/sync?key=s3cret"}, "")]
        with pytest.raises(Unusable, match=r"answers 307; it redirects to http://127\.0\.0\.1/v1/agent/sync") as caught:
            target.deliver([samples.commit(1)])
        assert other.requests == []
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("what", ["drop", "stall", "drip", "late"])
def test_every_wait_has_an_end(
    server: Received, target: HttpTarget, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that drops, stalls, drips or answers too late is given up; the next try delivers."""
    monkeypatch.setattr(http_target, "REQUEST_SECONDS", 0.3)
    server.script = [what]
    with pytest.raises(Unavailable):
        target.deliver([samples.commit(1)])
    monkeypatch.setattr(http_target, "REQUEST_SECONDS", 60.0)
    assert target.deliver([samples.commit(1)]) == []


def test_a_second_request_of_a_connection_is_bounded_too(
    server: Received, target: HttpTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was good once is cut as well when it falls silent."""
    target.deliver([samples.commit(1)])
    monkeypatch.setattr(http_target, "REQUEST_SECONDS", 0.3)
    server.script = ["drip"]
    with pytest.raises(Unavailable, match="gave no complete answer"):
        target.deliver([samples.commit(2)])


def test_a_connection_that_comes_too_late_is_cut_as_well(
    server: Received, target: HttpTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a request is over before there is a connection: it is not used without a limit."""
    connect = socket.create_connection

    def late(*given: Any, **options: Any) -> socket.socket:
        time.sleep(0.6)
        return connect(*given, **options)

    monkeypatch.setattr(socket, "create_connection", late)
    monkeypatch.setattr(http_target, "REQUEST_SECONDS", 0.2)
    server.script = ["drip"]
    with pytest.raises(Unavailable, match="gave no complete answer"):
        target.deliver([samples.commit(1)])
    server.script.clear()
    monkeypatch.setattr(http_target, "REQUEST_SECONDS", 60.0)
    assert target.deliver([samples.commit(1)]) == []


def test_an_untrusted_certificate_is_refused(tmp_path: Path) -> None:
    """TLS is verified: a server that nobody vouches for gets nothing."""
    import ssl
    import subprocess
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    key = str(tmp_path / "key.pem")
    words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run(["openssl", "req", *words, "-keyout", key, "-out", key + ".crt"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key + ".crt", key)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as plain:
        plain.socket = context.wrap_socket(plain.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with (
                closing(HttpTarget(f"https://localhost:{plain.server_address[1]}", "t", SENDER)) as pushing,
                pytest.raises(Unavailable, match=r"(?i)certificate"),
            ):
                pushing.deliver([samples.commit(1)])
        finally:
            plain.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("text", "seconds"), [("120", 120.0), ("999999", 3600.0), ("", None), ("soon", None), ("-5", None)]
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    """Retry-After is honoured up to an hour, and nonsense is none."""
    assert retry_after(text) == seconds


def test_retry_after_as_a_date() -> None:
    """Retry-After may be a date; one that has passed means now."""
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("Fri, 21 Oct 2095 07:28:00 GMT") == 3600.0


def test_hosts_do_not_come_back_together() -> None:
    """After an outage the pauses are spread, grow to five minutes at most, and respect what the server asked for."""
    down = Pushed("fleet", "http", error="answers 503", retry_after=60.0)

    def pauses(failures: int, pushed: Pushed = down) -> list[float]:
        chances: list[Callable[[], float]] = [lambda chance=chance / 100: chance for chance in range(101)]
        return [pause_after(pushed, failures, 60.0, chance) for chance in chances]

    assert min(pauses(1)) == 60.0
    assert max(pauses(1)) == 75.0
    silent = Pushed("fleet", "http", error="connection refused")
    assert (min(pauses(1, silent)), max(pauses(1, silent))) == (0.5, 2.0)
    assert (min(pauses(50, silent)), max(pauses(50, silent))) == (75.0, 300.0)
    assert (min(pauses(0, Pushed("x", "http"))), max(pauses(0, Pushed("x", "http")))) == (45.0, 60.0)


def test_push_counts_what_arrived(server: Received, tmp_path: Path) -> None:
    """The command sends in requests of a hundred, goes on after an outage where it stood, and sends nothing twice."""
    pusher = Pusher(tmp_path)
    pusher.http(server.url)
    pusher.fill(range(250))
    server.script = [OK, (503, {}, "away")]
    code, document, _ = pusher.push()
    assert (code, document["targets"][0]["sent_count"], document["targets"][0]["pending_count"]) == (1, 100, 150)
    code, document, _ = pusher.push()
    assert (code, document["targets"][0]["sent_count"], document["targets"][0]["pending_count"]) == (0, 150, 0)
    assert [len(request["dispatches"]) for request in server.requests] == [100, 100, 100, 50]
    assert len(server.taken) == len(set(server.taken)) == 250


def test_large_reports_travel_in_smaller_requests(server: Received, tmp_path: Path) -> None:
    """A request ends at so many bytes, too, and a report that is larger by itself goes alone."""
    pusher = Pusher(tmp_path)
    pusher.http(server.url)
    samples.fill(pusher.history, range(9), task="x" * 700_000)
    assert pusher.push()[0] == 0
    assert [len(request["dispatches"]) for request in server.requests] == [3, 3, 3]


@pytest.mark.parametrize(("module", "kind"), [("httpx", "http"), ("psycopg", "postgres")])
def test_without_its_library_a_target_says_how_to_add_it(
    module: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is for this installation, and names no project that somebody else could have registered."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unusable, match=rf"^{module} is not installed.*extra.*<wheel or source>\[fleet\]"):
        if kind == "http":
            HttpTarget("http://127.0.0.1:1", None, SENDER).answers()
        else:
            postgres_connection.connect("dbname=none")
