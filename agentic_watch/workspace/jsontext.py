"""JSON from hostile hands: bounded in depth and count, finite, and always writable as UTF-8.

RFC 8259. Go's encoding/json is the other reader and writer of these files.
"""

from __future__ import annotations

import json
import math
from typing import Any

from agentic_watch.workspace.errors import Malformed

MAX_DEPTH = 100
"""Deeper nesting is refused: other readers of a journal give up at a depth of their own."""
MAX_VALUES = 250_000
"""One byte of JSON can cost a hundred in memory (`{},{},`): the count is bounded, not only the size."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"holds {name}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"holds a number out of range ({text[:20]})")
    return number


def load_object(data: bytes, label: str, max_values: int = MAX_VALUES, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Parse one JSON object. Raises Malformed, which names `label` and the cause."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(label, f"is not UTF-8 (byte {error.start})") from error
    openers = data.count(b"[") + data.count(b"{")
    if openers + data.count(b",") > max_values:
        raise Malformed(label, f"holds more than {max_values} values")
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_refuse_constant)
        if openers > max_depth and _deeper(value, max_depth):
            raise Malformed(label, f"is nested deeper than {max_depth}")
        if "\\u" in text:
            dump(value).encode("utf-8")
    except RecursionError as error:
        raise Malformed(label, f"is nested deeper than {max_depth}") from error
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


def dump(value: Any, *, sort_keys: bool = True) -> str:
    """JSON text with no spaces, keys sorted at every level as Go sorts a map."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys, separators=(",", ":"))
