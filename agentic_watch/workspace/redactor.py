"""Redacts secrets in texts: each becomes `[redacted:KIND]`. Pure functions.

The result is deterministic, and redacting it again changes nothing, so that line, row and later reads agree.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from agentic_watch.config import Redact
from agentic_watch.workspace.secret_forms import FORMS

_OPENING = "[redacted:"
# Compiled on first use: every start imports this module.
_MARK = r"(\[redacted:[a-z0-9][a-z0-9-]{0,31}\])"
_LONGEST_WORD = 32
_ROUNDS = 8
"""Maximum passes over a text: an operator's pattern may match again next to the result of another one."""
_KEY_END = r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
_KEY_LINE = r"[\s+>|-]*[A-Za-z0-9+/]{16,256}={0,2}\s*"

_Literals = Sequence[tuple[str, int]]
"""Pairs of a literal that a text must contain and the index of the form to search for then."""
_SHARED = ("gl", "gh", "hv", "api", "K", "J", "z", "G", "A", "/", "")
"""Substrings shared by several literals: where one is missing, none of these literals is searched. This halves the
time."""
_LITERALS: dict[str, list[str]] = {part: [] for part in _SHARED}
for _literal in dict.fromkeys(literal for form in FORMS for literal in form.literals):
    _LITERALS[next(part for part in _SHARED if part in _literal)].append(_literal)
_KNOWN = tuple((literal, number) for number, form in enumerate(FORMS) for literal in form.literals)


def mark(kind: str) -> str:
    """The replacement for a secret."""
    return f"{_OPENING}{kind}]"


def may_be_redacted(text: str) -> bool:
    """Whether a text contains such a replacement."""
    return _OPENING in text


class Redactor:
    """Redacts the built-in forms and matches of `patterns` (kind, regular expression); each pattern must compile."""

    def __init__(self, patterns: Iterable[tuple[str, str]] = (), *, built_in: bool = True) -> None:
        self._known: _Literals = _KNOWN if built_in else ()
        self._own = tuple((mark(kind), re.compile(pattern)) for kind, pattern in patterns)

    def text(self, text: str) -> str:
        """Redact a text."""
        return self._text(text, self._known)

    def value(self, value: Any) -> Any:
        """Redact the texts of a JSON value; returns the same object when there is no secret.

        Keys are redacted too: in a dump of an environment or a list of tokens, a key may be a secret. A key that is a
        plain word stays, even if an operator's pattern matches: other programs read it as a name.
        """
        sought = self._sought("\n".join(_texts(value)))
        return self._value(value, sought) if sought or self._own else value

    def may_change(self, text: str) -> bool:
        """Whether a text may contain a secret; false for almost all texts."""
        return bool(self._own or self._sought(text))

    def _sought(self, text: str) -> _Literals:
        """The forms to search for: a literal missing in the whole text is missing in each line."""
        if not self._known:
            return ()
        # A loop instead of any(), which takes twice as long. Most texts end here.
        there = [one for part, some in _LITERALS.items() if part in text for one in some if one in text]
        if not there:
            return ()
        return [known for known in _KNOWN if known[0] in there and _is_in(known[1], text)]

    def _text(self, text: str, sought: _Literals) -> str:
        for _ in range(_ROUNDS):
            before = text
            text = _without_known(text, sought)
            for replacement, pattern in self._own:
                text = _outside_marks(text, replacement, pattern)
            if text == before:
                break
        return text

    def _value(self, value: Any, sought: _Literals) -> Any:
        if isinstance(value, str):
            return self._text(value, sought)
        if isinstance(value, list):
            return [self._value(item, sought) for item in value]
        if not isinstance(value, dict):
            return value
        changed: dict[str, Any] = {}
        for name, item in value.items():
            text = name if _is_word(name) else self._text(name, sought)
            key, number = text, 2
            while key != name and (key in changed or key in value):  # two secrets of the same kind
                key, number = f"{text} {number}", number + 1
            changed[key] = self._value(_beside(name, item, sought), sought)
        return changed

    def is_same(self, recorded: str, said: str) -> bool:
        """Whether a recorded text, possibly redacted, is the text `said` now.

        A mark matches any text: a secret that was redacted on request is still in the status.
        """
        if recorded == said:
            return True
        recorded = self.text(recorded)
        return recorded == said or (_OPENING in recorded and _fits(re.split(_MARK, recorded)[::2], said))


BUILT_IN = Redactor()
"""Redacts the built-in forms only."""


def _without_known(text: str, sought: _Literals) -> str:
    done = -1
    for number in [number for literal, number in sought if literal in text]:
        if number != done:
            done = number
            pattern, replacement = _compiled(number)
            text = pattern.sub(replacement, text)
    return _without_key_ends(text) if "PRIVATE KEY-----" in text else text


def _without_key_ends(text: str) -> str:
    """Redact private keys whose beginning is cut off, as at the start of a log's tail."""
    pieces, done, key_line = [], 0, re.compile(_KEY_LINE)
    for end in re.finditer(_KEY_END, text):
        start = end.start()
        while start > done:
            before = max(text.rfind("\n", done, start - 1) + 1, done)
            if not key_line.fullmatch(text, before, start):
                break
            start = before
        if start < end.start():
            pieces += [text[done:start], mark("private-key")]
            done = end.end()
    return "".join([*pieces, text[done:]])


@functools.cache
def _compiled(number: int) -> tuple[re.Pattern[str], str]:
    """Compile a form on first use: compiling all takes 20 ms at each start."""
    form = FORMS[number]
    pattern = re.compile(form.pattern)
    return pattern, r"\g<1>" * pattern.groups + mark(form.kind)


def _is_in(number: int, text: str) -> bool:
    # The end of a private key has no separate form.
    return FORMS[number].kind == "private-key" or _compiled(number)[0].search(text) is not None


def _outside_marks(text: str, replacement: str, pattern: re.Pattern[str]) -> str:
    if _OPENING not in text:
        return pattern.sub(lambda _: replacement, text)
    pieces = re.split(_MARK, text)
    pieces[::2] = [pattern.sub(lambda _: replacement, piece) for piece in pieces[::2]]
    return "".join(pieces)


def _beside(name: str, item: Any, sought: _Literals) -> Any:
    """Redact a text that is a secret because of its key: `{"authorization": "Bearer …"}`."""
    if not isinstance(item, str) or not sought:
        return item
    start = f"{name}: "
    text = _without_known(start + item, sought)
    return text[len(start) :] if text.startswith(start) else item


def _is_word(name: str) -> bool:
    return len(name) <= _LONGEST_WORD and name.islower() and name.isidentifier()


def _texts(value: Any) -> list[str]:
    """All texts and keys of a value, as they are searched: an object's text together with its key."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            for name, inner in item.items():
                if isinstance(inner, str):
                    found.append(f"{name}: {inner}")
                else:
                    found.append(name)
                    waiting.append(inner)
        elif isinstance(item, list):
            waiting += item
    return found


def _fits(pieces: list[str], text: str) -> bool:
    """Whether the text consists of the pieces in order, with any text between them."""
    first, *inner, last = pieces
    if not text.startswith(first) or not text.endswith(last) or len(first) + len(last) > len(text):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in inner:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def count(before: str, after: str) -> Counter[str]:
    """How many secrets of each kind were redacted between `before` and `after`."""
    new = Counter(re.findall(_MARK, after)) - Counter(re.findall(_MARK, before))
    return Counter({found[len(_OPENING) : -1]: number for found, number in new.items()})


@functools.lru_cache(maxsize=4)
def redactor(redact: Redact) -> Redactor:
    """The redactor of a configuration."""
    return Redactor(redact.patterns) if redact.enabled else Redactor(built_in=False)
