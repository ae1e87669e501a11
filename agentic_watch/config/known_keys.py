"""The known tables and keys of the file with their checks, and the validation that reports every problem.

Add a key as one line in `tables` (and a new table as another line), a list of tables as one line in `lists`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from . import value_checks as checks
from .paths import BadValueError, shown
from .push_and_hooks import disagreements, hook_keys, push_keys
from .value_checks import Check, nearest

DAY = 86400.0

_SURE = 0.8
"""Similarity at which an unknown key is taken for a key of another table."""

_BARE_KEY = r"[A-Za-z0-9_-]+"


def tables(environ: Mapping[str, str]) -> dict[str, dict[str, Check]]:
    """Return the check of each key, by table; a table in a table has a dotted name."""
    return {
        "commit": {"finished": checks.statuses, "settle_seconds": checks.seconds(0, DAY)},
        "history": {"path": checks.path(environ), "keep": checks.days},
        "reconcile": {"interval_seconds": checks.seconds(1, 7 * DAY), "poll_seconds": checks.seconds(1, 7 * DAY)},
        "limits": {"status_bytes": checks.size, "report_bytes": checks.size, "journal_bytes": checks.size},
        "keep": {
            "files": checks.workspace_files,
            "statuses": checks.statuses,
            "tail_bytes": checks.kept_size,
            "total_bytes": checks.kept_size,
        },
        "dispatch": {"log": checks.boolean, "patch": checks.boolean},
        "redact": {"enabled": checks.boolean, "patterns": checks.patterns},
        "log": log_keys(),
        "metrics": {"textfile": checks.path(environ), "listen": checks.address},
        "answers": {"passed": checks.texts, "failed": checks.texts, "waiting": checks.texts},
        "ghosts": {"record": checks.choice("seen", "always", "never"), "after_seconds": checks.seconds(0, 7 * DAY)},
    }


def log_keys() -> dict[str, Check]:
    """Return the check of each key of [log], also used for flags."""
    return {
        "level": checks.choice("debug", "info", "warning", "error"),
        "format": checks.choice("auto", "text", "json"),
    }


def root_keys(environ: Mapping[str, str]) -> dict[str, Check]:
    """Return the check of each key of a [[roots]] entry."""
    return {
        "path": checks.path(environ),
        "name": checks.text,
        "layout": checks.choice("auto", "meta", "root"),
        "max_depth": checks.integer(1, 32),
        "ignore": checks.texts,
        "watch": checks.choice("auto", "inotify", "poll"),
    }


class ListOfTables(NamedTuple):
    """A repeatable [[table]]: the check of each key, and an example for each required key."""

    keys: Mapping[str, Check]
    required: Mapping[str, str]


def lists(environ: Mapping[str, str]) -> dict[str, ListOfTables]:
    """Return what each [[table]] may hold."""
    statuses = 'on = ["failed", "blocked"]'
    return {
        "roots": ListOfTables(root_keys(environ), {"path": 'path = "/the/directory"'}),
        "push": ListOfTables(push_keys(environ), {"name": 'name = "fleet"', "kind": 'kind = "postgres"'}),
        "hooks": ListOfTables(hook_keys(), {"on": statuses, "command": 'command = ["/path/to/program"]'}),
    }


class Reading:
    """One validation of a parsed file: the valid values, and one line per problem.

    `values` maps a key path such as `commit.settle_seconds` to its value; `entries` has, for each [[table]], the index
    in the file and the values of each usable entry; `problems` are `key path: what is wrong`.
    """

    def __init__(self, document: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self.values: dict[str, Any] = {}
        self.problems: list[str] = []
        self._tables = tables(environ)
        self._lists = lists(environ)
        self.entries: dict[str, list[tuple[int, dict[str, Any]]]] = {name: [] for name in self._lists}
        self._seen: dict[str, list[tuple[int, dict[str, Any]]]] = {name: [] for name in self._lists}
        self._read_table("", document)
        self.problems.extend(disagreements(self._seen["push"], self._seen["hooks"]))

    @property
    def roots(self) -> list[tuple[int, dict[str, Any]]]:
        """The usable [[roots]]."""
        return self.entries["roots"]

    def _read_table(self, prefix: str, table: Mapping[str, Any]) -> None:
        keys = self._tables.get(prefix, {})
        for name, value in table.items():
            path = f"{prefix}.{_key(name)}" if prefix else _key(name)
            if path in self._lists:
                self._read_list(path, value)
            elif name in keys:
                self._read_value(path, keys[name], value, self.values)
            elif any(known == path or known.startswith(path + ".") for known in self._tables):
                self._read_subtable(path, value)
            else:
                self.problems.append(f"{path}: unknown key{self._suggestion(prefix, name)}")

    def _read_subtable(self, path: str, value: Any) -> None:
        if isinstance(value, dict):
            self._read_table(path, value)
        else:
            self.problems.append(f"{path}: must be a table; write [{path}]")

    def _read_list(self, table: str, value: Any) -> None:
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            least = next(iter(self._lists[table].required))
            self.problems.append(f"{table}: must be a list of tables; write [[{table}]] above each {least}")
            return
        for index, entry in enumerate(value):
            self._read_entry(table, index, entry)

    def _read_entry(self, table: str, index: int, entry: Mapping[str, Any]) -> None:
        known = self._lists[table]
        passed: dict[str, Any] = {}
        for name, value in entry.items():
            path = f"{table}[{index}].{_key(name)}"
            if name in known.keys:
                self._read_value(path, known.keys[name], value, passed, name)
            else:
                self.problems.append(f"{path}: unknown key{_suggestion(nearest(name.lower(), known.keys), known.keys)}")
        for name, example in known.required.items():
            if name not in entry:
                self.problems.append(f"{table}[{index}].{name}: missing; write {example}")
        # An invalid value is already reported, so it does not count as missing.
        self._seen[table].append((index, dict.fromkeys(entry) | passed))
        if passed.keys() >= known.required.keys():
            self.entries[table].append((index, passed))

    def _read_value(self, path: str, check: Check, value: Any, into: dict[str, Any], name: str | None = None) -> None:
        try:
            into[name or path] = check(value)
        except BadValueError as error:
            self.problems.append(f"{path}: {error}")

    def _suggestion(self, prefix: str, name: str) -> str:
        tops = {known.split(".")[0] for known in self._tables} | self._lists.keys()
        siblings = self._tables[prefix].keys() if prefix else tops
        near = nearest(name.lower(), siblings)
        if near is None:
            # A key under the wrong heading is a common mistake with TOML.
            everywhere = [(table, key) for table, keys in self._tables.items() for key in keys]
            elsewhere = nearest(name.lower(), [key for _, key in everywhere], _SURE)
            near = next((f"[{table}] {key}" for table, key in everywhere if key == elsewhere), None)
        return _suggestion(near, siblings)


def _suggestion(near: str | None, known: Iterable[str]) -> str:
    return f"; did you mean {near}?" if near else f"; known here: {', '.join(sorted(known)) or 'nothing yet'}"


def _key(name: str) -> str:
    return name if re.fullmatch(_BARE_KEY, name) else shown(name)
