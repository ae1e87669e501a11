"""Which dispatches an answer is about: the filters that all of them share, as a condition in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agentic_watch.answers.past import change_filters
from agentic_watch.answers.past.change_filters import Term
from agentic_watch.answers.past.source import Source

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
    any_of = change_filters.any_of
    yield from any_of([_agent(agent) for agent in wanted.agent])
    yield from any_of([change_filters.request(source.dialect, one) for one in wanted.pr])
    yield from any_of([change_filters.issue(one) for one in wanted.issue])
    yield from any_of([change_filters.branch(one) for one in wanted.branch])
    yield from any_of([change_filters.commit(one) for one in wanted.commit])
    yield from any_of([change_filters.session(one) for one in wanted.session])
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
