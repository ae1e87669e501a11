"""What the tests of the writing side share: running `dispatch`, and reading the status it left."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support import Host, command, environment, run_with


def dispatching_arguments(host: Host, arguments: Sequence[str]) -> list[str]:
    return [str(word) for word in command([*host.arguments(), "dispatch", *arguments])]


def dispatch(
    host: Host,
    *arguments: str,
    cwd: Path | None = None,
    stdin: str = "",
    environ: Mapping[str, str] | None = None,
    lacking: Sequence[int] = (),
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run `agentic-watch dispatch …` to its end; nothing of the program's own may come out as a traceback."""
    variables = {**git_environment(host.base), **(environ or {})}
    words = [*host.arguments(), "dispatch", *arguments]
    return run_with(variables, words, cwd or host.base, stdin=stdin, lacking=lacking, timeout=timeout)


def git_environment(base: Path) -> dict[str, str]:
    """The environment of the tests, with a git that knows nothing of the tester."""
    who = {f"GIT_{role}_{what}": "test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**environment(base), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **who}


def git(directory: Path, *arguments: str) -> str:
    """Run git to its end; its failure is the test's."""
    result = subprocess.run(
        ["git", *arguments], cwd=directory, env=git_environment(directory), capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def clone(place: Path, origin: str = "https://example.org/acme/billing.git") -> Path:
    """A repository with one commit on the branch `work`, and an origin that is never asked."""
    place.mkdir(parents=True)
    git(place, "init", "-q", "-b", "work")
    git(place, "remote", "add", "origin", origin)
    (place / "kept.txt").write_text("one\ntwo\nthree\n", "utf-8")
    git(place, "add", ".")
    git(place, "commit", "-qm", "begin")
    return place


def statuses(host: Host) -> dict[str, dict[str, Any]]:
    """Every status below the root, by the workspace's name."""
    found = host.root.rglob(".meta/status.json")
    return {str(path.parent.parent.relative_to(host.root)): json.loads(path.read_bytes()) for path in found}


def only_status(host: Host) -> dict[str, Any]:
    """The status of the only workspace there is."""
    (status,) = statuses(host).values()
    return status


def only_report(host: Host) -> dict[str, Any]:
    """The report of the only workspace there is, without the command line, which the test has given itself."""
    report = whole_report(host)
    report.pop("command", None)
    return report


def whole_report(host: Host) -> dict[str, Any]:
    """The report of the only workspace there is."""
    (path,) = host.root.rglob(".meta/report.json")
    report: dict[str, Any] = json.loads(path.read_bytes())
    return report
