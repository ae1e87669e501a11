"""JSON out of what a program printed: one document, one a line, and other words between them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from agentic_watch.dispatch.left_file import MAX_VALUES, Unreadable, utf_8
from agentic_watch.workspace.jsontext import MAX_DEPTH, holds_more_values

_BEGINNING = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
_DECODER = json.JSONDecoder()
_BROKEN_AT_MOST = 100
"""Documents of several lines that turn out to be none: the decoder counts the lines before each of its errors."""


def objects(data: bytes) -> Iterator[dict[str, Any]]:
    """Every JSON object that begins a line, and those in a list that does. Raises Unreadable for too much of it."""
    data = utf_8(data)
    if holds_more_values(data, MAX_VALUES):
        raise Unreadable(f"holds more than {MAX_VALUES} values")
    for value in _values(data.decode("utf-8", "replace")):
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict))


def _values(text: str) -> Iterator[Any]:
    place = broken = 0
    while (found := _BEGINNING.search(text, place)) is not None:
        start = found.end()
        place = text.find("\n", start) + 1 or len(text)
        try:
            yield _DECODER.raw_decode(text[start:place])[0]
        except json.JSONDecodeError as error:
            if broken >= _BROKEN_AT_MOST or error.pos < len(error.doc.rstrip()):
                continue  # words that begin like JSON
            value, end = _decoded(text, start)
            broken += value is None
            place = max(place, end)
            yield value
        except RecursionError as error:
            raise Unreadable(f"is nested deeper than {MAX_DEPTH}") from error
        except ValueError:
            continue  # a number of too many digits (sys.set_int_max_str_digits)


def _decoded(text: str, start: int) -> tuple[Any, int]:
    """A document of several lines and its end; None, and the line in which it broke, when it is none."""
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        return None, text.rfind("\n", 0, error.pos) + 1
    except RecursionError as error:
        raise Unreadable(f"is nested deeper than {MAX_DEPTH}") from error
    except ValueError:
        return None, start
