"""Explains why the kernel cannot run a program: a script without `#!`, or its interpreter."""

from __future__ import annotations

import os
import shutil

_HEAD = 256
"""The kernel reads this much of a `#!` line (execve(2))."""


def script(word: str) -> str:
    """The path of the program `word` if it is a text file without `#!`, which a shell runs itself; else ""."""
    path = shutil.which(word) or ""
    return path if path and b"\0" not in _head(path) else ""


def interpreter(word: str) -> str:
    """The interpreter in the `#!` line of the program `word`; "" when there is none."""
    path = shutil.which(word)
    head, _, rest = _head(path).partition(b"\n")[0].partition(b"#!") if path else (b"", b"", b"")
    return "" if head else os.fsdecode(rest.strip(b" \t").partition(b" ")[0])


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""
