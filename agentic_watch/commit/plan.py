"""What one commit still lacks. Pure: nothing here touches a file."""

from __future__ import annotations

from typing import NamedTuple


class Plan(NamedTuple):
    """What is missing for one commit."""

    append: bool
    insert: bool
    mark: bool
    committed_at: str

    @property
    def nothing(self) -> bool:
        """Whether nothing is to be written."""
        return not (self.append or self.insert or self.mark)

    @property
    def is_new(self) -> bool:
        """Whether a line or a row is made: only then something is committed. A row that a marked line brings back is
        recovered."""
        return self.append or (self.insert and self.mark)


def decide(
    marked: bool, row: str | None, line: str | None, now: str, *, differs: bool = False, pruned: bool = False
) -> Plan:
    """Say what is missing, given what is there. Pure.

    `marked`: the marker has this identity. `row`, `line`: the committed_at of the history row and of the
    journal line with this identity, None when there is none (or the history cannot tell). A marker that
    neither confirms counts as none: an agent can forge it. `differs`: the status says otherwise than the row or line
    of its own identity; then it is not recorded a second time. `pruned`: a row of its age would have been pruned; then
    a marker or a line alone says that it is done.
    """
    if pruned and row is None and (marked or line is not None):
        return Plan(append=False, insert=False, mark=False, committed_at=line or "")
    if marked and row is not None:
        return Plan(append=False, insert=False, mark=False, committed_at=row)
    if marked and line is not None:
        return Plan(append=False, insert=True, mark=False, committed_at=line)
    if differs and row is not None and line is None:
        return Plan(append=False, insert=False, mark=False, committed_at=row)
    return Plan(append=line is None, insert=row is None, mark=True, committed_at=line or row or now)
