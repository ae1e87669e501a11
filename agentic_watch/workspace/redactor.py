"""Secrets out of texts: each becomes `[redacted:KIND]`. Pure.

The same text always gives the same, and what was redacted stays as it is, so that a line, a row and what is read once
more agree.
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
# Compiled when they are needed: every start imports this.
_MARK = r"(\[redacted:[a-z0-9][a-z0-9-]{0,31}\])"
_LONGEST_WORD = 32
_ROUNDS = 8
"""A pattern of the operator's may match anew beside what another one left; it is looked at no more often than that."""
_KEY_END = r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
_KEY_LINE = r"[\s+>|-]*[A-Za-z0-9+/]{16,256}={0,2}\s*"

_Literals = Sequence[tuple[str, int]]
"""What a text must hold, and the number of the form that is looked for then."""
_SHARED = ("gl", "gh", "hv", "api", "K", "J", "z", "G", "A", "/", "")
"""What literals share and few texts hold: where it is missing, none of them is looked for. That takes half the time."""
_LITERALS: dict[str, list[str]] = {part: [] for part in _SHARED}
for _literal in dict.fromkeys(literal for form in FORMS for literal in form.literals):
    _LITERALS[next(part for part in _SHARED if part in _literal)].append(_literal)
_KNOWN = tuple((literal, number) for number, form in enumerate(FORMS) for literal in form.literals)


def mark(kind: str) -> str:
    """What stands in the place of a secret."""
    return f"{_OPENING}{kind}]"


def may_be_redacted(text: str) -> bool:
    """Whether a mark stands in a text."""
    return _OPENING in text


class Redactor:
    """Takes out what is built in, and what `patterns` (kind, regular expression) match; each pattern must compile."""

    def __init__(self, patterns: Iterable[tuple[str, str]] = (), *, built_in: bool = True) -> None:
        self._known: _Literals = _KNOWN if built_in else ()
        self._own = tuple((mark(kind), re.compile(pattern)) for kind, pattern in patterns)

    def text(self, text: str) -> str:
        """The text without its secrets."""
        return self._text(text, self._known)

    def value(self, value: Any) -> Any:
        """A JSON value whose texts are without their secrets; the same object when it holds none.

        Keys are texts as others: who keeps an environment or a list of tokens may have a secret as a key. A plain word
        stays, whatever a pattern of the operator's says: it is a name that others read.
        """
        sought = self._sought("\n".join(_texts(value)))
        return self._value(value, sought) if sought or self._own else value

    def may_change(self, text: str) -> bool:
        """Whether there may be a secret in a text, or in one of its lines; nearly always there is none."""
        return bool(self._own or self._sought(text))

    def _sought(self, text: str) -> _Literals:
        """What is to be looked for in the lines of a text: what is not in all of it is in none of them."""
        if not self._known:
            return ()
        # Not any(): a generator takes twice as long. And most texts end here.
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
            while key != name and (key in changed or key in value):  # two secrets of one kind
                key, number = f"{text} {number}", number + 1
            changed[key] = self._value(_beside(name, item, sought), sought)
        return changed

    def is_same(self, recorded: str, said: str) -> bool:
        """Whether a text that was recorded, whatever was taken out of it then, is what is `said` now without secrets.

        A mark may stand for anything: a secret that was named by hand afterwards is in the status still.
        """
        if recorded == said:
            return True
        recorded = self.text(recorded)
        return recorded == said or (_OPENING in recorded and _fits(re.split(_MARK, recorded)[::2], said))


BUILT_IN = Redactor()
"""Takes out what is built in, and nothing else."""


def _without_known(text: str, sought: _Literals) -> str:
    done = -1
    for number in [number for literal, number in sought if literal in text]:
        if number != done:
            done = number
            pattern, replacement = _compiled(number)
            text = pattern.sub(replacement, text)
    return _without_key_ends(text) if "PRIVATE KEY-----" in text else text


def _without_key_ends(text: str) -> str:
    """Private keys whose beginning was cut off, as the last part of a log may have them: the lines before their end."""
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
    """Compiled when a text first needs it: all of them would cost each start 20 ms."""
    form = FORMS[number]
    pattern = re.compile(form.pattern)
    return pattern, r"\g<1>" * pattern.groups + mark(form.kind)


def _is_in(number: int, text: str) -> bool:
    # The end of a private key has no form of its own.
    return FORMS[number].kind == "private-key" or _compiled(number)[0].search(text) is not None


def _outside_marks(text: str, replacement: str, pattern: re.Pattern[str]) -> str:
    if _OPENING not in text:
        return pattern.sub(lambda _: replacement, text)
    pieces = re.split(_MARK, text)
    pieces[::2] = [pattern.sub(lambda _: replacement, piece) for piece in pieces[::2]]
    return "".join(pieces)


def _beside(name: str, item: Any, sought: _Literals) -> Any:
    """A text without what is a secret for the name that it has: `{"authorization": "Bearer …"}`."""
    if not isinstance(item, str) or not sought:
        return item
    start = f"{name}: "
    text = _without_known(start + item, sought)
    return text[len(start) :] if text.startswith(start) else item


def _is_word(name: str) -> bool:
    return len(name) <= _LONGEST_WORD and name.islower() and name.isidentifier()


def _texts(value: Any) -> list[str]:
    """All texts and keys of a value, as they are looked at: a text of an object beside its key."""
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
    """Whether the text is these pieces in their order, with anything between two of them."""
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
    """How many secrets of each kind were taken out between the one and the other."""
    new = Counter(re.findall(_MARK, after)) - Counter(re.findall(_MARK, before))
    return Counter({found[len(_OPENING) : -1]: number for found, number in new.items()})


@functools.lru_cache(maxsize=4)
def redactor(redact: Redact) -> Redactor:
    """What a configuration wants taken out."""
    return Redactor(redact.patterns) if redact.enabled else Redactor(built_in=False)
