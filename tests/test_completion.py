"""Completion as a user has it: a real shell, a real tab."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import Host, environment, make, run

SHELLS = ("bash", "zsh", "fish")
BIN = Path(sys.executable).parent


@pytest.fixture
def known(host: Host) -> Host:
    """A host with something to complete."""
    make(host.root, "acme/billing/task-101", repo="billing", org="acme", agent="codex:gpt-5", status="merged")
    make(host.root, "acme/gateway/task-7", repo="gateway", org="acme", agent="claude", status="failed")
    host.once()
    return host


def needs(shell: str) -> None:
    """Skip where a shell is not installed; where all must be there, its absence is a failure."""
    if shutil.which(shell) is None and "CI" not in os.environ:
        pytest.skip(f"{shell} is not installed")


def script(host: Host, shell: str) -> Path:
    """The completion script in a file."""
    path = host.base / f"completion.{shell}"
    path.write_text(run(["completion", shell], host.base).stdout)
    return path


LINES = {
    "agentic-watch rena": "rename-root",
    "agentic-watch --history {history} history --repo bil": "billing",
    "agentic-watch history --history {history} --status mer": "merged",
    "agentic-watch --history {history} history --agent codex:g": "gpt-5",
    "agentic-watch --history {history} show acme/g": "acme/gateway/task-7",
    "agentic-watch history --committ": "--committed-since",
}
_CLEAR = "\x15"


def variables(host: Host) -> dict[str, str]:
    return {**environment(host.base), "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb"}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_tab_completes(known: Host, shell: str) -> None:
    """Commands, options, and values out of the history appear on the terminal behind what was typed."""
    needs(shell)
    start = ["bash", "--norc", "--noprofile", "-i"] if shell == "bash" else ["zsh", "-f", "-i"]
    prepare = "autoload -U compinit; compinit -u -D; " if shell == "zsh" else ""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        start, stdin=theirs, stdout=theirs, stderr=theirs, env=variables(known), start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            os.write(ours, f"{prepare}source {script(known, shell)}; echo rea''dy\r".encode())
            read_until(ours, "ready")
            for line, expected in LINES.items():
                os.write(ours, f"{line.format(history=known.history)}\t".encode())
                read_until(ours, expected)
                os.write(ours, _CLEAR.encode())
        finally:
            process.kill()
    os.close(ours)


def read_until(descriptor: int, text: str, seconds: float = 30.0) -> None:
    """Read what a terminal shows until it shows `text`."""
    said = ""
    deadline = time.monotonic() + seconds
    while text not in said:
        assert time.monotonic() < deadline, said
        if select.select([descriptor], [], [], 0.1)[0]:
            said += os.read(descriptor, 65536).decode(errors="replace")


def test_fish_is_told_what_completes(known: Host) -> None:
    """What fish would offer for each line."""
    needs("fish")
    asked = "; ".join(f"complete -C '{line.format(history=known.history)}'" for line in LINES)
    result = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script(known, 'fish')}; {asked}"],
        env=variables(known),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for expected in LINES.values():
        assert expected in result.stdout


def test_a_history_that_cannot_be_read_is_no_message(host: Host) -> None:
    """A key press gets values or none, never an error on the line."""
    result = subprocess.run(
        [BIN / "agentic-watch"],
        env={
            **environment(host.base),
            "_AGENTIC_WATCH_COMPLETE": "bash_complete",
            "COMP_LINE": f"agentic-watch --history {host.base}/none.db history --repo ",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.stdout.strip(), result.stderr) == ("", "")


def test_the_query_behind_a_key_press_reads_little(known: Host) -> None:
    """A repository and a workspace are found by an index, whatever the number of rows."""
    plans = known.query(
        "EXPLAIN QUERY PLAN SELECT min(repo) FROM dispatch_history WHERE repo >= ? AND repo < ?", "b", "c"
    )
    assert all("USING COVERING INDEX" in row["detail"] for row in plans if "dispatch_history" in row["detail"])
