"""Directories that no event will lead back to, so they are looked at again by the clock.

- *refused*: could not be opened; whoever made them may open them a moment later, or an operator some day.
- *bared*: the status file was taken away. It may be back in a moment; else the workspace is a level again.
- *silenced*: had more events than is sensible, so it is looked at instead of heard (noise.py).

Times are passed in, seconds of the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agentic_watch.watch.noise import Silence
from agentic_watch.watch.watches import Node

_BARE_SECONDS = 1.0
_TRY_SECONDS = 5.0
_REFUSED_AT_MOST = 4096


class Refused:
    """By directory, the names below it that could not be looked into. So many at most: the scan finds the others."""

    def __init__(self) -> None:
        self._names: dict[Node, set[str]] = {}
        self._count = 0

    def add(self, parent: Node, base: str) -> None:
        """The directory `base` could not be looked into."""
        if self._count < _REFUSED_AT_MOST:
            names = self._names.setdefault(parent, set())
            self._count += base not in names
            names.add(base)

    def admit(self, parent: Node, base: str) -> None:
        """It is looked into, or gone."""
        names = self._names.get(parent)
        if names is not None and base in names:
            names.discard(base)
            self._count -= 1
            if not names:
                del self._names[parent]

    def below(self, parent: Node) -> set[str]:
        """The names below one directory."""
        return self._names.get(parent, set())

    def all(self) -> Iterator[tuple[Node, set[str]]]:
        """All of them, as they are now."""
        return iter([(node, set(names)) for node, names in self._names.items()])

    def forget(self, parent: Node) -> None:
        """The directory that holds them is watched no longer."""
        self._count -= len(self._names.pop(parent, ()))


@dataclass(slots=True)
class Revisits:
    """Owned by one thread."""

    _silenced: dict[Node, Silence] = field(default_factory=dict)
    _calming: dict[Node, Silence] = field(default_factory=dict)
    _bared: dict[Node, float] = field(default_factory=dict)
    _next_try: float = 0.0

    def bare(self, workspace: Node, now: float) -> None:
        """Its status was taken away."""
        self._bared.setdefault(workspace, now + _BARE_SECONDS)

    def silence(self, node: Node, now: float, before: Silence | None) -> None:
        """It is too loud; `before` is its last silence, when that is not known here."""
        self._silenced[node] = Silence.beginning(now, self._calming.pop(node, before))

    def loud(self) -> dict[str, Silence]:
        """Those that are silenced, or not calm for long, by their path below the root."""
        return {node.name: silence for node, silence in (*self._silenced.items(), *self._calming.items())}

    def hear_again(self, node: Node, now: float) -> None:
        """It has its watch back."""
        silence = self._silenced.pop(node)
        silence.heard_again(now)
        self._calming[node] = silence

    def forget(self, node: Node) -> None:
        """It is part of the tree no longer."""
        self._silenced.pop(node, None)
        self._calming.pop(node, None)

    def patience(self, longest: float, now: float) -> float:
        """Seconds until one of them is due, at most `longest`."""
        due = [*self._bared.values(), *(silence.next_look for silence in self._silenced.values())]
        return max(0.0, min([*due, now + longest]) - now)

    def due_bared(self, now: float) -> list[Node]:
        """Those whose status has been away for a moment."""
        due = [node for node, at in self._bared.items() if at <= now]
        for node in due:
            del self._bared[node]
        return due

    def due_silenced(self, now: float) -> list[tuple[Node, Silence]]:
        """Those that are to be looked at."""
        return [(node, silence) for node, silence in self._silenced.items() if silence.next_look <= now]

    def calmed(self, now: float) -> list[Node]:
        """Those that have kept their watch for long enough."""
        calm = [node for node, silence in self._calming.items() if silence.calm_at <= now]
        for node in calm:
            del self._calming[node]
        return calm

    def is_time_to_try(self, now: float) -> bool:
        """Whether the refused ones are to be tried again."""
        if now < self._next_try:
            return False
        self._next_try = now + _TRY_SECONDS
        return True
