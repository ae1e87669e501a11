"""The types of the configuration and its errors.

Named tuples, because every start defines these classes: a dataclass takes half a millisecond, a named tuple a seventh
of that.
"""

import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Layout = Literal["auto", "meta", "root"]
WatchMode = Literal["auto", "inotify", "poll"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "text", "json"]
TargetKind = Literal["postgres", "http"]
GhostRecord = Literal["seen", "always", "never"]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

FINISHED: frozenset[str] = frozenset({"completed", "merged", "ready-for-review", "failed", "blocked", "rejected"})
KNOWN_STATUSES: frozenset[str] = FINISHED | {"queued", "running"}


class _Root(NamedTuple):
    # A base class, because a named tuple cannot store the computed key.
    path: str
    name: str | None = None
    layout: Layout = "auto"
    max_depth: int = 6
    ignore: tuple[str, ...] = ()
    watch: WatchMode = "auto"


class Root(_Root):
    """A directory that is searched for workspaces.

    `path` is absolute, expanded and normalised; its symlinks are not resolved and it need not exist yet. `max_depth`
    counts directories below the root, 1 to 32. `ignore` holds globs of directories never entered.
    """

    @functools.cached_property
    def key(self) -> str:
        """The root's key in the history: its name if it has one (a named root can move), else its path."""
        return self.path if self.name is None else self.name


class Redact(NamedTuple):
    """Whether records are redacted; `patterns` (name, regular expression) are used in addition to the built-in ones."""

    enabled: bool = True
    patterns: tuple[tuple[str, str], ...] = ()


class Limits(NamedTuple):
    """Limits of files read from a workspace in bytes, and their redaction."""

    status_bytes: int = MIB
    report_bytes: int = 8 * MIB
    journal_bytes: int = 256 * MIB
    redact: Redact = Redact()


class Keep(NamedTuple):
    """Which files of a dispatch are kept: `files` are globs relative to the workspace, for dispatches with one of
    `statuses` ("*": any); at most the last `tail_bytes` of each file, and `total_bytes` in all."""

    files: tuple[str, ...] = (".meta/*.log", ".meta/changes.patch")
    statuses: frozenset[str] = frozenset({"failed", "rejected", "blocked"})
    tail_bytes: int = 64 * KIB
    total_bytes: int = 256 * KIB


class DispatchFiles(NamedTuple):
    """Further files that `dispatch -- COMMAND` writes to `.meta`: the command's output, and a patch of its changes."""

    log: bool = False
    patch: bool = False


class Log(NamedTuple):
    """Log level and format; `auto` is resolved by cli/logs.py."""

    level: LogLevel = "info"
    format: LogFormat = "auto"


class Ghosts(NamedTuple):
    """Which ghosts are recorded, and after how many seconds."""

    record: GhostRecord = "seen"
    after_seconds: float = 600.0


class Answers(NamedTuple):
    """The outcomes of further statuses in rates; all other statuses are unjudged."""

    passed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


class MetricsPlaces(NamedTuple):
    """Destinations of the daemon's metrics: `textfile` is an absolute path, `listen` an address and port."""

    textfile: str | None = None
    listen: str | None = None


class Target(NamedTuple):
    """One [[push]] entry.

    `dsn_file` and `token_file` name files that hold a secret, never the secret; a name without a slash stands for a
    file in $CREDENTIALS_DIRECTORY. `interval_seconds` is the time between two pushes. Empty `statuses` mean all. With
    `files` kept files are sent, too.
    """

    name: str
    kind: TargetKind
    dsn_file: str | None = None
    url: str | None = None
    token_file: str | None = None
    interval_seconds: float = 60.0
    statuses: frozenset[str] = frozenset()
    files: bool = False

    @property
    def secret_file(self) -> str | None:
        """The file of this kind's secret."""
        return self.dsn_file if self.kind == "postgres" else self.token_file


class Hook(NamedTuple):
    """One [[hooks]] entry: a command for each commit that has one of the statuses `on`."""

    on: frozenset[str]
    command: tuple[str, ...]
    name: str = ""
    timeout_seconds: float = 30.0

    @property
    def key(self) -> str:
        """The key of its outcomes: its name, else its command."""
        return self.name or " ".join(self.command)


class Config(NamedTuple):
    """The effective configuration.

    `history` is the absolute path of the SQLite file, `keep` the span after which the daemon prunes it, `file` the
    configuration file read (None when none was); fields ending in `_seconds` are in seconds. `origins` maps a key path
    such as `roots[0].layout` to the origin of its value: `default`, the file's path, `--root`, `$CORE_WORKSPACE`...
    """

    roots: tuple[Root, ...]
    history: str
    finished: frozenset[str] = FINISHED
    settle_seconds: float = 2.0
    reconcile_seconds: float = 300.0
    poll_seconds: float = 5.0
    keep: str | None = None
    limits: Limits = Limits()
    kept_files: Keep = Keep()
    dispatch: DispatchFiles = DispatchFiles()
    log: Log = Log()
    metrics: MetricsPlaces = MetricsPlaces()
    answers: Answers = Answers()
    ghosts: Ghosts = Ghosts()
    push: tuple[Target, ...] = ()
    hooks: tuple[Hook, ...] = ()
    file: str | None = None
    origins: Mapping[str, str] = MappingProxyType({})


class Overrides(NamedTuple):
    """The values of the command line; None and () mean not given.

    `rootless`: the command only reads the history, possibly a copy, and needs no root.
    """

    config: str | None = None
    roots: tuple[str, ...] = ()
    history: str | None = None
    log_format: str | None = None
    log_level: str | None = None
    rootless: bool = False


class ConfigError(Exception):
    """The configuration is invalid (exit status 78); `problems` has one line per problem."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class NoRootsError(Exception):
    """There is neither a configuration file nor a root (exit status 2); the text shows both remedies."""

    def __init__(self) -> None:
        super().__init__(
            "nothing to watch: no configuration file, no --root, no $CORE_WORKSPACE\n"
            "  agentic-watch --root DIR              watch DIR, without a file\n"
            "  agentic-watch config init --root DIR  write a configuration file that watches DIR"
        )


def to_document(config: Config) -> dict[str, Any]:
    """Return the effective values in the structure of the file, for JSON and TOML (no None)."""
    return {
        "roots": [_plain(root._asdict()) for root in config.roots],
        "commit": {"finished": sorted(config.finished), "settle_seconds": config.settle_seconds},
        "history": _plain({"path": config.history, "keep": config.keep}),
        "reconcile": {"interval_seconds": config.reconcile_seconds, "poll_seconds": config.poll_seconds},
        "limits": {key: value for key, value in config.limits._asdict().items() if key != "redact"},
        "redact": {"enabled": config.limits.redact.enabled, "patterns": dict(config.limits.redact.patterns)},
        "ghosts": config.ghosts._asdict(),
        "keep": _plain(config.kept_files._asdict()),
        "dispatch": config.dispatch._asdict(),
        "log": config.log._asdict(),
        "metrics": {key: value for key, value in config.metrics._asdict().items() if value is not None},
        "answers": {name: list(statuses) for name, statuses in config.answers._asdict().items()},
        "push": [_plain(target._asdict()) for target in config.push],
        "hooks": [_plain(hook._asdict()) for hook in config.hooks],
    }


def effective_values(config: Config) -> dict[str, Any]:
    """Return the values of `to_document` by key path, as `origins` names them."""
    values: dict[str, Any] = {}
    for table, content in to_document(config).items():
        if isinstance(content, list):
            values |= {f"{table}[{i}].{key}": value for i, entry in enumerate(content) for key, value in entry.items()}
        else:
            values |= {f"{table}.{key}": value for key, value in content.items()}
    return values


def _plain(table: dict[str, Any]) -> dict[str, Any]:
    """Convert a table for TOML and JSON: lists instead of tuples and sets, no keys without a value."""
    values = {key: sorted(value) if isinstance(value, frozenset) else value for key, value in table.items()}
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return {key: value for key, value in values.items() if value is not None}
