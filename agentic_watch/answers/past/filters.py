"""Which dispatches an answer is about: the filters that all of them share, as a condition in SQL.

Which dispatches belong to a change: its pull request, issue, branch, commit or the agent's session, as SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from agentic_watch.answers.past.sql_dialects import Dialect, Source

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


def _request(words: Dialect, value: str) -> Term:
    """That the pull request has this number, whoever hosts it, or this URL: one of its pages is as good."""
    if (asked := number(value)) is not None:
        return words.of_request.format("rtrim(d.pr_url, '/') LIKE ?"), [f"%/{asked}"]
    url = _PART.sub("", _TAIL.sub("", value).rstrip("/"))
    # The second condition is what a partial index is chosen by.
    return "(d.pr_url IN (?, ?) AND d.pr_url <> '')", [url, f"{url}/"]


def _commit(value: str) -> Term:
    """That the run left this commit; of a hash its beginning is enough."""
    prefix = value.lower()
    if _HASH.fullmatch(prefix):
        # "g" comes behind every digit of a hash, in every collation.
        return f"(d.head_commit >= '{prefix}' AND d.head_commit < '{prefix}g')", []
    return "d.head_commit = ?", [value]


def _issue(value: str) -> Term:
    """That it is about this issue."""
    return "(d.issue = ? AND d.issue <> 0)", [number(value) or 0]


def _branch(value: str) -> Term:
    """That its branch is this one."""
    return "(d.branch = ? AND d.branch <> '')", [value]


def _session(value: str) -> Term:
    """That the agent's program called its session so."""
    return "d.session_id = ?", [value]


Texts = tuple[str, ...]

NAMED = ("repo", "org", "model", "status", "workspace", "host")
"""The columns that a filter compares as they are."""

REPOSITORY = "CASE WHEN d.org = '' THEN d.repo ELSE d.org || '/' || d.repo END"
"""A repository's name for people: two organisations may have repositories of one name."""


class Filter(NamedTuple):
    """Which dispatches; "" and () do not filter, of several values one has to match.

    `search` holds words that all occur, the last one perhaps only begun. An `agent` is a base or base:model. `since`,
    `committed_since` (inclusive) and `until` (exclusive) are as `updated_utc` is written. A `workspace` is found by its
    name when it was committed and by the one that it has now. `pr` are numbers or URLs of pull requests, `commit` the
    beginnings of hashes that runs left. `every` asks for every commit of a dispatch, else its
    newest.
    """

    search: str = ""
    repo: Texts = ()
    org: Texts = ()
    agent: Texts = ()
    model: Texts = ()
    status: Texts = ()
    workspace: Texts = ()
    host: Texts = ()
    since: str = ""
    until: str = ""
    committed_since: str = ""
    every: bool = False
    pr: Texts = ()
    issue: Texts = ()
    branch: Texts = ()
    commit: Texts = ()
    session: Texts = ()


def where(source: Source, wanted: Filter, *more: Term) -> tuple[str, list[object]]:
    """The condition on `d` (with its WHERE; "" when all are wanted) and its values; `more` are ANDed."""
    terms = [*_terms(source, wanted), *more]
    if not wanted.every:
        # Last: it asks the table once more for each row that is left.
        terms.append((source.dialect.newest, []))
    text = f" WHERE {' AND '.join(term for term, _ in terms)}" if terms else ""
    return text, [value for _, values in terms for value in values]


def _terms(source: Source, wanted: Filter) -> Iterator[Term]:
    for name in NAMED:
        if values := getattr(wanted, name):
            term, given = among(f"d.{name}", values)
            if name == "workspace":
                term = source.dialect.of_workspace.format(term)
                if moved := source.dialect.moved:
                    now, given_again = among("moved_to", values)
                    term, given = f"({term} OR {moved.format(now)})", [*given, *given_again]
            yield term, given
    makers: tuple[tuple[Texts, Callable[[str], Term]], ...] = (
        (wanted.agent, _agent),
        (wanted.pr, partial(_request, source.dialect)),
        (wanted.issue, _issue),
        (wanted.branch, _branch),
        (wanted.commit, _commit),
        (wanted.session, _session),
    )
    for given_values, make in makers:
        if terms := [make(value) for value in given_values]:
            yield f"({' OR '.join(term for term, _ in terms)})", [value for _, values in terms for value in values]
    for column, sign, bound in (
        ("updated_utc", ">=", wanted.since),
        ("updated_utc", "<", wanted.until),
        # "…08Z" comes after "…08.000000000Z" in the order of text, as the bound wants it.
        ("committed_at", ">=", wanted.committed_since),
    ):
        if bound:
            yield f"d.{column} {sign} ?", [bound]
    if wanted.search:
        yield source.dialect.searching, [source.search_value(wanted.search)]


def among(column: str, values: Sequence[str]) -> Term:
    """That a column is one of some values; of one value in the form that every planner finds an index for."""
    if len(values) == 1:
        return f"{column} = ?", [*values]
    return f"{column} IN ({', '.join('?' * len(values))})", [*values]


def _agent(agent: str) -> Term:
    """`codex` finds codex:gpt-5 too. `_` and `%` are syntax for LIKE; a range needs the C collation."""
    base = f"{agent}:"
    return f"(d.agent = ? OR substr(d.agent, 1, {len(base)}) = ?)", [agent, base]
