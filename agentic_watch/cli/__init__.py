"""The command line: parse, call, print. Each command lives in a room of its own, imported when it is called."""

import gc
import signal
import sys

_RARELY = 50_000
"""Cycles are few here. To look for them as often as Python does by itself, each time that 700 more objects are there,
takes a twentieth of a start, which makes thousands that stay, and 3 % of a cold pass."""


def main() -> None:
    """The console script. While the rest is imported, Ctrl-C ends it without a word: nothing has been done yet."""
    gc.set_threshold(_RARELY)
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else whoever started us ignores it
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from agentic_watch.cli import command_line

    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(command_line.run())
