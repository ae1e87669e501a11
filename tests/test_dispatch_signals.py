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
from dispatch_support import dispatching_arguments, git_environment, only_report, only_status
from support import Host, wait_for

NOTE_SIGNALS = """
import pathlib, signal, sys, time
notes = pathlib.Path(sys.argv[1])
def note(what):
    with notes.open("a") as file:
        file.write(what + "\\n")
for name in sys.argv[2:]:
    signal.signal(signal.Signals[name], lambda number, frame: note(signal.Signals(number).name))
note("ready")
while "SIGTERM" not in notes.read_text():
    time.sleep(0.01)
"""
"""It prints nothing: nobody reads its terminal, which holds a few kilobytes."""
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
    """What somebody sends to the wrapper is handed on; what ends well just after that was stopped all the same."""
    notes = host.base / "notes"
    process = subprocess.Popen(noting(host, notes, FORWARDED), env=git_environment(host.base))
    wait_for(lambda: lines(notes) == ["ready"])
    for count, name in enumerate(FORWARDED, 2):
        process.send_signal(signal.Signals[name])
        wait_for(lambda count=count: len(lines(notes)) == count)
    assert process.wait(20) == 0
    assert lines(notes) == ["ready", *FORWARDED]
    assert (only_status(host)["status"], only_status(host)["question"]) == ("failed", "stopped by SIGTERM")


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
    assert only_status(host)["question"] == "stopped by SIGTERM"


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


ENDS_WELL = """
import signal, sys, time
asked = []
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda *_: asked.append(time.monotonic()))
print("ready", flush=True)
while not asked or time.monotonic() < asked[0] + float(sys.argv[1]):
    time.sleep(0.01)
"""


def stopped(host: Host, number: signal.Signals, seconds: float) -> int:
    """Send a signal to a command that takes so long to end with 0 after it; gives the exit status."""
    words = dispatching_arguments(host, ["--", sys.executable, "-c", ENDS_WELL, str(seconds)])
    process = subprocess.Popen(words, env=git_environment(host.base), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        return process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped_and_ends_with_0_has_failed(host: Host, number: signal.Signals) -> None:
    """Many an agent answers Ctrl-C so: it is no success, and the caller still sees the command's own exit status."""
    assert stopped(host, number, 0) == 0
    status, report = only_status(host), only_report(host)
    assert (status["status"], status["question"], report["passed"]) == ("failed", f"stopped by {number.name}", False)
    host.once()
    (row,) = host.rows().values()
    assert (row["status"], row["question"], row["passed"]) == ("failed", f"stopped by {number.name}", 0)


def test_a_command_that_goes_on_long_after_it_was_asked_to_stop_ends_by_itself(host: Host) -> None:
    """One that takes no notice, and is done more than ten seconds later, has done its work."""
    assert stopped(host, signal.SIGTERM, 10.5) == 0
    assert (only_status(host)["status"], only_report(host)["passed"]) == ("completed", True)


def test_a_signal_that_asks_for_no_end_is_no_stop(host: Host) -> None:
    """A command that ends well after SIGUSR1 has completed."""
    assert stopped(host, signal.SIGUSR1, 0) == 0
    assert only_status(host)["status"] == "completed"


def test_what_a_stopped_command_says_itself_stands(host: Host) -> None:
    """It was asked to stop, and says by `finish` how it ended."""
    finish = dispatching_arguments(host, ["finish", "--status", "ready-for-review"])
    script = f"trap '{' '.join(finish)}; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        dispatching_arguments(host, ["--", "sh", "-c", script]),
        env=git_environment(host.base),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(30) == 0
    assert (only_status(host)["status"], only_status(host).get("question")) == ("ready-for-review", None)
