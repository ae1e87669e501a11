"""A history that was copied away from its host: it is read where no root is configured."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import Host, environment, make, run


@pytest.fixture
def copied(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history of a host with one commit, alone in a directory."""
    make(host.root, "org/repo/far", agent="codex")
    host.once()
    path = tmp_path_factory.mktemp("copied") / "copy.db"
    shutil.copy(host.history, path)
    return path


def test_the_history_is_listed_without_a_root(copied: Path) -> None:
    """Neither a configuration nor a root is needed to list what was committed elsewhere."""
    result = run(["--history", str(copied), "history", "--json"], copied.parent)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["workspace"] == "org/repo/far"


def test_what_needs_a_root_still_asks_for_one(copied: Path) -> None:
    """A pass without any root is a usage error that shows the ways out; the host's own configuration is not read."""
    code = (
        f"from agentic_watch.config import paths; paths.ETC_FILE = {str(copied.with_name('none.toml'))!r}; "
        "from agentic_watch.cli import main; main()"
    )
    environ = environment(copied.parent)
    del environ["AGENTIC_WATCH_CONFIG"]
    words = [sys.executable, "-c", code, "--history", str(copied), "--once"]
    result = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "no configuration file, no --root" in result.stderr
