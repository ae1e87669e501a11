"""Reads the dispatcher's status file, and chooses between its two places. Never writes, renames or locks it."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

from agentic_watch.config import KNOWN_STATUSES, Limits, Redact, Root
from agentic_watch.workspace import files, instant, layout, signatures
from agentic_watch.workspace.instant import Instant
from agentic_watch.workspace.jsontext import load_object
from agentic_watch.workspace.redactor import Redactor, redactor
from agentic_watch.workspace.workspace_errors import Linked, Malformed, Missing, WorkspaceError

_INT64 = range(-(2**63), 2**63)


class Status(NamedTuple):
    """The known fields of a status file; absent ones are "", 0 or the zero time, as in Go."""

    status: str
    updated_at: Instant
    started_at: Instant = instant.ZERO
    agent: str = ""
    repo: str = ""
    org: str = ""
    task: str = ""
    branch: str = ""
    process_id: str = ""
    question: str = ""
    pr_url: str = ""
    issue: int = 0
    pid: int = 0
    runs: int = 0


class StatusRead(NamedTuple):
    """The redacted status that counts, a warning for each file that was skipped, and the signatures of
    `.meta/status.json` and `status.json` as read (b"" when another change could leave the same signature).

    `linked` is the error of a file with hard links: its content may be compared, but not recorded.
    """

    status: Status
    signature: bytes = b""
    warnings: tuple[str, ...] = ()
    linked: Linked | None = None


_TEXTS = tuple(name for name, default in Status._field_defaults.items() if default == "")
_NUMBERS = tuple(name for name, default in Status._field_defaults.items() if default == 0)
_TIMES = ("updated_at", "started_at")
_texts_of = operator.attrgetter("status", *_TEXTS)


def parse(data: bytes, label: str) -> Status:
    """Parse the bytes of a status file. Raises Malformed with the field and the cause."""
    raw = load_object(data, label)
    found = fields(raw, label, ("status", *_TEXTS), _NUMBERS, _TIMES)
    if not found["status"]:
        raise Malformed(label, "has no status")
    if raw.get("updated_at") is None:
        raise Malformed(label, "has no updated_at")
    return Status(**found)


_KEPT_BYTES = 4_096
_KEPT = 256
"""Number and size of parsed statuses in the cache: a finish is read when it is seen and again under the lock, and
touched files are often unchanged."""


def _said(data: bytes, label: str, redact: Redact) -> Status:
    """Parse and redact the bytes of a status file. Raises Malformed."""
    return redacted(parse(data, label), redactor(redact))


_said_before = functools.lru_cache(_KEPT)(_said)


def redacted(status: Status, without: Redactor) -> Status:
    """Redact a status; its `status` field too, unless it is a known one."""
    if not without.may_change("\n".join(_texts_of(status))):
        return status
    texts = {name: text for name in _TEXTS if (text := getattr(status, name))}
    changed = {name: text for name, text in without.value(texts).items() if text != texts[name]}
    if status.status not in KNOWN_STATUSES:
        changed["status"] = without.text(status.status)
    return status._replace(**changed) if changed else status


def fields(
    raw: dict[str, Any], label: str, texts: Iterable[str] = (), numbers: Iterable[str] = (), times: Iterable[str] = ()
) -> dict[str, Any]:
    """Read fields of an object: texts, 64-bit integers, RFC 3339 times (Instant). Absent or null ones are "", 0 or the
    zero time, as in Go. Raises Malformed with the field and the cause."""
    found: dict[str, Any] = {}
    for key in texts:
        value = raw.get(key)
        if value is not None and not isinstance(value, str):
            raise Malformed(label, f"{key} is not a string")
        found[key] = value or ""
    for key in numbers:
        value = raw.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise Malformed(label, f"{key} is not an integer")
        if value is not None and value not in _INT64:
            raise Malformed(label, f"{key} is out of range")
        found[key] = value or 0
    for key in times:
        value = raw.get(key)
        if value is not None and not isinstance(value, str):
            raise Malformed(label, f"{key} is not a string")
        try:
            found[key] = instant.ZERO if value is None else instant.parse(value)
        except ValueError as error:
            raise Malformed(label, f"{key} {error}") from None
    return found


def read(workspace: int, meta: int | None, root: Root, limits: Limits) -> StatusRead:
    """Read the status of an open workspace: both places, the newer `updated_at` wins, a tie goes to `.meta/`.

    Raises Missing when there is none, Malformed when none is valid. If only one is valid, the other becomes a warning,
    so that a stray file cannot block a finished dispatch. A file with hard links counts only when there is no other
    valid one.
    """
    found: list[Status] = []
    linked: list[Status] = []
    problems: list[WorkspaceError] = []
    seen: list[bytes] = []
    for directory, label in _places(workspace, meta, root):
        if directory is None:
            seen.append(signatures.ABSENT)
            continue
        try:
            content = files.read(directory, layout.STATUS, label, limits.status_bytes, one_link=False)
            seen.append(content.signature)
            say = _said_before if len(content.data) <= _KEPT_BYTES else _said
            if content.links > 1:
                problems.append(Linked(label, content.links))
                with contextlib.suppress(Malformed):
                    linked.append(say(content.data, label, limits.redact))
            else:
                found.append(say(content.data, label, limits.redact))
        except Missing:
            seen.append(signatures.ABSENT)
        except WorkspaceError as error:
            problems.append(error)
    if any(problem.transient for problem in problems) or (problems and not found and not linked):
        raise next((p for p in problems if p.transient), problems[0])
    if not found and not linked:
        raise Missing(layout.STATUS, "is not there")
    newest = max(found or linked, key=lambda s: s.updated_at.ns)
    if not found:
        named = next(p for p in problems if isinstance(p, Linked))
        return StatusRead(newest, b"".join(seen) if b"" not in seen else b"", linked=named)
    trusted = not problems and b"" not in seen
    return StatusRead(newest, b"".join(seen) if trusted else b"", tuple(map(str, problems)))


def signature(workspace: int, meta: int | None, root: Root) -> bytes:
    """The current signature, as `read` returns it for settled files."""
    places = (where for where, _ in _places(workspace, meta, root))
    return b"".join(signatures.ABSENT if one is None else signatures.at(one, layout.STATUS) for one in places)


def _places(workspace: int, meta: int | None, root: Root) -> tuple[tuple[int | None, str], ...]:
    """The two places of a status: directory (None where the layout excludes it) and label."""
    in_meta = meta if root.layout != "root" else None
    beside = workspace if root.layout != "meta" else None
    return (in_meta, layout.META_STATUS), (beside, layout.STATUS)
