"""Running the program as somebody who may read a file and nothing else."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from support import NOBODY, environment

# The interpreter may lie where nobody else may look: everything is imported before the privileges go.
_SCRIPT = """
import importlib, os, sys
import sqlite_utils
import tomllib
import agentic_watch.cli
for name in ("history_command", "show_command", "status_command"):
    importlib.import_module(f"agentic_watch.cli.{name}")
import agentic_watch.answers.check.access_checks, agentic_watch.commit.judging, agentic_watch.cli.logs
import encodings.idna, encodings.unicode_escape
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
sys.argv[1:2] = []
agentic_watch.cli.main()
"""


def run_as_nobody(arguments: Sequence[str], base: Path) -> subprocess.CompletedProcess[str]:
    """Run the program to its end as an unprivileged user (as the tests' own user when that is not root)."""
    with tempfile.NamedTemporaryFile() as none:  # the tests may lie where nobody else may look
        Path(none.name).chmod(0o644)
        result = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(NOBODY), *arguments],
            env={**environment(base), "AGENTIC_WATCH_CONFIG": none.name},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert "Traceback" not in result.stderr, result.stderr
    return result


@contextlib.contextmanager
def public_directory() -> Iterator[Path]:
    """A temporary directory that others may enter (pytest's own is closed to them)."""
    directory = Path(tempfile.mkdtemp(prefix="agentic-watch-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        for path in [directory, *directory.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(directory)
