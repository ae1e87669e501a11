"""How much a tool says at most: a model reads it, and agents write the texts."""

from __future__ import annotations

from typing import Any

LONGEST_TEXT = 1_000
LONGEST_LIST = 50
MOST_ROWS = 200
"""So many rows may be asked for."""


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def bounded(value: Any, cut: dict[str, str], name: str = "") -> Any:
    """A document of the same shape with every text and list within bounds.

    `cut` takes a sentence for each list (by its name) of which there is more.
    """
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, dict):
        return {key: bounded(item, cut, key) for key, item in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) > LONGEST_LIST:
        cut.setdefault(name, f"{name}: the first {LONGEST_LIST} of {len(value):,}")
    return [bounded(item, cut, name) for item in value[:LONGEST_LIST]]
