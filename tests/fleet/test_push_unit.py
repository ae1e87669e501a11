"""The pusher's unit: there when something is to be pushed, confined, blind to the roots, and told its secrets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agentic_watch.config import Config, Hook, Root, Target
from agentic_watch.service import units
from agentic_watch.service.units import PUSHER, USER, Host, files

TARGETS = (
    Target("fleet", "postgres", dsn_file="/etc/agentic-watch/fleet.dsn"),
    Target("lead", "http", url="https://lead.example.org", token_file="lead-token"),
)
HIGHEST_EXPOSURE = 1.5
analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def made(directory: str = units.SYSTEM_UNITS, account: tuple[str, str] | None = (USER, USER), **fields: object) -> Host:
    values = {
        "command": (sys.executable, "-P", "-m", "agentic_watch"),
        "options": ("--config=/etc/agentic-watch/config.toml",),
        "history": f"{units.STATE}/history.db",
        "roots": ("/srv/agents", "/home/agent/a b"),
    }
    return Host(**(values | fields), account=account, unit_directory=directory)  # type: ignore[arg-type]


def config(push: tuple[Target, ...] = TARGETS, hooks: tuple[Hook, ...] = ()) -> Config:
    return Config(roots=(Root("/srv/agents"),), history=f"{units.STATE}/history.db", push=push, hooks=hooks)


def settings(host: Host) -> list[str]:
    text = files(host, config())[f"{host.unit_directory}/{PUSHER}.d/10-host.conf"]
    return [line for line in text.splitlines() if "=" in line and not line.startswith("#")]


def test_it_is_there_when_it_has_something_to_do() -> None:
    """Without a target and without a hook there is no unit; either of them brings it."""
    assert files(made(), config(())) == {}
    assert len(files(made(), config())) == 2
    assert len(files(made(), config((), (Hook(frozenset({"failed"}), ("/bin/true",)),)))) == 2


def test_what_the_drop_in_says() -> None:
    """The history is named, each root is hidden, and a secret's file is passed as a credential."""
    found = settings(made())
    assert found[1].endswith(f"--history={units.STATE}/history.db push --follow")
    assert found[2:] == [
        "InaccessiblePaths=-/srv/agents",
        'InaccessiblePaths="-/home/agent/a b"',
        "LoadCredential=push-fleet:/etc/agentic-watch/fleet.dsn",
    ]


def test_another_place_and_account() -> None:
    """A history elsewhere is named once, its directory may be written, and the account is the service's."""
    host = made(history="/data/h.db", options=("--config=/c", "--history=/data/h.db"), account=("u", "g"))
    found = settings(host)
    assert found[1].count("--history=") == 1
    assert {"User=u", "Group=g", "ReadWritePaths=-/data"} <= set(found)


def written(directory: Path, host: Host) -> Path:
    for path, text in files(host, config()).items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, "utf-8")
    return directory / PUSHER


@analyze
def test_little_is_exposed(tmp_path: Path) -> None:
    """What has a network has next to nothing else."""
    unit = written(tmp_path, made(str(tmp_path)))
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True, check=True, env={**os.environ, "SYSTEMD_EMOJI": "0", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert found is not None, result.stdout
    assert float(found[1]) <= HIGHEST_EXPOSURE, result.stdout


@analyze
@pytest.mark.parametrize("account", [(USER, USER), None])
def test_systemd_finds_no_fault(tmp_path: Path, account: tuple[str, str] | None) -> None:
    """`systemd-analyze verify` has nothing to say of the unit and its drop-in, the system's and a user's."""
    unit = written(tmp_path, made(str(tmp_path), account))
    result = subprocess.run(
        ["systemd-analyze", *([] if account else ["--user"]), "verify", "--man=no", unit],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
