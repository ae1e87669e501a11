"""The filters shared by all answers, as SQL conditions, including those of a change: pull request, issue, branch,
commit or session.
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
    """The number of an issue or a pull request, with or without `#`; None when invalid."""
    match = _NUMBER.fullmatch(value)
    return int(match[1]) if match else None


def _request(words: Dialect, value: str) -> Term:
    """Pull requests with this number on any host, or with this URL or one of its subpages."""
    if (asked := number(value)) is not None:
        return words.of_request.format("rtrim(d.pr_url, '/') LIKE ?"), [f"%/{asked}"]
    url = _PART.sub("", _TAIL.sub("", value).rstrip("/"))
    # The second condition lets SQLite use a partial index.
    return "(d.pr_url IN (?, ?) AND d.pr_url <> '')", [url, f"{url}/"]


def _commit(value: str) -> Term:
    """Runs that left this commit; a prefix of the hash is enough."""
    prefix = value.lower()
    if _HASH.fullmatch(prefix):
        # "g" sorts after every hexadecimal digit in every collation.
        return f"(d.head_commit >= '{prefix}' AND d.head_commit < '{prefix}g')", []
    return "d.head_commit = ?", [value]


def _issue(value: str) -> Term:
    """Dispatches for this issue."""
    return "(d.issue = ? AND d.issue <> 0)", [number(value) or 0]


def _branch(value: str) -> Term:
    """Dispatches on this branch."""
    return "(d.branch = ? AND d.branch <> '')", [value]


def _session(value: str) -> Term:
    """Dispatches with this session id of the agent's program."""
    return "d.session_id = ?", [value]


Texts = tuple[str, ...]

NAMED = ("repo", "org", "model", "status", "workspace", "host")
"""Columns that are compared for equality."""

REPOSITORY = "CASE WHEN d.org = '' THEN d.repo ELSE d.org || '/' || d.repo END"
"""The full name of a repository: two organisations may have repositories with the same name."""


class Filter(NamedTuple):
    """Selects dispatches; "" and () do not filter, and any of several values may match.

    All words of `search` must occur; the last may be a prefix. An `agent` is a base or base:model. `since`,
    `committed_since` (inclusive) and `until` (exclusive) have the format of `updated_utc`. A `workspace` matches its
    name at the commit and its current name. `pr` are numbers or URLs of pull requests, `commit` prefixes of hashes.
    `every` selects every commit of a dispatch, else only its newest.
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
    """The WHERE clause for `d` ("" without any filter) and its values; `more` terms are ANDed."""
    terms = [*_terms(source, wanted), *more]
    if not wanted.every:
        # Last, because it needs another lookup for each remaining row.
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
        # "…08Z" sorts after "…08.000000000Z", as this bound requires.
        ("committed_at", ">=", wanted.committed_since),
    ):
        if bound:
            yield f"d.{column} {sign} ?", [bound]
    if wanted.search:
        yield source.dialect.searching, [source.search_value(wanted.search)]


def among(column: str, values: Sequence[str]) -> Term:
    """A column equals one of the values; for one value in the form for which every planner uses an index."""
    if len(values) == 1:
        return f"{column} = ?", [*values]
    return f"{column} IN ({', '.join('?' * len(values))})", [*values]


def _agent(agent: str) -> Term:
    """`codex` matches codex:gpt-5 too. Without LIKE, for which `_` and `%` are syntax, and without a range, which needs
    the C collation."""
    base = f"{agent}:"
    return f"(d.agent = ? OR substr(d.agent, 1, {len(base)}) = ?)", [agent, base]
