"""The keys of `[[push]]` and `[[hooks]]` and their checks."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import value_checks as checks
from .model import Hook
from .paths import BadValueError, shown
from .value_checks import Check

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
_ONLY_FOR = {"dsn_file": "postgres", "url": "http", "token_file": "http"}
_HOUR, _DAY = 3600.0, 86400.0


def push_keys(environ: Mapping[str, str]) -> dict[str, Check]:
    """Return the check of each key of a [[push]] entry."""
    return {
        "name": _name,
        "kind": checks.choice("postgres", "http"),
        "dsn_file": _secret_file(environ),
        "url": _url,
        "token_file": _secret_file(environ),
        "interval_seconds": checks.seconds(1, _DAY),
        "statuses": checks.statuses,
        "files": checks.boolean,
    }


def hook_keys() -> dict[str, Check]:
    """Return the check of each key of a [[hooks]] entry."""
    return {
        "on": checks.statuses,
        "command": _command,
        "name": _name,
        "timeout_seconds": checks.seconds(0.1, _HOUR),
    }


Entries = Sequence[tuple[int, Mapping[str, Any]]]
"""The entries of one list: the index in the file, and the values, None for one that did not pass its check."""


def disagreements(targets: Entries, hooks: Entries) -> Iterator[str]:
    """Yield problems between keys of one entry and between entries; each begins with the key path."""
    for index, given in targets:
        kind = given.get("kind")
        if kind == "http" and "url" not in given:
            yield f'push[{index}].url: missing; write url = "https://..."'
        for key, owner in _ONLY_FOR.items():
            if key in given and kind is not None and kind != owner:
                yield f'push[{index}].{key}: goes with kind = "{owner}" only; remove it'
    yield from _doubles("push", [(index, given["name"]) for index, given in targets if given.get("name")])
    yield from _doubles("hooks", [(index, _key(given)) for index, given in hooks])


def _key(given: Mapping[str, Any]) -> str:
    """The key of a hook; "" when neither name nor command is valid."""
    return Hook(frozenset(), given.get("command") or (), given.get("name") or "").key


def _doubles(table: str, names: Sequence[tuple[int, str]]) -> Iterator[str]:
    for position, (index, name) in enumerate(names):
        if name and name in (other for _, other in names[:position]):
            yield f"{table}[{index}].name: {name!r} is the name of another one already; choose another"


def _name(value: Any) -> str:
    text = checks.text(value)
    if not re.fullmatch(_NAME, text):
        raise BadValueError(f"{shown(text)} is not a valid name; use letters, digits, - and _")
    return text


def _command(value: Any) -> tuple[str, ...]:
    words = checks.texts(value)
    if not words:
        raise BadValueError('is empty; write ["/path/to/program", "argument"]')
    return words


def _secret_file(environ: Mapping[str, str]) -> Check:
    path = checks.path(environ)

    def check(value: Any) -> str:
        text = checks.text(value)
        if not text.startswith("/") and ("://" in text or "=" in text):
            # Not quoted, because it may be the secret itself.
            raise BadValueError("must be the path of a file that holds the secret, not the secret")
        return text if _is_credential(text) else str(path(text))

    return check


def _is_credential(text: str) -> bool:
    return "/" not in text and not text.startswith(("~", "$", "."))


def _url(value: Any) -> str:
    from urllib.parse import urlsplit  # late: takes 2 ms, and few configurations have a URL

    text = checks.text(value)

    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise BadValueError("holds a user or a password; put the token into a file and name it in token_file")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise BadValueError(f'{shown(text)} is not an address; write one such as "https://history.example.org"')
    return text.rstrip("/")
