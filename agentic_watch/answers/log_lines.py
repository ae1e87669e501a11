"""What does a log say last, and which line of it says why it ended?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_LOOKED_AT = 16_384
"""So many characters of a log's end are looked through for a cause: without one that takes 2 ms."""
_LONGEST = 500

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])|\x9b[0-?]*[ -/]*[@-~]")
"""Colours, moves of the cursor, titles of the window (ECMA-48, section 5.4)."""
_STAMP = re.compile(r"^[\[(]?\d{2,4}[-:/]\d\d[-:/]\d\d[\d:.,TZ+-]*(?: \d\d:\d\d[\d:.,Z+-]*)?[\])]?\s+")
_DECORATION = " \t=-#*_>|│"
_NO_ERROR = re.compile(
    r"\b(?:0|no|without) (?:\w+ )?(?:errors?|failures?|failed)\b|\b(?:errors?|failed|failures?): 0\b", re.IGNORECASE
)
_ERROR = re.compile(
    r"(?<![\w/.-])(?:error|errors|exception|fatal|panic|panicked|failed|failure|denied|refused|cannot|could not|can't|"
    r"unable to|not found|no such|killed|abort|aborted|segmentation fault|out of memory|no space left|timed out)\b"
    r"(?![/.]\w)"
    r"|\b(?-i:[A-Za-z_]*(?:Error|Exception))\b(?!\.\w)|\berror\[|\berr!",
    re.IGNORECASE,
)
_SAID_IN = ("error", "message", "result", "msg")
"""Where a log of JSON lines has its words."""
_LEVELS = frozenset({"error", "fatal", "critical", "panic"})
_ONLY_STATUS = re.compile(
    r"(?:\w+ ){0,2}(?:exit(?:ed)?(?: with)?(?: (?:status|code))?:? -?\d+(?: \(SIG[A-Z0-9]+ in a shell\))?"
    r"|killed by (?:SIG[A-Z0-9+]+|signal \d+))\.?",
    re.IGNORECASE,
)


def is_only_status(question: str) -> bool:
    """Whether a dispatch's question is no more than its exit status or signal."""
    return len(question) < 100 and _ONLY_STATUS.fullmatch(question.strip()) is not None


def text_of(data: bytes) -> str:
    """A log's bytes as text, whatever they are."""
    return data.decode("utf-8", "replace")


def last(text: str, number: int) -> tuple[str, ...]:
    """The last lines that are not empty, each as a terminal would show it at last: without escapes, and of what was
    written over with carriage returns the end."""
    found: list[str] = []
    for line in _backwards(text):
        found.append(line)
        if len(found) == number:
            break
    return tuple(reversed(found))


def last_error(text: str) -> str:
    """The last line that tells of an error, without its time, at most 500 characters; "" when none does."""
    for line in _backwards(text):
        if not _ERROR.search(line):
            continue
        said = _said(line) if line.startswith("{") else line
        said = _STAMP.sub("", said).strip(_DECORATION)[:_LONGEST]
        if _ERROR.search(said) and not _NO_ERROR.search(said):
            return said
    return ""


def _backwards(text: str) -> Iterator[str]:
    """Its lines, cleaned, the last one first; those that show nothing are left out."""
    for line in reversed(text[-_LOOKED_AT:].split("\n")):
        shown = _ESCAPES.sub("", line.rstrip("\r")).rpartition("\r")[2].rstrip()
        if shown:
            yield shown


def _said(line: str) -> str:
    """What a line of JSON says in words; "" when it says nothing."""
    try:
        document: Any = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(document, dict):
        return ""
    texts = (value.get("message") if isinstance(value, dict) else value for value in map(document.get, _SAID_IN))
    said = next((text.strip().partition("\n")[0] for text in texts if isinstance(text, str) and text.strip()), "")
    tells_of_error = document.get("is_error") is True or document.get("error") or _is_error(document)
    return f"error: {said}" if said and tells_of_error and not _ERROR.search(said) else said


def _is_error(document: dict[str, Any]) -> bool:
    return any(str(document.get(name)).lower() in _LEVELS for name in ("level", "severity", "type"))
