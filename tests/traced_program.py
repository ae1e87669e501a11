"""agentic-watch with each call of its functions noted: when (monotonic, ns), the file and the function."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import agentic_watch
from agentic_watch import cli

PACKAGE = f"{os.path.dirname(agentic_watch.__file__)}/"


def main(written_to: Path, arguments: list[str]) -> None:
    """Run it with these arguments, and write what it called when it ends."""
    calls: list[tuple[int, str, str]] = []

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            calls.append((time.monotonic_ns(), code.co_filename.removeprefix(PACKAGE), code.co_qualname))

    sys.argv = ["agentic-watch", *arguments]
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        cli.main()
    finally:
        sys.setprofile(None)
        written_to.write_text("".join(f"{when}\t{file}\t{function}\n" for when, file, function in calls))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[5:])  # [2:5] is `python -m agentic_watch`
