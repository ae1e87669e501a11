"""What to do when an optional part of the program is not installed."""

from __future__ import annotations

import sys


def missing_extra(module: str | None, extra: str) -> str:
    """One line; it names no project that somebody else could register, but how to add the part to this installation."""
    return (
        f"{module} is not installed, which comes with the extra {extra!r}. Install this program again, from where it "
        f"came, with the extra: {sys.executable} -m pip install '<wheel or source>[{extra}]'"
    )
