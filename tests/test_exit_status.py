"""How the program ends: its exit status, and what it says when its own streams fail it."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import struct
import subprocess
import termios

import pytest
from support import Host, command, environment, held_lock, make, run, start, wait_for, write_locked

from agentic_watch.workspace.layout import META


def shell(host: Host, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which $aw is the program with the host's root and history."""
    program = shlex.join(map(str, command([])))
    where = shlex.join(host.arguments())
    result = subprocess.run(
        ["bash", "-c", f'set -o pipefail; aw() {{ {program} {where} "$@"; }}; {script}'],
        env=environment(host.base), cwd=host.base, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in result.stderr, result.stderr
    assert "Exception ignored" not in result.stderr, result.stderr
    return result


# --- its own streams


@pytest.mark.parametrize("arguments", ["--once", "--once --json", "history --json", "status", "--help"])
def test_a_reader_that_goes_away_ends_it_in_silence(host: Host, arguments: str) -> None:
    """`| head` has seen enough: exit status 0, not a word."""
    make(host.root)
    host.once()
    result = shell(host, f"aw {arguments} | true; echo ${{PIPESTATUS[0]}}")
    assert (result.stdout, result.stderr) == ("0\n", "")


def test_a_full_disk_behind_stdout_is_one_line(host: Host) -> None:
    """What was to be printed is lost: one line with the cause, exit status 1."""
    make(host.root)
    for arguments in ("--once", "status --json", "--version"):
        result = shell(host, f"aw {arguments} >/dev/full")
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert result.stderr.startswith("Error: stdout: No space left on device")


def test_a_closed_stdout_is_one_line(host: Host) -> None:
    """`>&-`: the work is done, and one line says that its result could not be told."""
    workspace = make(host.root)
    result = shell(host, "aw --once >&-")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert workspace.marker.exists()


@pytest.mark.parametrize("closing", ["2>&-", "2>/dev/full", "<&- 2>&-", "<&-"])
def test_messages_that_nobody_can_be_told_stop_nothing(host: Host, closing: str) -> None:
    """A closed or full stderr costs the messages, not the pass, and no file of ours takes its number."""
    broken, sound = make(host.root, "a/b/broken"), make(host.root, "a/b/sound")
    (broken.meta / "status.json").write_text("{")
    result = shell(host, f"aw --once --json {closing}")
    assert result.returncode == 3
    assert json.loads(result.stdout)["committed"] == 1
    assert len(sound.lines()) == 1


# --- what became of the pass


def test_a_pass_with_a_workspace_that_cannot_be_committed_ends_with_3(host: Host) -> None:
    """What lies in a workspace is not the host's fault: 3, each named, the others committed."""
    sound, planted = make(host.root, "a/b/sound"), make(host.root, "a/b/planted")
    planted.journal.mkdir()
    result = host.once()
    assert (result.code, list(result.failures)) == (3, [planted.name])
    assert sound.marker.exists()


@pytest.mark.parametrize("broken", ["status", "journal"])
def test_a_malformed_workspace_is_the_same_to_commit_and_once(host: Host, broken: str) -> None:
    """`commit` of a workspace that cannot be committed for its content ends with 3, as a pass over it does."""
    workspace = make(host.root, "a/b/planted")
    if broken == "status":
        (workspace.meta / "status.json").write_text("{")
    else:
        workspace.journal.mkdir()
    for arguments in (["commit", workspace.name], ["commit", workspace.name, "--json"], ["--once"]):
        assert run([*host.arguments(), *arguments], host.base).returncode == 3


def test_what_commit_refuses_ends_with_1(host: Host) -> None:
    """No such workspace, and one that is still at work; either outweighs a malformed one."""
    make(host.root, "a/b/running", status="running")
    broken = make(host.root, "a/b/broken")
    (broken.meta / "status.json").write_text("{")
    for names in (["nowhere"], ["a/b/running"], [broken.name, "a/b/running"]):
        result = run([*host.arguments(), "commit", *names], host.base)
        assert (result.returncode, result.stderr.count("failed: ")) == (1, len(names))


def test_a_failure_of_the_host_outweighs_it(host: Host) -> None:
    """A root that is not there, a history that takes no row: 1, whatever the workspaces are like."""
    planted = make(host.root, "a/b/planted")
    planted.journal.mkdir()
    assert run([*host.arguments(), "--root", str(host.base / "gone"), "--once"], host.base).returncode == 1
    make(host.root, "a/b/sound")
    with write_locked(host.history):
        assert host.once().code == 1


def test_a_workspace_that_somebody_holds_is_not_the_hosts_fault(host: Host) -> None:
    """A lease on the status file, which an agent can take for ever, ends the pass with 3."""
    workspace = make(host.root)
    holder = subprocess.Popen(
        ["python3", "-c", "import fcntl, sys; f = open(sys.argv[1], 'r+'); "
         "fcntl.fcntl(f, 1024, 1); print('held', flush=True); sys.stdin.read()", workspace.meta / "status.json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    result = host.once()
    holder.communicate("")
    assert (result.code, list(result.failures)) == (3, [workspace.name])


def test_ctrl_c_in_a_pass_says_what_was_done(host: Host) -> None:
    """What is in hand is finished, one line tells the counts, exit status 130; the next pass does the rest."""
    made = [make(host.root, f"org/repo{number % 50}/{number}") for number in range(1000)]
    with held_lock(made[0].meta):  # so it does not end by itself before, however fast it is
        process = start([*host.arguments(), "--once"], host.base)
        wait_for(lambda: any(host.root.glob(f"org/repo*/*/{META}/commit.json")))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.startswith("interrupted: ")
    assert (out.count("\n"), err) == (1, "")
    told = int(out.split(" workspaces: ")[1].split(" committed")[0])
    assert told == len(host.rows()) == len(list(host.root.glob(f"org/repo*/*/{META}/commit.json"))) < 1000
    assert host.once().counts["committed"] == 1000 - told


def test_ctrl_c_amid_the_output_has_nothing_printed_twice(host: Host) -> None:
    """The signal comes with the write(2) of the only line, as if its reader had sent it."""
    workspace = make(host.root)
    host.once()
    reading, writing = os.pipe()

    def interrupted_by_its_output() -> None:
        fcntl.fcntl(reading, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(reading, fcntl.F_SETSIG, signal.SIGINT)
        fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)

    arguments = command([*host.arguments(), "history", "--json"])
    with (
        os.fdopen(reading) as printed,
        subprocess.Popen(
            arguments, env=environment(host.base), stdout=writing, preexec_fn=interrupted_by_its_output
        ) as process,
    ):
        os.close(writing)
        (line,) = printed.readlines()
    assert (json.loads(line)["workspace"], process.returncode) == (workspace.name, 130)


def test_a_pipe_that_is_full_and_does_not_block_is_waited_for(host: Host) -> None:
    """Another program that shares it may have made it so; every line arrives."""
    for number in range(200):
        make(host.root, f"org/repo/{number}")
    host.once()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    arguments = command([*host.arguments(), "history", "--json", "-n", "0"])
    with (
        os.fdopen(reading) as printed,
        subprocess.Popen(arguments, env=environment(host.base), stdout=writing) as process,
    ):
        os.close(writing)
        wait_for(lambda: _is_full(reading))
        lines = printed.readlines()
    assert (process.returncode, len(lines)) == (0, 200)


def _is_full(pipe: int) -> bool:
    """Whether a line more would not fit in."""
    (held,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return held > 60_000


# --- configuration


@pytest.mark.parametrize("arguments", [["--once"], ["status"], ["config", "show"], []])
def test_a_fifo_as_the_configuration_does_not_hang(host: Host, arguments: list[str]) -> None:
    """Nobody writes to it: one line, 78."""
    fifo = host.base / "fifo"
    os.mkfifo(fifo)
    result = run(["--config", str(fifo), *arguments], host.base)
    assert (result.returncode, result.stdout) == (78, "")
    assert result.stderr == f"Error: {fifo}: is not a regular file; name one with --config FILE\n"


# --- how messages look


def test_messages_are_json_where_the_log_is(host: Host) -> None:
    """With --log-format json every line on stderr is an object with a level: errors, failures and usage."""
    broken = make(host.root)
    (broken.meta / "status.json").write_text("{")
    for arguments, level in (
        (["--once"], "warning"),
        (["commit", "nowhere"], "error"),
        (["commit"], "error"),
        (["--config", "/nowhere/x.toml", "status"], "error"),
    ):
        result = run(["--log-format", "json", *host.arguments(), *arguments], host.base)
        lines = [json.loads(line) for line in result.stderr.splitlines()]
        assert {line["level"] for line in lines} == {level}, result.stderr
        assert all(line["message"] for line in lines)


def test_messages_carry_their_priority_in_the_journal(host: Host) -> None:
    """Where stderr is the journal's stream each line begins with its priority (sd-daemon(3))."""
    broken = make(host.root)
    (broken.meta / "status.json").write_text("{")
    log = host.base / "log"
    config = host.base / "bad.toml"
    config.write_text("x = 1\ny = 2\n")
    as_json = ["--log-format", "json"]
    for arguments, prefix in (
        (["--once"], "<4>failed: "),
        (["--config", str(config), "status"], "<3>"),
        ([*as_json, "--once"], '<4>{"time": '),
        ([*as_json, "--config", str(config), "status"], '<3>{"time": '),
    ):
        with log.open("wb") as stream:
            info = os.fstat(stream.fileno())
            subprocess.run(
                command([*host.arguments(), *arguments]),
                env={**environment(host.base), "JOURNAL_STREAM": f"{info.st_dev}:{info.st_ino}"},
                stderr=stream, stdout=subprocess.DEVNULL, timeout=60, check=False,
            )  # fmt: skip
        lines = log.read_text().splitlines()
        assert lines
        assert all(line.startswith(prefix) for line in lines), lines


def test_ctrl_c_while_the_program_is_imported_is_no_traceback(host: Host) -> None:
    """It ends by the signal, as any program does that has not begun."""
    modules = host.base / "modules"
    modules.mkdir()
    (modules / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    result = subprocess.run(
        command(["--version"]),
        env={**environment(host.base), "PYTHONPATH": str(modules)},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, b"", b"")


# --- what was asked


def test_a_slip_in_a_command_names_the_nearest(host: Host) -> None:
    """`staus` is a usage error that names `status`."""
    result = run(["staus"], host.base)
    assert result.returncode == 2
    assert "did you mean `status`?" in result.stderr


@pytest.mark.parametrize("before", [True, False])
def test_global_options_go_before_and_after_the_command(host: Host, before: bool) -> None:
    """`--root`, `--history`, `-v`, `-q`, `--log-format` mean the same on both sides of it."""
    make(host.root)
    given = [*host.arguments(), "-v", "--log-format", "json"]
    result = run([*given, "status", "--json"] if before else ["status", *given, "--json"], host.base)
    assert result.returncode == 0
    assert json.loads(result.stdout)["roots"][0]["path"] == str(host.root)


def test_a_group_takes_global_options_after_its_own_command(host: Host) -> None:
    """`config show --root DIR` is what `--root DIR config show` is."""
    after = run(["config", "show", "--json", *host.arguments()], host.base)
    assert after.returncode == 0
    assert after.stdout == run([*host.arguments(), "config", "show", "--json"], host.base).stdout


# --- what a dry run tells


def test_a_dry_run_names_what_it_would_commit(host: Host) -> None:
    """Each by its root and name, as text and in JSON; nothing is written."""
    workspace = make(host.root)
    result = run([*host.arguments(), "--once", "--dry-run"], host.base)
    assert result.stdout.splitlines()[0] == f"would commit {host.root}/{workspace.name} (completed, run 0)"
    dry = host.once("--dry-run")
    assert dry.summary["would_commit"] == [{"root": str(host.root), "workspace": workspace.name}]
    assert not workspace.marker.exists()
    assert not host.history.exists()


def test_commit_says_why_it_failed_in_json(host: Host) -> None:
    """The key `error` holds the cause of each that was not committed, and is absent where all is done."""
    broken, sound = make(host.root, "a/b/broken"), make(host.root, "a/b/sound")
    (broken.meta / "status.json").write_text("{")
    result = run([*host.arguments(), "commit", "--json", broken.name, sound.name, "nowhere"], host.base)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 1
    assert [document["success"] for document in documents] == [False, True, False]
    assert ".meta/status.json" in documents[0]["error"]
    assert "error" not in documents[1]
    assert "nowhere" in documents[2]["error"]
