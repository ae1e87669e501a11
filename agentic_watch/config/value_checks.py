"""Checks of single values.

A check converts a TOML value to the program's type, or raises BadValueError.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .model import GIB, KIB, MIB
from .paths import BadValueError, clean, expanded, normalised, shown

Check = Callable[[Any], Any]

# Compiled on first use: every start reads a file, and few files need the patterns.
_SIZE = r"\s*([0-9]{1,15})\s*(B|KiB|MiB|GiB)\s*"
_ADDRESS = r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+|localhost):([0-9]{1,5})"
_OPENTELEMETRY_PORT = 9464
_UNITS = {"b": 1, "kib": KIB, "mib": MIB, "gib": GIB}
SPAN = r"([0-9]{1,9})(mo|[mhdw])"
"""The form of a span, such as `7d`; a month (`mo`) has 30 days."""
_PATTERNS_AT_MOST = 32
_COMPONENTS_AT_MOST = 8
_PATTERN_NAME = r"[a-z0-9][a-z0-9-]{0,31}"
_OFTEN = 100
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800, "mo": 30 * 86_400}


def text(value: Any) -> str:
    """Accept a string that is not blank and has no control characters."""
    if not isinstance(value, str):
        raise BadValueError(f'must be a string in quotes, not {shown(value)}; write "..."')
    if not value.strip():
        raise BadValueError("is empty; write a value, or leave the key out")
    return clean(value)


def texts(value: Any) -> tuple[str, ...]:
    """Accept a list of strings, also an empty one."""
    if isinstance(value, str) and value.isprintable() and len(value) < 60:
        raise BadValueError(f'must be a list of strings; write ["{value}"]')
    if not isinstance(value, list):
        raise BadValueError(f'must be a list of strings, not {shown(value)}; write ["...", "..."]')
    passed, problems = [], []
    for index, item in enumerate(value):
        try:
            passed.append(text(item))
        except BadValueError as error:
            problems.append(f"entry {index + 1} {error}")
    if problems:
        raise BadValueError("; ".join(problems))
    return tuple(passed)


def statuses(value: Any) -> frozenset[str]:
    """Accept a list of status names; dispatchers may have more of them than this program knows."""
    names = frozenset(texts(value))
    if not names:
        raise BadValueError("is empty, so no dispatch would ever match; leave the key out for the default")
    return names


def boolean(value: Any) -> bool:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise BadValueError(f"must be true or false, not {shown(value)}")
    return value


def workspace_files(value: Any) -> tuple[str, ...]:
    """Accept a list of globs relative to a workspace, also an empty one; none may lead out of it."""
    patterns = texts(value)
    if len(patterns) > _PATTERNS_AT_MOST:
        raise BadValueError(f"has {len(patterns)} patterns; at most {_PATTERNS_AT_MOST} are looked for")
    for pattern in patterns:
        parts = pattern.split("/")
        if pattern.startswith(("/", "~")) or {"", ".", ".."} & set(parts):
            raise BadValueError(f'{shown(pattern)} must be relative to the workspace; write one such as ".meta/*.log"')
        if "**" in parts or len(parts) > _COMPONENTS_AT_MOST:
            raise BadValueError(
                f"{shown(pattern)}: write out each directory, at most {_COMPONENTS_AT_MOST - 1}; ** is not known"
            )
    return patterns


def patterns(value: Any) -> tuple[tuple[str, str], ...]:
    """Accept a table of names and regular expressions, also an empty one."""
    if not isinstance(value, dict):
        raise BadValueError(f"must be a table; write [redact.patterns], and below it name = '...', not {shown(value)}")
    problems = [
        f"{shown(name)} {problem}" for name, given in value.items() if (problem := _pattern_problem(name, given))
    ]
    if problems:
        raise BadValueError("; ".join(problems))
    return tuple(sorted(value.items()))


def _pattern_problem(name: str, given: Any) -> str:
    """The problem of a pattern; "" when it is valid."""
    if not re.fullmatch(_PATTERN_NAME, name):
        return "is not a valid name of a pattern; use up to 32 lower-case letters, digits and -"
    if not isinstance(given, str):
        return f"must be a regular expression in quotes, not {shown(given)}"
    return regex_problem(given)


def regex_problem(given: str) -> str:
    """Why a regular expression cannot be used; "" when it can."""
    from re import _parser  # type: ignore[attr-defined]  # the parser of re.compile

    try:
        matches_empty = re.compile(given).match("") is not None
        takes_for_ever = _repeats(_parser.parse(given), inside=False)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is not a valid regular expression: {error}"
    if takes_for_ever:
        return "repeats a repetition, which can take for ever on a long text; write the inner one as ++ or *+"
    return "matches the empty text, which is everywhere; have it match at least one character" * matches_empty


def _repeats(pattern: Iterable[tuple[Any, Any]], *, inside: bool) -> bool:
    """Whether an unbounded repetition contains another one: `(a+)+b` tries every way to split the a's. Possessive
    repetitions (`++`) and atomic groups are safe."""
    for kind, given in pattern:
        name, again = str(kind), inside
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            again = inside or int(given[1]) > _OFTEN
            if inside and int(given[1]) > _OFTEN:
                return True
        elif name in ("POSSESSIVE_REPEAT", "ATOMIC_GROUP"):
            again = False
        if any(_repeats(part, inside=again) for part in _parts(given)):
            return True
    return False


def _parts(given: Any) -> Iterable[Any]:
    """The subpatterns of a parsed item."""
    if hasattr(given, "getwidth"):
        return [given]
    return [part for item in given for part in _parts(item)] if isinstance(given, (list, tuple)) else []


def choice(*options: str) -> Check:
    """Make a check that accepts one of `options`."""

    def check(value: Any) -> str:
        if value in options:
            return str(value)
        raise BadValueError(f"must be one of {', '.join(options)}, not {shown(value)}" + _meant(value, options))

    return check


def integer(low: int, high: int) -> Check:
    """Make a check that accepts a whole number from `low` to `high`."""

    def check(value: Any) -> int:
        # In Python a bool is an int; in TOML it is not.
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadValueError(f"must be a whole number, not {shown(value)}; write one such as {high}")
        if not low <= value <= high:
            raise BadValueError(f"must be from {low} to {high}, not {shown(value)}")
        return value

    return check


def seconds(low: float, high: float) -> Check:
    """Make a check that accepts a time in seconds, whole or not, from `low` to `high`."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadValueError(f"must be a number of seconds, not {shown(value)}; write one such as {max(low, 2.0)}")
        # Compared before the conversion, which excludes NaN and huge integers.
        if not low <= value <= high:
            raise BadValueError(f"must be from {low:g} to {high:g} seconds, not {shown(value)}")
        return float(value)

    return check


def span_seconds(text: str) -> int:
    """The seconds of a SPAN. Raises ValueError for anything else."""
    match = re.fullmatch(SPAN, text)
    if match is None or not int(match[1]):
        raise ValueError("is not a span")
    return int(match[1]) * _SECONDS[match[2]]


def days(value: Any) -> str:
    """Accept a span of a day or more, such as `180d`, `26w` or `6mo`."""
    span = text(value)
    try:
        long_enough = span_seconds(span) >= _SECONDS["d"]
    except ValueError:
        raise BadValueError(f'must be a span, not {shown(value)}; write "180d", "26w" or "6mo"') from None
    if not long_enough:
        raise BadValueError(f"must be a day or more, not {shown(value)} (m: minutes, mo: months of 30 days)")
    return span


def size(value: Any) -> int:
    """Accept a size in bytes, 1 KiB to 2 GiB: a whole number, or a string such as `8 MiB`."""
    number = value
    if isinstance(value, str):
        match = re.fullmatch(_SIZE, value, re.IGNORECASE)
        if match is None:
            raise BadValueError(f'{shown(value)} is not a size; write bytes, such as {MIB}, or "512 KiB", "8 MiB"')
        number = int(match[1]) * _UNITS[match[2].lower()]
    if isinstance(number, bool) or not isinstance(number, int):
        raise BadValueError(f'must be a size, not {shown(value)}; write bytes such as {MIB}, or "8 MiB"')
    if not KIB <= number <= 2 * GIB:
        raise BadValueError(f"must be from 1 KiB to 2 GiB, not {shown(value)}")
    return number


def kept_size(value: Any) -> int:
    """Accept a size for kept files, 1 KiB to 4 MiB."""
    number = size(value)
    if number > 4 * MIB:
        raise BadValueError(f"must be from 1 KiB to 4 MiB, not {shown(value)}")
    return number


def address(value: Any) -> str:
    """Accept an address and a port to listen at, such as `127.0.0.1:9477`; an IPv6 address stands in brackets."""
    given = text(value)
    match = re.fullmatch(_ADDRESS, given)
    if match is None or not 1 <= int(match[2]) <= 65_535:
        raise BadValueError(f'{shown(given)} is not an address with a port; write one such as "127.0.0.1:9477"')
    if int(match[2]) == _OPENTELEMETRY_PORT:
        raise BadValueError(f"{shown(given)}: OpenTelemetry's exporters have that port; take another, such as 9477")
    return given


def path(environ: Mapping[str, str]) -> Check:
    """Make a check that accepts a path that is absolute once `~` and `$VAR` are expanded."""

    def check(value: Any) -> str:
        found = expanded(text(value), environ)
        if not os.path.isabs(found):
            raise BadValueError(f"{shown(found)} is relative; write the whole path, such as {os.path.abspath(found)}")
        return normalised(found)

    return check


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The most similar known word; None when none reaches `likeness` (difflib's ratio, 0 to 1)."""
    import difflib  # late: only for typing errors

    return next(iter(difflib.get_close_matches(word, list(known), 1, likeness)), None)


def _meant(value: Any, options: tuple[str, ...]) -> str:
    near = nearest(str(value).lower(), options)
    return f"; did you mean {near}?" if near else ""
