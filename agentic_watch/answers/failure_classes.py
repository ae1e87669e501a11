"""What is the same about two failures? Their words without paths, numbers, hashes and quotes."""

from __future__ import annotations

import functools
import re

from agentic_watch.answers.agent_causes import cause_said

_READ = 400
_SHOWN = 120
_DIGITS = bytes.maketrans(b"23456789", b"11111111")

_HASH = r"(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,}(?:-[0-9a-f]+)*"
"""Seven hexadecimal digits or more, of both kinds: a word or a number alone is none."""

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'`“”<>]*", re.IGNORECASE)
"""Up to a quote: what stands around it belongs to the message."""

_TAKEN_OUT = (
    (_URL, "URL"),
    (re.compile(r'"[^"\n]*"|“[^”\n]*”|`[^`\n]*`|(?<!\w)\'[^\'\n]*\'(?!\w)'), "…"),
    (re.compile(r"(?<![\w/])(?:[\w.~-]*/)+[\w.@-]+(?::\d+)*"), "PATH"),
    (re.compile(r"\b[\w-]+\.(?:go|py|ts|js|rs|java|rb|c|h|cpp|md|json|yaml|yml|toml|sql|sh)\b(?::\d+)*"), "PATH"),
    (re.compile(rf"\b(?:0x[0-9a-f]+|{_HASH})\b", re.IGNORECASE), "HASH"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "N"),
    (re.compile(r"\s+"), " "),
)
"""What differs from one failure to the next, and what stands in its place; in this order."""

_PLACE = re.compile(r"(?<![\w.~/-])[\w.~/-]*\w\.[a-z]\w{0,4}\b(?![\w./-])(?::\d+)*", re.IGNORECASE)
"""A file with its suffix, and perhaps a line and a column of it: `src/menu.go:429:3`."""


def failure_class(question: str, verdicts: tuple[int | None, int | None, int | None, int | None]) -> str:
    """The class of a failure: what agents' programs are known to mean by its question, else the words of that, else
    the verdicts that failed; "" when there is neither.

    `verdicts` are the report's: passed, build, test and lint, in this order; 0 is false, None unknown.
    """
    if question.strip():
        first = question.strip().partition("\n")[0][:_READ]
        return cause_said(first, of_host=False) or normalised(question)
    passed, build, test, lint = verdicts
    failed = [name for name, value in (("build", build), ("tests", test), ("lint", lint)) if value == 0]
    if failed:
        return f"failing: {', '.join(failed)}"
    return "failing: the report's verdict" if passed == 0 else ""


def normalised(text: str) -> str:
    """The words of a message that are the same each time it comes; its first line says what is the matter."""
    return _normalised(digits_alike(text.strip().partition("\n")[0][:_READ]))


def without_places(text: str) -> str:
    """The text without URLs and the names of files: their words and numbers say nothing of what is the matter."""
    return _PLACE.sub(" ", _URL.sub(" ", text))


def digits_alike(text: str) -> str:
    """The text with all digits but 0 as one: a hundred thousand messages are a few then, and 0x is still 0x."""
    # As bytes: a text's own `translate` takes four times as long.
    return text.encode(errors="surrogatepass").translate(_DIGITS).decode(errors="surrogatepass")


@functools.lru_cache(maxsize=10_000)
def _normalised(words: str) -> str:
    for pattern, stands in _TAKEN_OUT:
        words = pattern.sub(stands, words)
    return words.strip()[:_SHOWN]
