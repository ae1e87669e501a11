"""The configuration: one TOML file, the flags and the environment, checked as a whole."""

from .load import load, parse
from .model import (
    FINISHED,
    KNOWN_STATUSES,
    Answers,
    Config,
    ConfigError,
    Hook,
    Layout,
    Limits,
    Log,
    MetricsPlaces,
    NoRootsError,
    Overrides,
    Root,
    Target,
    WatchMode,
    effective_values,
    to_document,
)
from .places import find_file, history_default, new_file_path

__all__ = [
    "FINISHED",
    "KNOWN_STATUSES",
    "Answers",
    "Config",
    "ConfigError",
    "Hook",
    "Layout",
    "Limits",
    "Log",
    "MetricsPlaces",
    "NoRootsError",
    "Overrides",
    "Root",
    "Target",
    "WatchMode",
    "effective_values",
    "find_file",
    "history_default",
    "load",
    "new_file_path",
    "parse",
    "to_document",
]
