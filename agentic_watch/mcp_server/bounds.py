"""Answers that a client can take: no text and no list is longer than it needs to be."""

from __future__ import annotations

from typing import Any

LONGEST_TEXT = 1_000
LONGEST_LIST = 50


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def bounded(value: Any, longest_list: int = LONGEST_LIST) -> Any:
    """A document with every text and list within bounds; the rest of a list is counted in its last item."""
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, dict):
        return {key: bounded(item, longest_list) for key, item in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    more = len(value) - longest_list
    kept = [bounded(item, longest_list) for item in value[:longest_list]]
    return [*kept, {"more": more}] if more > 0 else kept
