"""Signals, the terminal and job control: as if `dispatch` did not stand between the command and its terminal."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from dispatch_support import dispatching_arguments, git_environment, only_status
from support import Host, wait_for

NOTE_SIGNALS = """
import signal, sys, time
def note(number, frame):
    with open(sys.argv[1], "a") as file:
        file.write(signal.Signals(number).name + "\\n")
for name in sys.argv[2:]:
    signal.signal(signal.Signals[name], note)
open(sys.argv[1], "a").write("ready\\n")
while "SIGTERM" not in open(sys.argv[1]).read():
    time.sleep(0.01)
"""
FORWARDED = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTERM"]


def noting(host: Host, notes: Path, names: list[str]) -> list[str]:
    """`dispatch` of a command that notes the signals it gets, and ends at SIGTERM."""
    words = [sys.executable, "-c", NOTE_SIGNALS, str(notes), *names]
    return dispatching_arguments(host, ["--workspace", "w", "--", *words])


def lines(notes: Path) -> list[str]:
    return notes.read_text("ascii").splitlines() if notes.exists() else []


def state_of(pid: int) -> str:
    """The state of a process by proc_pid_stat(5): T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]


def wait_for_command(pid: int, name: str) -> int:
    """Wait until the wrapper `pid` runs the program `name`; gives its process id."""

    def found() -> list[int]:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        return [int(child) for child in children if Path(f"/proc/{child}/comm").read_text("ascii") == f"{name}\n"]

    def runs() -> bool:
        try:
            return bool(found())
        except (FileNotFoundError, ProcessLookupError):
            return False  # one of git's, which has ended meanwhile

    wait_for(runs)
    return found()[0]


def test_a_signal_sent_to_us_reaches_the_command_once(host: Host) -> None:
    """What somebody sends to the wrapper is handed on; at the end the status says completed."""
    notes = host.base / "notes"
    process = subprocess.Popen(noting(host, notes, FORWARDED), env=git_environment(host.base))
    wait_for(lambda: lines(notes) == ["ready"])
    for count, name in enumerate(FORWARDED, 2):
        process.send_signal(signal.Signals[name])
        wait_for(lambda count=count: len(lines(notes)) == count)
    assert process.wait(20) == 0
    assert lines(notes) == ["ready", *FORWARDED]
    assert only_status(host)["status"] == "completed"


def in_terminal(host: Host, arguments: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start it as the leader of a session with a terminal of its own; gives it, and the terminal's other end."""
    ours, theirs = os.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        arguments,
        env=git_environment(host.base),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    return process, ours


def test_a_terminal_that_is_closed_ends_the_command(host: Host) -> None:
    """Run in place of a shell (ssh -t, a window of tmux), the kernel tells us alone: we hand it on."""
    process, ours = in_terminal(host, dispatching_arguments(host, ["--", "sleep", "300"]))
    command = wait_for_command(process.pid, "sleep")
    os.close(ours)
    assert process.wait(20) == -signal.SIGHUP
    assert not Path(f"/proc/{command}").exists()
    assert (only_status(host)["status"], only_status(host)["question"]) == ("failed", "killed by SIGHUP")


def test_ctrl_c_in_a_terminal_is_not_doubled(host: Host) -> None:
    """The kernel sends a terminal's keys and its new size to the whole group: the command gets each just once."""
    notes = host.base / "notes"
    process, ours = in_terminal(host, noting(host, notes, FORWARDED))
    try:
        wait_for(lambda: lines(notes) == ["ready"])
        os.write(ours, b"\x03")
        wait_for(lambda: lines(notes)[1:] == ["SIGINT"])
        os.write(ours, b"\x1c")
        wait_for(lambda: lines(notes)[2:] == ["SIGQUIT"])
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
        wait_for(lambda: lines(notes)[3:] == ["SIGWINCH"])
        process.terminate()
        assert process.wait(20) == 0
    finally:
        os.close(ours)
    assert lines(notes) == ["ready", "SIGINT", "SIGQUIT", "SIGWINCH", "SIGTERM"]
    assert only_status(host)["status"] == "completed"


def test_ctrl_z_stops_both_and_fg_continues_both(host: Host) -> None:
    """SIGTSTP stops the command and the wrapper, so that a shell has its prompt back; SIGCONT continues both."""
    arguments = dispatching_arguments(host, ["--", "cat"])
    process = subprocess.Popen(arguments, env=git_environment(host.base), stdin=subprocess.PIPE, process_group=0)
    command = wait_for_command(process.pid, "cat")
    for send in (os.kill, os.killpg):
        send(process.pid, signal.SIGTSTP)
        wait_for(lambda: {state_of(process.pid), state_of(command)} == {"T"})
        send(process.pid, signal.SIGCONT)
        wait_for(lambda: "T" not in {state_of(process.pid), state_of(command)})
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0


def test_a_terminal_stays_a_terminal(host: Host) -> None:
    """The command has the terminal as its own stdin, stdout and stderr."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        dispatching_arguments(host, ["--", "sh", "-c", "test -t 0 && test -t 1 && test -t 2"]),
        env=git_environment(host.base),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    assert process.wait(20) == 0
    os.close(ours)


def test_what_is_ignored_stays_ignored_and_what_python_ignores_does_not(host: Host) -> None:
    """Under nohup a hang-up reaches neither of us; a broken pipe ends the command as it does without us."""
    ignored = dispatching_arguments(host, ["--workspace", "a", "--", "sh", "-c", "grep SigIgn /proc/self/status"])
    hung_up = 1 << (signal.SIGHUP - 1)
    for number, want in ((signal.SIG_IGN, hung_up), (signal.SIG_DFL, 0)):
        result = subprocess.run(
            ignored,
            env=git_environment(host.base),
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=lambda number=number: signal.signal(signal.SIGHUP, number),
        )
        mask = int(result.stdout.split()[1], 16)
        assert mask & (hung_up | 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGINT - 1)) == want


def test_a_signal_that_comes_before_the_command_keeps_it_from_being_run(host: Host) -> None:
    """Ctrl-C while the status is still being written is not lost: recorded, and the command never starts."""

    def struck() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.kill(os.getpid(), signal.SIGTERM)

    words = dispatching_arguments(host, ["--", "touch", str(host.base / "ran")])
    assert subprocess.run(words, env=git_environment(host.base), preexec_fn=struck).returncode == -signal.SIGTERM
    assert not (host.base / "ran").exists()
    assert only_status(host)["question"] == "killed by SIGTERM"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_a_signal_ends_is_recorded(host: Host, number: signal.Signals) -> None:
    """SIGTERM to the wrapper ends the command, is recorded by name, and ends the wrapper in the same way."""
    process = subprocess.Popen(dispatching_arguments(host, ["--", "sleep", "60"]), env=git_environment(host.base))
    wait_for_command(process.pid, "sleep")
    process.send_signal(number)
    assert process.wait(20) == -number
    status = only_status(host)
    assert (status["status"], status["question"]) == ("failed", f"killed by {number.name}")
