"""The command line: parse, call, print. Each command lives in a room of its own, imported when it is called."""

import gc
import sys

_RARELY = 50_000
"""Cycles are few here. To look for them as often as Python does by itself, each time that 700 more objects are there,
takes a twentieth of a start, which makes thousands that stay, and 3 % of a cold pass."""


def main() -> None:
    """The console script."""
    gc.set_threshold(_RARELY)
    from agentic_watch.cli import command_line

    sys.exit(command_line.run())
