"""Which dispatches belong to a change: its pull request, issue, branch, commit or the agent's session, as SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agentic_watch.answers.past.dialect import Dialect

Term = tuple[str, list[object]]
"""A condition and the values of its `?`."""

_NUMBER = re.compile(r"#?0*(\d{1,18})", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
_TAIL = re.compile(r"(?:[?#].*)?\Z", re.DOTALL)
_PART = re.compile(r"/(?:files|commits|checks|diffs|pipelines)\Z")


def number(value: str) -> int | None:
    """The number of an issue or a pull request, also as `#42`; None when it is none."""
    match = _NUMBER.fullmatch(value)
    return int(match[1]) if match else None


def request(words: Dialect, value: str) -> Term:
    """That the pull request has this number, whoever hosts it, or this URL: one of its pages is as good."""
    if (asked := number(value)) is not None:
        return words.of_request.format("rtrim(d.pr_url, '/') LIKE ?"), [f"%/{asked}"]
    url = _PART.sub("", _TAIL.sub("", value).rstrip("/"))
    # The second condition is what a partial index is chosen by.
    return "(d.pr_url IN (?, ?) AND d.pr_url <> '')", [url, f"{url}/"]


def commit(value: str) -> Term:
    """That the run left this commit; of a hash its beginning is enough."""
    prefix = value.lower()
    if _HASH.fullmatch(prefix):
        # "g" comes behind every digit of a hash, in every collation.
        return f"(d.head_commit >= '{prefix}' AND d.head_commit < '{prefix}g')", []
    return "d.head_commit = ?", [value]


def issue(value: str) -> Term:
    """That it is about this issue."""
    return "(d.issue = ? AND d.issue <> 0)", [number(value) or 0]


def branch(value: str) -> Term:
    """That its branch is this one."""
    return "(d.branch = ? AND d.branch <> '')", [value]


def session(value: str) -> Term:
    """That the agent's program called its session so."""
    return "d.session_id = ?", [value]


def any_of(terms: Sequence[Term]) -> Iterator[Term]:
    """One condition for the values of one filter; none where there is none."""
    if terms:
        yield f"({' OR '.join(text for text, _ in terms)})", [value for _, values in terms for value in values]
