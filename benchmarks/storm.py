"""An agent that storms: opens and closes two files in turn, for ever. `python -m benchmarks.storm DIRECTORY`."""

from __future__ import annotations

import os
import sys


def storm(directory: str) -> None:
    """Until somebody ends the process."""
    paths = [f"{directory}/a", f"{directory}/b"]
    while True:
        for path in paths:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))


if __name__ == "__main__":
    storm(sys.argv[1])
