"""`dispatch --log` and `--patch`: what a command printed and what it changed, left in its workspace."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from dispatch_support import clone, dispatch, dispatching_arguments, git, git_environment, only_status
from support import Host, wait_for

BOTH = "i=0; while [ $i -lt 50 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; exit 3"


def log_of(host: Host, workspace: str = "w") -> Path:
    return host.root / workspace / ".meta/agent.log"


def test_what_is_printed_is_seen_and_kept(host: Host) -> None:
    """Both streams go where they go anyway, and both into the log; the exit status is the command's."""
    result = dispatch(host, "--log", "--workspace", "w", "--", "sh", "-c", BOTH)
    assert result.returncode == 3
    lines = log_of(host).read_text().splitlines()
    assert [line for line in lines if line.startswith("out")] == result.stdout.splitlines()
    errors = [line for line in lines if line.startswith("err")]
    assert errors == [f"err{number}" for number in range(50)] == result.stderr.splitlines()[:50]
    assert only_status(host)["question"] == "exit status 3"


def test_the_order_is_kept_where_both_lead_to_one_place(host: Host) -> None:
    """`2>&1`: the log has what the caller sees, line by line."""
    seen = host.base / "seen"
    with seen.open("wb") as file:
        words = dispatching_arguments(host, ["--log", "--workspace", "w", "--", "sh", "-c", BOTH])
        subprocess.run(words, env=git_environment(host.base), cwd=host.base, stdout=file, stderr=file, check=False)
    printed = [line for number in range(50) for line in (f"out{number}", f"err{number}")]
    assert log_of(host).read_text().splitlines() == printed == seen.read_text().splitlines()[:100]


def test_a_terminal_is_left_to_the_command(host: Host) -> None:
    """A command that has a terminal keeps it, and no log is made."""
    leader, terminal = pty.openpty()
    try:
        words = dispatching_arguments(host, ["--log", "--workspace", "w", "--", "sh", "-c", "test -t 1 && test -t 2"])
        ended = subprocess.run(
            words,
            env=git_environment(host.base),
            cwd=host.base,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            check=False,
        )
    finally:
        os.close(leader)
        os.close(terminal)
    assert ended.returncode == 0
    assert not log_of(host).exists()


def test_of_endless_output_the_end_is_kept(host: Host) -> None:
    """Over 4 MiB the log loses its oldest lines, from a line's beginning, and nothing of its end."""
    text = "for n in range(150_000): print(f'{n:060}')"
    result = dispatch(host, "--log", "--workspace", "w", "--", sys.executable, "-c", text)
    assert result.stdout.count("\n") == 150_000
    lines = log_of(host).read_text().splitlines()
    assert 2 << 20 >> 7 < len(lines) < 4 << 20 >> 5
    assert lines == [f"{number:060}" for number in range(150_000 - len(lines), 150_000)]


def test_a_reader_that_goes_away_ends_the_command_as_ever(host: Host) -> None:
    """`| head -1`: the command gets its SIGPIPE."""
    words = dispatching_arguments(host, ["--log", "--workspace", "w", "--", "yes"])
    with subprocess.Popen(
        words, env=git_environment(host.base), cwd=host.base, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        process.wait(60)
    assert only_status(host)["question"] == "killed by SIGPIPE"


def test_a_slow_reader_holds_up_neither_log_nor_status(host: Host) -> None:
    """The end is recorded while the caller has not read yet; then it gets every line."""
    words = dispatching_arguments(host, ["--log", "--workspace", "w", "--", "seq", "1", "12000"])
    with subprocess.Popen(
        words, env=git_environment(host.base), cwd=host.base, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        wait_for(lambda: (host.root / "w/.meta/status.json").exists() and only_status(host)["status"] == "completed")
        assert log_of(host).read_text().endswith("\n12000\n")
        assert process.stdout is not None
        assert process.stdout.read().split() == log_of(host).read_bytes().split()
        process.wait(60)


def test_what_runs_on_in_the_background_is_not_waited_for(host: Host) -> None:
    """A process that the command leaves behind holds its stdout open, and up nobody."""
    ready = host.base / "ready"
    script = f"mkfifo {ready}; (read line <{ready}; echo late) & echo done"
    result = dispatch(host, "--log", "--workspace", "w", "--", "sh", "-c", script)
    assert result.stdout == "done\n"
    assert log_of(host).read_text() == "done\n"
    ready.write_text("go on, and end\n")


def test_a_log_that_cannot_be_written_stops_nothing(host: Host) -> None:
    """A directory in its place: one warning, and the command is recorded without its output; a link is replaced."""
    log_of(host).mkdir(parents=True)
    result = dispatch(host, "--log", "--workspace", "w", "--", "echo", "said")
    assert (result.returncode, result.stdout) == (0, "said\n")
    assert result.stderr.count("agent.log") == 1
    victim = host.base / "victim"
    victim.write_text("untouched")
    log_of(host, "v").parent.mkdir(parents=True)
    log_of(host, "v").symlink_to(victim)
    dispatch(host, "--log", "--workspace", "v", "--", "echo", "said")
    assert (victim.read_text(), log_of(host, "v").read_text()) == ("untouched", "said\n")


def test_the_configuration_may_ask_for_both(host: Host) -> None:
    """`[dispatch] log` and `patch` are what the options are by default."""
    config = host.base / "config.toml"
    config.write_text(
        f'[[roots]]\npath = "{host.root}"\n[history]\npath = "{host.history}"\n[dispatch]\nlog = true\npatch = true\n'
    )
    place = clone(host.base / "clone")
    environ = {"AGENTIC_WATCH_CONFIG": str(config)}
    dispatch(host, "--workspace", "w", "--", "sh", "-c", "echo said; echo more >>kept.txt", cwd=place, environ=environ)
    assert log_of(host).read_text() == "said\n"
    assert "+more" in log_of(host).with_name("changes.patch").read_text()
    dispatch(host, "--no-log", "--no-patch", "--workspace", "v", "--", "echo", "said", cwd=place, environ=environ)
    assert sorted(path.name for path in (host.root / "v/.meta").iterdir()) == ["report.json", "status.json"]


def test_the_patch_leads_from_the_start_to_the_files_as_they_are(host: Host) -> None:
    """Commits, changes and new files are in it; git applies it to what the run began with."""
    place, copy = clone(host.base / "clone"), host.base / "copy"
    git(host.base, "clone", "-q", str(place), str(copy))
    script = "echo four >>kept.txt; git commit -qam change; echo five >>kept.txt; echo new >new.txt"
    dispatch(host, "--patch", "--workspace", "w", "--", "sh", "-c", script, cwd=place)
    patch = host.root / "w/.meta/changes.patch"
    assert git(place, "status", "--short") == "M kept.txt\n?? new.txt"
    git(copy, "apply", str(patch))
    assert (copy / "kept.txt").read_text() == (place / "kept.txt").read_text()
    assert (copy / "new.txt").read_text() == "new\n"
    dispatch(host, "--patch", "--workspace", "v", "--", "true", cwd=copy)
    assert "+new" in (host.root / "v/.meta/changes.patch").read_text()


def test_who_begins_and_finishes_gets_the_patch_too(host: Host) -> None:
    """From the commit at `begin` to the files at `finish --patch`; a run that is finished keeps its own."""
    place = clone(host.base / "clone")
    dispatch(host, "begin", "--workspace", "w", "--pid", "0", cwd=place)
    (place / "kept.txt").write_text("another\n")
    dispatch(host, "finish", "w", "--patch", cwd=place)
    patch = host.root / "w/.meta/changes.patch"
    written = patch.read_text()
    assert "+another" in written
    (place / "kept.txt").write_text("later\n")
    host.once()
    dispatch(host, "finish", "w", "--status", "merged", "--patch", cwd=place)
    assert patch.read_text() == written


def test_a_patch_of_an_earlier_run_goes(host: Host) -> None:
    """A run that changed nothing has none, whatever the one before it left."""
    place = clone(host.base / "clone")
    dispatch(host, "--patch", "--workspace", "w", "--", "sh", "-c", "echo more >>kept.txt", cwd=place)
    git(place, "checkout", "-q", "kept.txt")
    assert host.once().counts["committed"] == 1
    dispatch(host, "--patch", "--workspace", "w", "--", "true", cwd=place)
    assert not (host.root / "w/.meta/changes.patch").exists()


def test_a_patch_over_a_mebibyte_is_left_out_and_said(host: Host) -> None:
    """Half of a patch is none."""
    place = clone(host.base / "clone")
    script = "seq 1 200000 >numbers.txt"
    result = dispatch(host, "--patch", "--workspace", "w", "--", "sh", "-c", script, cwd=place)
    assert "no .meta/changes.patch: the patch is larger than 1 MiB" in result.stderr
    assert not (host.root / "w/.meta/changes.patch").exists()
