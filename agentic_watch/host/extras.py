"""Messages about optional parts that are not installed."""

from __future__ import annotations

import importlib.util
import sys


def missing_extra(module: str | None, extra: str) -> str:
    """One line with the command that adds the extra to this installation, without a project name that others could
    register."""
    return f"{module} is not installed, which comes with the extra {extra!r}. {how_to_add(extra)}"


def how_to_add(extra: str) -> str:
    """The next step when an extra is missing."""
    return (
        "Install this program again, from where it came, with the extra: "
        f"{sys.executable} -m pip install '<wheel or source>[{extra}]'"
    )


def is_installed(module: str) -> bool:
    """Whether a top-level module is installed, without importing it."""
    return importlib.util.find_spec(module) is not None
