"""A disk that is really full: a small file system, mounted by root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

IS_ALLOWED = os.geteuid() == 0
needs_mount = pytest.mark.skipif(not IS_ALLOWED, reason="only root can mount a disk to fill it")
_BYTES = 64 << 20
_INODES = 20_000
_FILLER = ".filler"
_PIECE = b"\0" * (1 << 16)


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """Mounted at `path` from `mount` to `unmount`: a tmpfs, or an ext4 in a file beside."""

    path: Path
    kind: str = "tmpfs"

    @property
    def image(self) -> Path:
        return self.path.with_name(f"{self.path.name}.{self.kind}")

    def mount(self) -> None:
        """Raises CalledProcessError where that is not allowed."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self.kind == "tmpfs":
            _run("mount", "-t", "tmpfs", "-o", f"size={_BYTES},nr_inodes={_INODES},mode=755", "tmpfs", str(self.path))
            return
        with self.image.open("wb") as file:
            file.truncate(_BYTES)
        # In smaller blocks than a page SQLite's shared memory has holes, and a full disk is a SIGBUS (os_unix.c).
        _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-N", str(_INODES), str(self.image))
        _run("mount", "-o", "loop", str(self.image), str(self.path))

    def unmount(self) -> None:
        """Whoever still has a file open there keeps it."""
        _run("umount", "--lazy", str(self.path))
        self.image.unlink(missing_ok=True)

    def fill(self) -> None:
        """Take every byte that is left."""
        with (self.path / _FILLER).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(_PIECE)

    def empty(self) -> None:
        """Give them back."""
        (self.path / _FILLER).unlink(missing_ok=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
