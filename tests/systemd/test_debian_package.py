"""The Debian package under a real systemd: installed, upgraded and purged. The tests build on each other, in order."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from systemd.conftest import Lab, boot

pytestmark = pytest.mark.systemd

_PROJECT = Path(__file__).parents[2]
_NEXT = "0.99.0"
_COMPLETIONS = (
    "/usr/share/bash-completion/completions/agentic-watch",
    "/usr/share/zsh/vendor-completions/_agentic-watch",
    "/usr/share/fish/vendor_completions.d/agentic-watch.fish",
)


@pytest.fixture(scope="module")
def packages(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The package of the program as it is, and the same as a later version."""
    output = tmp_path_factory.mktemp("packages")
    (wheel,) = wheels.glob("agentic_watch-*.whl")
    later = _renumbered(wheel, tmp_path_factory.mktemp("later"))
    for one in (wheel, later):
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "WHEELS": str(wheels), "PIP": str(_pip())}
        subprocess.run([_PROJECT / "release/deb.sh", one, output], env=environ, check=True)
    return sorted(output.iterdir(), key=lambda path: _NEXT in path.name)


def _pip() -> Path:
    return Path(sys.executable).with_name("pip")


def _renumbered(wheel: Path, directory: Path) -> Path:
    """The wheel with another version in its name and its metadata."""
    version = wheel.name.split("-")[1]
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, directory / "tree"], check=True)
    tree = directory / "tree"
    (info,) = tree.glob("*.dist-info")
    for file, old, new in (
        (info / "METADATA", f"\nVersion: {version}\n", f"\nVersion: {_NEXT}\n"),
        (info / "RECORD", info.name, info.name.replace(version, _NEXT)),
        (tree / "agentic_watch/__init__.py", f'"{version}"', f'"{_NEXT}"'),
    ):
        text = file.read_text("utf-8").replace(old, new)
        file.write_text("\n".join(_unhashed(line) for line in text.split("\n")) if file.name == "RECORD" else text)
    info.rename(tree / info.name.replace(version, _NEXT))
    later = directory / wheel.name.replace(version, _NEXT)
    subprocess.run([sys.executable, "-m", "zipfile", "-c", later, *tree.iterdir()], check=True)
    return later


def _unhashed(line: str) -> str:
    return f"{line.split(',')[0]},," if line else line


@pytest.fixture(scope="module")
def lab(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A bare host with the packages in /lab, and agents in a group of their own."""
    with boot(tmp_path_factory.mktemp("lab"), packages) as lab:
        lab.sh("groupadd agents; useradd -m -g agents agent; install -d -g agents -m 2775 /srv/agents/workspace")
        yield lab


def test_installing_leads_to_a_running_service(lab: Lab, packages: list[Path]) -> None:
    """One command, and what is finished below the root of the packaged configuration is committed."""
    lab.sh(f"apt-get install -qq -y --no-install-recommends /lab/{packages[0].name}")
    assert lab.get("ActiveState") == "active"
    assert lab.get("UnitFileState") == "enabled"
    lab.sh("usermod -aG agents agentic-watch; systemctl restart agentic-watch")
    lab.finish("/srv/agents/workspace/acme/api/task-1")
    lab.until(lambda: lab.committed("/srv/agents/workspace/acme/api/task-1"), "a commit")
    assert lab.sh("agentic-watch --version").split()[-1] == packages[0].name.split("_")[1]
    assert lab.sh("dpkg --verify agentic-watch") == ""
    assert lab.sh("systemctl is-active agentic-watch-backfill.timer") == "active"


def test_the_manual_page_and_the_completions_are_where_they_are_looked_for(lab: Lab) -> None:
    """`man -w` finds a page that can be read; each shell's file completes this program."""
    page = lab.sh("man -w agentic-watch")
    assert page == "/usr/share/man/man1/agentic-watch.1.gz"
    assert "completion" in lab.sh(f"zcat {page}")
    for file in _COMPLETIONS:
        assert "_AGENTIC_WATCH_COMPLETE" in lab.sh(f"cat {file}"), file
        assert lab.sh(f"dpkg -S {file}").startswith("agentic-watch:")
    assert lab.sh(f"bash -c 'source {_COMPLETIONS[0]}; complete -p agentic-watch'").endswith(" agentic-watch")


def test_an_upgrade_runs_the_new_program_on_the_old_history(lab: Lab, packages: list[Path]) -> None:
    """The daemon is another process of the new version; a changed configuration is kept."""
    before = lab.get("MainPID")
    lab.sh("echo '# mine' >> /etc/agentic-watch/config.toml")
    lab.sh(f"apt-get install -qq -y --no-install-recommends /lab/{packages[1].name}")
    assert lab.get("ActiveState") == "active"
    assert lab.get("MainPID") != before
    assert lab.sh("agentic-watch --version").split()[-1] == _NEXT
    assert "# mine" in lab.sh("cat /etc/agentic-watch/config.toml")
    rows = [json.loads(line) for line in lab.sh("agentic-watch history --json").splitlines()]
    assert [row["workspace"] for row in rows] == ["acme/api/task-1"]


def test_purging_leaves_the_history_and_nothing_else(lab: Lab) -> None:
    """Program, units and configuration go, bytecode too; the record of what agents did stays."""
    lab.sh("apt-get purge -qq -y agentic-watch")
    assert lab.get("LoadState") == "not-found"
    for path in ("/opt/agentic-watch", "/usr/bin/agentic-watch", "/etc/agentic-watch", *_COMPLETIONS):
        assert lab.call("test", "-e", path).returncode == 1, path
    assert lab.sh("stat -c %U /var/lib/agentic-watch/history.db") == "agentic-watch"
