"""A disk that is really full: a small tmpfs (tmpfs(5)), mounted by root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk to fill it")
_FILLER = ".filler"
_PIECE = b"\0" * (1 << 16)


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """Mounted at `path` from `mount` to `unmount`."""

    path: Path

    def mount(self, size: str = "64m") -> None:
        """Raises CalledProcessError where that is not allowed."""
        self.path.mkdir(parents=True, exist_ok=True)
        options = f"size={size},nr_inodes=20000,mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)], check=True)

    def unmount(self) -> None:
        """Whoever still has a file open there keeps it."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    def fill(self) -> None:
        """Take every byte that is left."""
        with (self.path / _FILLER).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(_PIECE)

    def empty(self) -> None:
        """Give them back."""
        (self.path / _FILLER).unlink(missing_ok=True)
