"""What the program may make of what is there, and what it must: the model. Pure; read docs/durability.md beside it.

A dispatch is known by its content (records.Dispatch). It is recorded once, wherever its directory goes: where a journal
or a marker holds it under a name that has its row, nothing is left to do.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Set

from .records import Dispatch, Line, Records, Row, Where, Workspace

Seen = Mapping[Where, Set[Dispatch]]
"""By workspace, the finishes that a daemon has read, and that may have gone from the disk since."""


def wrong(before: Records, after: Records, seen: Seen, *, whole: bool) -> Iterator[str]:
    """What an action of the program did that it may not do; a `whole` one was a pass over all that there is."""
    yield from _rows_changed(before, after)
    yield from _rows_made(before, after, seen, whole=whole)
    for where, there in after.workspaces.items():
        yield from _journal_changed(where, before, after, seen)
        yield from _marker_changed(where, before, there, seen)


def lacking(
    before: Records,
    after: Records,
    late: Set[Dispatch] = frozenset(),
    pruned: Set[tuple[Where, Dispatch]] = frozenset(),
) -> Iterator[str]:
    """What a pass that was not disturbed has left undone; the rows of those that were `late` may come back later,
    and of those that were known to be `pruned` where they are nothing is left to do."""
    yield from lacking_rows(before, after, late)
    for where, there in after.workspaces.items():
        if there.dispatch is None or there.dispatch in late:
            continue
        if (where, there.dispatch) not in pruned and not before.was_done(where, there.dispatch):
            yield from _lacking_of_status(where, there, there.dispatch, before, after)


def lacking_rows(before: Records, after: Records, late: Set[Dispatch] = frozenset()) -> Iterator[str]:
    """The lines that have no row, though they are not so old that it would have been pruned. What rows that came
    meanwhile tell of a line's name is found by the next pass."""
    for where, there, line in _lines_without_row(after):
        if line.dispatch not in late and _counts(where, there, line, before, after):
            yield f"{where}: the line of {line.name}, {line.dispatch} has no row"


def left_alone(records: Records) -> Iterator[Dispatch]:
    """Those whose lines need no row while somebody has the name that they bear, and those that are not recorded since a
    line there says otherwise of the same identity. Either may end, and nobody looks then."""
    for where, there, line in _lines_without_row(records):
        if not _counts(where, there, line, records, records):
            yield line.dispatch
    for where, there in records.workspaces.items():
        dispatch = there.dispatch
        has_row = dispatch is not None and any(True for _ in records.rows_of(dispatch))
        if dispatch is not None and not has_row and says_otherwise(where, there, dispatch, records):
            yield dispatch


def _lines_without_row(records: Records) -> Iterator[tuple[Where, Workspace, Line]]:
    for where, there in records.workspaces.items():
        for line in there.lines:
            taken = any(w[1] == line.name and key == line.dispatch.key for w, key in records.rows)
            # One dispatch may stand under two names, in copies of which the history was lost: it has one row.
            others = line.name != where[1] and any(True for _ in records.rows_of(line.dispatch))
            done = (
                taken or others or records.is_recorded(where, line.dispatch) or records.was_done(where, line.dispatch)
            )
            if not done:
                yield where, there, line


def _counts(where: Where, there: Workspace, line: Line, before: Records, after: Records) -> bool:
    """Whether a line must have a row. An agent can write any name: another one than the place's must be its workspace's
    former one for sure, or stand before all that were written here and be that of nobody else that the history or the
    disk know."""
    if line.name == where[1] or line.dispatch == there.dispatch:
        return True
    if any(one.name == line.name and before.has_row(one.name, one.dispatch) for one in there.lines):
        return True
    names = [one.name for one in there.lines]
    if where[1] in names and names.index(where[1]) < names.index(line.name):
        return False
    named = where[0], line.name
    return named not in after.workspaces and all(row.where != named for row in after.rows.values())


def _lacking_of_status(
    where: Where, there: Workspace, dispatch: Dispatch, before: Records, after: Records
) -> Iterator[str]:
    if says_otherwise(where, there, dispatch, after):
        return
    if not after.is_recorded(where, dispatch):
        yield f"{where}: finished {dispatch} has no row"
    was = before.at(where)
    names = there.names(dispatch)
    # A row that a copy's line brings back vouches for the marker as well as one that was there, and so does that of an
    # original which lost its own, and its journal: that is committed anew.
    named = was.mark is not None and any(
        row.where != where and row.where[1] == was.mark.name for row in after.rows_of(dispatch)
    )
    has_row = (
        named
        or before.is_recorded(where, dispatch)
        or any(line.dispatch == dispatch for other in before.workspaces for line in before.at(other).lines)
    )
    vouched = was.mark is not None and was.mark.key == dispatch.key and has_row
    if not names and not vouched:
        yield f"{where}: finished {dispatch} has no line"
    mark = there.mark
    if mark is None or mark.key != dispatch.key:  # it may name any place where the directory was
        yield f"{where}: the marker is {mark}, not that of {dispatch}"
    own, new = after.rows.get((where, dispatch.key)), there.lines[len(was.lines) :]
    if new and own is not None and mark is not None:
        # The row may have come of a line of its name that another directory has.
        others = (line for other in after.workspaces.values() if other is not there for line in other.lines)
        came = {line.committed_at for line in others if (line.name, line.dispatch) == (where[1], dispatch)}
        told = {new[-1].committed_at, mark.committed_at} | {own.committed_at} - came
        if len(told) > 1:
            yield f"{where}: line, row and marker of {dispatch} were made, and differ: {told}"


def says_otherwise(where: Where, there: Workspace, dispatch: Dispatch, records: Records) -> bool:
    """Whether this identity is recorded there, or is known there by another name, with other content."""
    own = records.rows.get((where, dispatch.key))
    if own is not None and (own.dispatch, own.said) != (dispatch, there.said):
        return True
    lines = [(x.dispatch, x.said) for x in there.lines if x.name == where[1] and x.dispatch.key == dispatch.key]
    lines += [(x.dispatch, x.said) for x in there.lines if x.dispatch == dispatch]
    lines += [(row.dispatch, row.said) for row in records.rows_of(dispatch) if records.is_recorded(where, dispatch)]
    return any(one != (dispatch, there.said) for one in lines)


def holders(row: Row, records: Records) -> list[Where]:
    """The places whose journal or marker has a row's commit."""
    hold = (where for where in records.workspaces if records.names_told(where, row.dispatch))
    return [where for where in hold if row in records.rows_told(where, row.dispatch)]


# --- rows


def _rows_changed(before: Records, after: Records) -> Iterator[str]:
    for identity, row in before.rows.items():
        now = after.rows.get(identity)
        if now is None:
            yield f"the row of {identity} is lost"
        elif now[:4] != row[:4] or now.host != row.host:
            yield f"the row of {identity} was {row[:4]}, and is {now[:4]}"


def _rows_made(before: Records, after: Records, seen: Seen, *, whole: bool) -> Iterator[str]:
    made = [row for identity, row in after.rows.items() if identity not in before.rows]
    for row in made:
        if _is_asked_for(row, before, after, seen):
            continue
        lines = dict(_lines_for(row, before))
        if not lines:
            yield f"nothing asked for the row {row[:4]}"
        at_home = {where for where in lines if where[1] == row.where[1]}
        if whole and at_home and row.where not in at_home:
            yield f"the row {row[:4]} was made of a line elsewhere, though it stands under its own name in {at_home}"
    for (name, dispatch), count in Counter((row.where[1], row.dispatch) for row in made).items():
        same = [row for row in made if (row.where[1], row.dispatch) == (name, dispatch)]
        asked_for = sum(_is_asked_for(row, before, after, seen) for row in same)
        recovered = any(True for row in same for _ in _lines_for(row, before))
        if count > asked_for + recovered:
            yield f"{dispatch} has {count} new rows under {name}"


def _is_asked_for(row: Row, before: Records, after: Records, seen: Seen) -> bool:
    """Whether a status that is, or was seen, finished there asked for it, and nothing there told that it is done."""
    where, dispatch = row.where, row.dispatch
    there = before.at(where)
    if dispatch not in _finished(where, there, seen):
        return False
    own = before.rows.get((where, dispatch.key))
    told = before.names_in_force(where, dispatch, after) or before.is_recorded(where, dispatch)
    return not told and not _is_done(where, before, dispatch, seen) and (own is None or own.dispatch != dispatch)


def _lines_for(row: Row, before: Records) -> Iterator[tuple[Where, Line]]:
    """The lines, by the workspace that has them, that a row may come from: it is recovered as what they name."""
    if before.has_row(row.where[1], row.dispatch) or before.is_old(row.dispatch, row.committed_at):
        return
    for where, there in before.workspaces.items():
        for line in there.lines:
            named = line.name, line.dispatch, line.committed_at
            is_its = named == (row.where[1], row.dispatch, row.committed_at) and where[0] == row.where[0]
            if is_its and not before.is_recorded(where, line.dispatch):
                yield where, line


# --- journals and markers


def _finished(where: Where, there: Workspace, seen: Seen) -> Set[Dispatch]:
    now = {there.dispatch} if there.dispatch is not None else set()
    return now | seen.get(where, frozenset())


def _is_done(where: Where, before: Records, dispatch: Dispatch, seen: Seen) -> bool:
    """Whether line or marker told that it was pruned; a finish that was replaced takes the place of the marker of an
    earlier one."""
    is_there = before.at(where).dispatch == dispatch
    return before.was_done(where, dispatch, by_marker=is_there or not seen.get(where, frozenset()) - {dispatch})


def _journal_changed(where: Where, before: Records, after: Records, seen: Seen) -> Iterator[str]:
    was, there = before.at(where), after.at(where)
    if not there.journal.startswith(was.whole):
        yield f"{where}: the journal is not what it was with lines at its end"
    for (name, dispatch), count in Counter((line.name, line.dispatch) for line in there.lines).items():
        if count > 1 and count > sum((line.name, line.dispatch) == (name, dispatch) for line in was.lines):
            yield f"{where}: {count} lines of {name}, {dispatch}"
    for line in there.lines[len(was.lines) :]:
        dispatch = line.dispatch
        seen_here = {row.where[1] for row in before.rows_of(dispatch) if where in (row.where, row.seen_at)}
        if line.name not in seen_here | {where[1]} or dispatch not in _finished(where, was, seen):
            yield f"{where}: nothing asked for the line of {line.name}, {dispatch}"
        elif before.names_in_force(where, dispatch, after) or (
            before.is_elsewhere(where, dispatch) and not before.has_own_row(where, dispatch)
        ):
            yield f"{where}: {dispatch} is recorded under another name, and got a line"
        elif _is_done(where, before, dispatch, seen):
            yield f"{where}: {dispatch} was pruned, and got a line"


def _marker_changed(where: Where, before: Records, there: Workspace, seen: Seen) -> Iterator[str]:
    was = before.at(where)
    if there.marker == was.marker:
        return
    if there.mark is None:
        if was.mark is not None:
            yield f"{where}: the marker {was.mark} is gone"
        return
    for dispatch in _finished(where, was, seen):
        # The status may say otherwise of it than the row: that is warned of, and the commit is marked.
        here = (row for row in before.rows.values() if row.seen_at == where)
        came_as = {row.where[1] for row in here if row.dispatch.key == dispatch.key}
        if there.mark.key == dispatch.key and there.mark.name in there.names(dispatch) | {where[1]} | came_as:
            return
    yield f"{where}: nothing asked for the marker {there.mark}"


# --- check --repair


def lines_lost(where: Where, records: Records) -> set[Line]:
    """The lines that may be written again: those of rows of this very workspace that are not there."""
    there, host = records.at(where), os.uname().nodename
    return {
        Line(where[1], row.dispatch, row.said, row.committed_at)
        for row in records.rows.values()
        if row.where == where and row.host == host and row.moved_to is None and not there.names(row.dispatch)
    }


def is_unconfirmed(where: Where, records: Records) -> bool:
    """Whether the marker there names a commit whose line and row are lost."""
    there = records.at(where)
    if there.mark is None:
        return False
    lines = any(line.dispatch.key == there.mark.key for line in there.lines)
    return not lines and not any(w[1] == there.mark.name and key == there.mark.key for w, key in records.rows)


def differs(where: Where, records: Records) -> bool:
    """Whether a status or a line there has the identity of a row, and says otherwise."""
    there = records.at(where)
    if there.dispatch is not None and says_otherwise(where, there, there.dispatch, records):
        return True
    own = ((line, records.rows.get(((where[0], line.name), line.dispatch.key))) for line in there.lines)
    if any(row is not None and (row.dispatch, row.said) != (line.dispatch, line.said) for line, row in own):
        return True
    moved_here = [row for row in records.rows.values() if row.seen_at == where]
    told = [(line, row) for line in there.lines for row in moved_here if row.dispatch == line.dispatch]
    return any(row.said != line.said for line, row in told)
