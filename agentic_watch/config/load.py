"""Combines flags, environment and file into one validated Config; flags take precedence, then the environment."""

import codecs
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any

from . import paths
from .known_keys import Reading, log_keys
from .model import (
    MIB,
    Answers,
    Config,
    ConfigError,
    DispatchFiles,
    Ghosts,
    Hook,
    Keep,
    Limits,
    Log,
    MetricsPlaces,
    NoRootsError,
    Overrides,
    Redact,
    Root,
    Target,
    effective_values,
)
from .paths import BadValueError

MAX_FILE_BYTES = MIB

# Fields of Config for the keys of the file; those of [limits] and [log] have the same names.
_FIELDS = {
    "commit.finished": "finished",
    "commit.settle_seconds": "settle_seconds",
    "history.keep": "keep",
    "reconcile.interval_seconds": "reconcile_seconds",
    "reconcile.poll_seconds": "poll_seconds",
}


def load(overrides: Overrides, environ: Mapping[str, str]) -> Config:
    """Return the effective configuration.

    Raises ConfigError with every problem at once, NoRootsError when there is neither a file nor a root.
    """
    found = paths.find_file(overrides, environ)
    if found is None:
        return _ConfigBuilder({}, None, overrides, environ).config()
    return parse(_read(found[0]), found[0], overrides, environ)


def parse(text: str, file: str, overrides: Overrides, environ: Mapping[str, str]) -> Config:
    """Return the configuration for `text` as the content of `file`, which is not read; see `load`."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except ValueError as error:  # Its TOMLDecodeError, and integers beyond what Python converts.
        raise ConfigError([f"{file}: not valid TOML: {' '.join(str(error).split())}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{file}: not valid TOML: nested too deeply"]) from error
    return _ConfigBuilder(document, file, overrides, environ).config()


def _read(path: str) -> str:
    try:
        # O_NONBLOCK: must not block on a FIFO without a writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError([f"{path}: is not a regular file; name one with --config FILE"])
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([f"{path}: larger than 1 MiB; this is not a configuration file"])
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}: not UTF-8 at line {line}; save the file as UTF-8"]) from error


class _ConfigBuilder:
    """Assembles one configuration; it is valid only if `problems` stays empty."""

    def __init__(
        self, document: Mapping[str, Any], file: str | None, overrides: Overrides, environ: Mapping[str, str]
    ) -> None:
        self.file = file
        self.overrides = overrides
        self.environ = environ
        self.reading = Reading(document, environ)
        self.problems = [f"{file}: {problem}" for problem in self.reading.problems]
        self.origins: dict[str, str] = {}

    def config(self) -> Config:
        values = self.reading.values
        self.origins.update(dict.fromkeys(values, self.file or "default"))
        roots = self._roots(self._file_roots())
        history = self._history()
        if history is not None:
            self._keep_history_outside(history, roots)
        self._log_flags()
        if self.problems or history is None:
            raise ConfigError(self.problems)
        config = Config(
            roots=roots,
            history=history,
            limits=Limits(**_below("limits", values), redact=Redact(**_below("redact", values))),
            kept_files=Keep(**_below("keep", values)),
            dispatch=DispatchFiles(**_below("dispatch", values)),
            log=Log(**_below("log", values)),
            metrics=MetricsPlaces(**_below("metrics", values)),
            answers=Answers(**_below("answers", values)),
            ghosts=Ghosts(**_below("ghosts", values)),
            push=tuple(Target(**given) for given in self._entries("push")),
            hooks=tuple(Hook(**given) for given in self._entries("hooks")),
            file=self.file,
            origins=MappingProxyType(self.origins),
            **{field: values[key] for key, field in _FIELDS.items() if key in values},
        )
        for key in effective_values(config):
            self.origins.setdefault(key, "default")
        return config

    def _entries(self, table: str) -> Iterator[dict[str, Any]]:
        for index, given in self.reading.entries[table]:
            self.origins.update({f"{table}[{index}].{key}": str(self.file) for key in given})
            yield given

    def _file_roots(self) -> dict[str, tuple[Root, frozenset[str]]]:
        """Return the valid roots of the file by path, each with the keys given in the file."""
        labelled = [(f"{self.file}: roots[{index}].path", Root(**given)) for index, given in self.reading.roots]
        self.problems.extend(_clashes(labelled))
        return {given["path"]: (Root(**given), frozenset(given)) for _, given in reversed(self.reading.roots)}

    def _roots(self, from_file: Mapping[str, tuple[Root, frozenset[str]]]) -> tuple[Root, ...]:
        if self.overrides.roots:
            return self._flag_roots(from_file)
        if self.reading.roots:
            roots = tuple(Root(**given) for _, given in self.reading.roots)
            for index, (_, given) in enumerate(self.reading.roots):
                self._note_root(index, given, str(self.file))
            return roots
        return self._environment_root()

    def _flag_roots(self, from_file: Mapping[str, tuple[Root, frozenset[str]]]) -> tuple[Root, ...]:
        given_paths = (self._checked_path("--root", text) for text in self.overrides.roots)
        # The same directory given twice is a harmless mistake.
        wanted = dict.fromkeys(path for path in given_paths if path is not None)
        # Another spelling of a root in the file is the same root: a second key would record everything twice.
        spelled = {paths.real_path(path): path for path in from_file}
        roots: list[Root] = []
        for path in wanted:
            known = path if path in from_file else spelled.get(paths.real_path(path), path)
            root, given = from_file.get(known, (Root(path), frozenset[str]()))
            if root in roots:
                continue
            index = len(roots)
            self._note_root(index, given, str(self.file))
            self.origins[f"roots[{index}].path"] = "--root"
            roots.append(root)
        self.problems.extend(_clashes([("--root", root) for root in roots]))
        return tuple(roots)

    def _environment_root(self) -> tuple[Root, ...]:
        base = self.environ.get("CORE_WORKSPACE")
        if base:
            path = self._checked_path("$CORE_WORKSPACE", base.replace("$", "$$"), "workspace")
            self.origins["roots[0].path"] = "$CORE_WORKSPACE"
            return () if path is None else (Root(path),)
        if self.overrides.rootless:
            return ()
        if self.file is None:
            raise NoRootsError
        if not any(problem.startswith(f"{self.file}: roots") for problem in self.problems):
            self.problems.append(f"{self.file}: roots: missing; add [[roots]] with a path, or give --root DIR")
        return ()

    def _note_root(self, index: int, given: Iterable[str], origin: str) -> None:
        self.origins.update({f"roots[{index}].{key}": origin for key in given})

    def _history(self) -> str | None:
        if self.overrides.history is not None:
            self.origins["history.path"] = "--history"
            return self._checked_path("--history", self.overrides.history)
        path: str | None = self.reading.values.get("history.path")
        if path is None:
            try:
                path, self.origins["history.path"] = paths.history_default(self.environ, self.file)
            except ConfigError as error:
                self.problems.extend(error.problems)
        return path

    def _keep_history_outside(self, history: str, roots: Sequence[Root]) -> None:
        label = f"{self.file}: history.path" if self.origins["history.path"] == self.file else "history.path"
        names = _names_of(history)
        for root in roots:
            if _lies_in(names, _names_of(root.path)):
                # An agent that can write the history could forge commits.
                self.problems.append(f"{label}: {history} lies in the root {root.path}; choose a place outside")

    def _log_flags(self) -> None:
        flags = {"level": self.overrides.log_level, "format": self.overrides.log_format}
        for key, check in log_keys().items():
            if flags[key] is None:
                continue
            try:
                self.reading.values[f"log.{key}"] = check(flags[key])
                self.origins[f"log.{key}"] = f"--log-{key}"
            except BadValueError as error:
                self.problems.append(f"--log-{key}: {error}")

    def _checked_path(self, label: str, text: str, *below: str) -> str | None:
        try:
            return os.path.join(paths.absolute(text, self.environ), *below)
        except BadValueError as error:
            self.problems.append(f"{label}: {error}")
            return None


def _clashes(labelled: Sequence[tuple[str, Root]]) -> Iterator[str]:
    """Yield the conflicts between pairs of roots; the label is that of the path."""
    if len(labelled) < 2:
        return  # fast path of every start: resolving symlinks needs a thread
    named = [(label, root, _names_of(root.path)) for label, root in labelled]
    for (_, one, names), (label, other, other_names) in combinations(named, 2):
        if one.path == other.path:
            yield f"{label}: {other.path} is a root already; remove one of the two"
        elif _lies_in(other_names, names):
            yield f"{label}: {other.path} lies in the root {one.path}; keep only the outer one"
        elif _lies_in(names, other_names):
            yield f"{label}: {other.path} holds the root {one.path}; keep only the outer one"
        elif one.key == other.key:
            where = label.removesuffix("path") + "name" if label.endswith(".path") else label
            yield f"{where}: {other.key!r} stands for {one.path} already; choose another name"


def _names_of(path: str) -> tuple[str, str]:
    # By text and by resolved symlinks: a directory under two names would be committed twice.
    return path, paths.real_path(path)


def _lies_in(inner: tuple[str, str], outer: tuple[str, str]) -> bool:
    return any(a == b or a.startswith(b.rstrip("/") + "/") for a, b in zip(inner, outer, strict=True))


def _below(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{table}.")}
