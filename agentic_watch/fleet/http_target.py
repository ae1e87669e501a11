"""A target of kind `http`: the dispatcher's own sync address, `POST {url}/v1/agent/sync`.

The body is {"agent_id", "dispatches": [an interchange object plus the dispatcher's own id and synced: false]}; a 2xx
means delivered. The only import of httpx, late, because it takes 0.1 s.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agentic_watch import __version__
from agentic_watch.fleet import interchange
from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.outbox import Largest
from agentic_watch.fleet.target_interface import (
    Poisonous,
    Refusal,
    Sender,
    TimedOut,
    Unavailable,
    Unusable,
    cut_after,
    longest,
    one_line,
    send_halving,
)
from agentic_watch.host.extras import missing_extra
from agentic_watch.workspace.jsontext import dump

if TYPE_CHECKING:
    import httpx

PATH = "/v1/agent/sync"
REQUEST_SECONDS = 60.0
"""Time limit of one request, including its answer."""

_STEP_SECONDS = 20.0
_ANSWER_BYTES = 64 * 1024
_LONGEST_RETRY_AFTER = 3600.0
_PASSING = frozenset({408, 425, 429})
# Not caused by an item: token, address or method is wrong.
_OPERATORS = frozenset({401, 403, 404, 405, 407, 410})


class HttpTarget:
    """One client, opened on first use."""

    # An item repeats findings and changes of its report, so a request may have twice this size.
    largest = Largest(100, 2 * 1024 * 1024)

    def __init__(self, url: str, token: str | None, sender: Sender) -> None:
        self._url = url + PATH
        self._token = token
        self._sender = sender
        self._client: httpx.Client | None = None
        self._wire = _Wire()

    def deliver(self, commits: Sequence[Commit]) -> list[Refusal]:
        """Send commits in order, in one request unless some are rejected; see Delivery."""
        return send_halving(commits, self._post)

    def answers(self) -> None:
        """Send an empty request; any answer counts."""
        self._answer(f'{{"agent_id":{dump(self._sender.host_id)},"dispatches":[]}}'.encode(), REQUEST_SECONDS)

    def report(self, pending: int, dead_letters: int) -> str | None:  # noqa: ARG002
        """Not supported by this kind."""
        return None

    def close(self) -> None:
        """Close the client's connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _post(self, commits: Sequence[Commit]) -> None:
        host_id = self._sender.host_id
        items = ",".join(item_text(commit, host_id) for commit in commits)
        body = f'{{"agent_id":{dump(host_id)},"dispatches":[{items}]}}'.encode()
        status, headers, answer = self._answer(body, longest(REQUEST_SECONDS, len(commits), len(body)))
        if 200 <= status < 300:
            return
        said = f"answers {status}" + (f": {one_line(answer)}" if answer.strip() else "")
        if 300 <= status < 400:
            raise Unusable(
                f"{said[:11]}; it redirects to {_without_query(headers.get('location', ''))}; set url to that"
            )
        if status in _OPERATORS:
            raise Unusable(f"{said}; check url and token_file")
        if 400 <= status < 500 and status not in _PASSING:
            raise Poisonous(said)
        raise Unavailable(said, retry_after(headers.get("retry-after", "")))

    def _answer(self, body: bytes, seconds: float) -> tuple[int, httpx.Headers, str]:
        """(status, headers, the beginning of the text). Raises TimedOut and Unavailable."""
        httpx = _httpx()
        client = self._ready()
        self._wire.is_cut = False
        try:
            with cut_after(seconds, self._wire.cut) as was_cut:
                try:
                    with client.stream("POST", self._url, content=body, extensions={"trace": self._wire.seen}) as got:
                        return got.status_code, got.headers, _beginning(got)
                except httpx.HTTPError as error:
                    if was_cut():
                        raise TimedOut(f"gave no complete answer within {seconds:g} s") from error
                    raise
        except TimedOut:
            self.close()
            raise
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            self.close()
            raise TimedOut(f"was silent for {_STEP_SECONDS:g} s") from error
        except httpx.HTTPError as error:
            self.close()
            raise Unavailable(one_line(error) or type(error).__name__) from error

    def _ready(self) -> httpx.Client:
        if self._client is None:
            headers = {"Content-Type": "application/json", "User-Agent": f"agentic-watch/{__version__}"}
            if self._token is not None:
                headers["Authorization"] = f"Bearer {self._token}"
            # Redirects are not followed, because the token would be sent to another address.
            self._client = _httpx().Client(
                headers=headers, timeout=_STEP_SECONDS, follow_redirects=False, verify=True, trust_env=True
            )
        return self._client


def item_text(commit: Commit, host_id: str) -> str:
    """One item of a request, as JSON."""
    item = interchange.document(commit, host_id)
    # `id` is the workspace, as in the dispatcher; commit_id distinguishes the runs of one workspace.
    return dump({**item, "id": item["workspace"], "synced": False})


def retry_after(text: str) -> float | None:
    """`Retry-After` in seconds from now, at most an hour; None when absent or invalid (RFC 9110, 10.2.3)."""
    if text.strip().isdecimal():
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    now = datetime.datetime.now(when.tzinfo)
    return min(max(0.0, (when - now).total_seconds()), _LONGEST_RETRY_AFTER)


def _beginning(response: httpx.Response) -> str:
    """The beginning of an answer; the rest is not read."""
    data = b""
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > _ANSWER_BYTES:
            break
    return data[:200].decode("utf-8", "replace")


def _without_query(location: str) -> str:
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.hostname else parts.path


class _Wire:
    """The socket of the current request, from httpx's trace."""

    def __init__(self) -> None:
        self._stream: Any = None
        self.is_cut = False

    def seen(self, event: str, info: dict[str, Any]) -> None:
        """Handle an event of httpcore: remember the newest stream."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info["return_value"]
            if self.is_cut:  # it took longer to connect
                with contextlib.suppress(OSError):
                    self.cut()

    def cut(self) -> None:
        """Shut it down, even if it is only connected later."""
        import socket

        self.is_cut = True
        if self._stream is not None and (found := self._stream.get_extra_info("socket")) is not None:
            found.shutdown(socket.SHUT_RDWR)


def _httpx() -> Any:
    with contextlib.suppress(ImportError):
        import httpx

        return httpx
    raise Unusable(missing_extra("httpx", "fleet"))
