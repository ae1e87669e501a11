"""What to do when an optional part of the program is not installed."""

from __future__ import annotations

import importlib.util
import sys


def missing_extra(module: str | None, extra: str) -> str:
    """One line; it names no project that somebody else could register, but how to add the part to this installation."""
    return f"{module} is not installed, which comes with the extra {extra!r}. {how_to_add(extra)}"


def how_to_add(extra: str) -> str:
    """The next step where an extra is missing."""
    return (
        "Install this program again, from where it came, with the extra: "
        f"{sys.executable} -m pip install '<wheel or source>[{extra}]'"
    )


def is_installed(module: str) -> bool:
    """Whether a top-level module is there; it is not imported."""
    return importlib.util.find_spec(module) is not None
