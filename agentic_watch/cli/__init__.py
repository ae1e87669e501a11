"""The command line: parse, call, print. Each command has its own module, imported when it is called."""

import gc
import signal
import sys

_RARELY = 50_000
"""Threshold of the garbage collector. This program makes few cycles: Python's default, a collection per 700 new
objects, takes 5 % of a start, which creates thousands of permanent ones, and 3 % of a cold pass."""


def main() -> None:
    """The console script. During the imports Ctrl-C ends it silently: nothing has been done yet."""
    gc.set_threshold(_RARELY)
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # otherwise our parent ignores SIGINT
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from agentic_watch.cli import command_line

    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    status = command_line.run()
    gc.freeze()  # or the interpreter's end looks through everything for garbage, which takes an eighth of a short run
    sys.exit(status)
