"""Which directory names can be a workspace's name."""

from __future__ import annotations


def name_problem(name: str) -> str | None:
    """Why a directory's name cannot be a workspace's name, or None when it can.

    A name goes into log lines, JSON and SQL text: it must be UTF-8 without control characters.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    return None if name.isprintable() else "the name holds control characters"
