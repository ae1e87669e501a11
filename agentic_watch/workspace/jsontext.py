"""Parses untrusted JSON: limited in depth and number of values, finite numbers, valid UTF-8.

RFC 8259. Go's encoding/json reads and writes the same files.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any

from agentic_watch.workspace.workspace_errors import Malformed, TooLarge

MAX_DEPTH = 100
"""Deeper nesting is rejected, since other readers of a journal have limits of their own."""
MAX_VALUES = 250_000
"""One byte of JSON can cost a hundred in memory (`{},{},`): the count is bounded, not only the size."""


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_CONTINUATION = bytes(range(0x80, 0xC0))
_FOUR_WIDE = re.compile(rb"[\xf0-\xf4]")
_TEXT = re.compile(rb'"[^"]*+"')
_TWO_WIDE = re.compile(rb"[\xc4-\xef]")


def text_size(data: bytes) -> int:
    """Size in memory of the text of UTF-8 `data`: every character is as wide as the widest one (PEP 393)."""
    characters = len(data.translate(None, _CONTINUATION))
    if _FOUR_WIDE.search(data):
        return 4 * characters
    return 2 * characters if _TWO_WIDE.search(data) else characters


def holds_more_values(data: bytes, max_values: int) -> bool:
    """Whether a JSON document has more than `max_values` values, estimated from its punctuation before parsing."""
    if len(data) <= max_values or _punctuation(data) <= max_values:
        return False
    # Commas in texts do not count: with escapes removed, every quotation mark begins or ends a text.
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return _punctuation(_TEXT.sub(b"", plain)) > max_values


def _punctuation(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{") + data.count(b",")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"holds {name}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"holds a number out of range ({text[:20]})")
    return number


def load_object(data: bytes, label: str, max_values: int = MAX_VALUES, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Parse one JSON object; a byte order mark is ignored (RFC 8259, 8.1).

    Raises Malformed, which names `label` and the cause.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(label, f"is not UTF-8 (byte {error.start})") from error
    if holds_more_values(data, max_values):
        raise TooLarge(label, f"holds more than {max_values} values")
    openers = data.count(b"[") + data.count(b"{")
    try:
        value = _DECODER.decode(text)
        if openers > max_depth and _deeper(value, max_depth):
            raise TooLarge(label, f"is nested deeper than {max_depth}")
        if _SURROGATE.search(text):
            _refuse_surrogates(value)
    except RecursionError as error:
        raise TooLarge(label, f"is nested deeper than {max_depth}") from error
    except json.JSONDecodeError as error:
        raise Malformed(label, f"is not JSON: {error.msg} at character {error.pos}" if data else "is empty") from error
    except UnicodeEncodeError as error:
        raise Malformed(label, "holds half of a surrogate pair, which is not text") from error
    except ValueError as error:
        cause = "holds a number of too many digits" if "int_max_str_digits" in str(error) else str(error)
        raise Malformed(label, cause) from error
    if not isinstance(value, dict):
        raise Malformed(label, "is not a JSON object")
    return value


def _deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _refuse_surrogates(value: Any) -> None:
    """Raise UnicodeEncodeError for a lone surrogate; each text separately, to save memory."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            item.encode("utf-8")
        elif isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def dump(value: Any, *, sort_keys: bool = True) -> str:
    """JSON text with no spaces, keys sorted at every level as Go sorts a map."""
    return (_SORTING if sort_keys else _KEEPING).encode(value)


def as_text(value: Any) -> Any:
    """A copy of a document whose texts and keys are all valid UTF-8; file names may not be."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {as_text(key): as_text(item) for key, item in value.items()}
    return [as_text(item) for item in value] if isinstance(value, (list, tuple)) else value


# Created once: json.dumps and json.loads create a new one per call with non-default options.
_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)
_SORTING, _KEEPING = (
    json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=sort_keys, separators=(",", ":"))
    for sort_keys in (True, False)
)


def object_in(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else {}."""
    return value if isinstance(value, dict) else {}


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The objects in `value` if it is a list, else []."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
