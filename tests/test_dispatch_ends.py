"""How a run's end is judged and where it is written: by its exit status, and never onto another's run."""

from __future__ import annotations

import json
import sys

import pytest
from dispatch_support import dispatch, dispatching_arguments, only_status, statuses
from support import Host, Workspace, run

from agentic_watch.dispatch import DispatchError, End, Overtaken, Work, begin, finish

STARTED = "2026-04-14T10:00:00Z"


@pytest.mark.parametrize(
    ("code", "question"),
    [
        (145, "exit status 145"),  # 401 of HTTP in eight bits, or SIGCHLD
        (144, "exit status 144"),  # 400
        (147, "exit status 147"),  # 403
        (148, "exit status 148"),  # 404
        (137, "exit status 137 (SIGKILL in a shell)"),
        (143, "exit status 143 (SIGTERM in a shell)"),
        (124, "exit status 124"),
    ],
)
def test_only_a_signal_that_ends_a_process_is_named(host: Host, code: int, question: str) -> None:
    """Some agents end with the status of HTTP, of which a process keeps eight bits."""
    assert dispatch(host, "--", "sh", "-c", f"exit {code}").returncode == code
    assert only_status(host)["question"] == question


@pytest.mark.parametrize("words", [["timeout", "0.05"], ["nice", "timeout", "-k", "9", "0.05"]])
def test_a_command_whose_time_is_over_has_timed_out(host: Host, words: list[str]) -> None:
    """timeout(1) says so by its exit status, and the caller still sees that."""
    assert dispatch(host, "--", *words, "sleep", "60").returncode == 124
    assert (only_status(host)["status"], only_status(host)["question"]) == ("failed", "timed out")


def test_a_script_without_an_interpreter_is_run_by_the_shell(host: Host) -> None:
    """As every shell does it; what is no text is not."""
    script, binary = host.base / "script", host.base / "binary"
    script.write_text('echo "$0 $1"; exit 3\n', "utf-8")
    binary.write_bytes(b"\x7fELF\0\0\0")
    for path in (script, binary):
        path.chmod(0o755)
    result = dispatch(host, "--workspace", "a", "--", str(script), "x y")
    assert (result.returncode, result.stdout) == (3, f"{script} x y\n")
    assert dispatch(host, "--workspace", "b", "--", "script", environ={"PATH": f"{host.base}:/usr/bin:/bin"}).stdout
    assert dispatch(host, "--workspace", "c", "--", str(binary)).returncode == 126
    assert statuses(host)["c"]["question"] == f"{binary}: cannot be run: Exec format error"


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (b"#!/bin/sh\r\n", "its interpreter '/bin/sh\\r' is not there; its lines end with CR LF"),
        (b"#! /opt/none/python3 -u\n", "its interpreter '/opt/none/python3' is not there"),
    ],
)
def test_a_script_whose_interpreter_is_not_there_says_so(host: Host, first: bytes, says: str) -> None:
    """The script itself was found."""
    script = host.base / "script"
    script.write_bytes(first + b"exit 0\r\n")
    script.chmod(0o755)
    result = dispatch(host, "--", str(script))
    assert (result.returncode, says in result.stderr) == (126, True)


@pytest.mark.parametrize("word", ["success", "done", "FAILED", "cancelled", "completed ", "running", ""])
def test_a_status_that_is_never_committed_is_refused(host: Host, word: str) -> None:
    """Nothing is written, and what can be given is said; by the library too."""
    dispatch(host, "begin", "--workspace", "w")
    before = statuses(host)
    result = dispatch(host, "finish", "w", "--status", word)
    assert (result.returncode, result.stdout, statuses(host)) == (1, "", before)
    assert "give " in result.stderr
    assert "completed, " in result.stderr
    with pytest.raises(DispatchError):
        finish(begin(str(host.root), Work(), "w"), End(word))
    assert dispatch(host, "finish", "w", "--stdin", stdin=json.dumps({"status": word})).returncode == 1


def test_a_status_that_is_configured_as_finished_is_an_end(host: Host) -> None:
    """What the daemon commits, `finish` writes."""
    config = host.base / "config.toml"
    config.write_text(
        f'[[roots]]\npath = "{host.root}"\n[history]\npath = "{host.history}"\n'
        '[commit]\nfinished = ["completed", "failed", "cancelled"]\n',
        "utf-8",
    )
    dispatch(host, "begin", "--workspace", "w")
    assert run(["--config", str(config), "dispatch", "finish", "w", "--status", "cancelled"], host.base).returncode == 0
    assert run(["--config", str(config), "dispatch", "finish", "w", "--status", "merged"], host.base).returncode == 1
    assert statuses(host)["w"]["status"] == "cancelled"


def test_an_end_is_not_written_onto_a_dispatch_that_began_anew(host: Host) -> None:
    """The original dispatches into the workspace while our command runs there, and counts from one again."""
    workspace = Workspace(host.root, "w")
    theirs = json.dumps(
        {"status": "running", "updated_at": STARTED, "started_at": STARTED, "runs": 1, "task": "theirs"}
    )
    script = f"printf '%s' '{theirs}' > \"$AGENTIC_WATCH_WORKSPACE/.meta/status.json\"; exit 7"
    result = dispatch(host, "--workspace", "w", "--task", "ours", "--", "sh", "-c", script)
    assert result.returncode == 7
    assert f"warning: {workspace.path}: run 1, begun at {STARTED}, is another one" in result.stderr
    assert "the end of run 1 is not written: failed, exit status 7" in result.stderr
    assert (workspace.meta / "status.json").read_text("utf-8") == theirs


@pytest.mark.parametrize("to", ["o/r/there", "elsewhere/deeper/still/there"])
def test_the_end_goes_where_the_workspace_was_moved(host: Host, to: str) -> None:
    """Somebody renames it, or its organisation, while the command runs, and another begins at the old name."""
    begin_there = " ".join(dispatching_arguments(host, ["begin", "--workspace", "o/r/w", "--task", "theirs"]))
    moved = host.root / to
    script = f'mkdir -p {moved.parent}; mv "$AGENTIC_WATCH_WORKSPACE" {moved}; {begin_there} >&2; echo done'
    options = ["--workspace", "o/r/w", "--task", "ours", "--log"]
    result = dispatch(host, *options, "--", "sh", "-c", script)
    assert (result.returncode, result.stdout) == (0, "done\n")
    assert "not recorded" not in result.stderr
    assert {name: (one["task"], one["status"]) for name, one in statuses(host).items()} == {
        "o/r/w": ("theirs", "running"),
        to: ("ours", "completed"),
    }
    assert "done" in (moved / ".meta/agent.log").read_text("utf-8")


def test_two_spellings_of_one_start_are_one_run(host: Host) -> None:
    """A dispatcher may write the time otherwise when it writes the status again."""
    ours = begin(str(host.root), Work(), "w")
    workspace = Workspace(host.root, "w")
    again = {**statuses(host)["w"], "started_at": ours.started_at.replace("Z", "+00:00")}
    (workspace.meta / "status.json").write_text(json.dumps(again), "utf-8")
    assert finish(ours, End("failed"))
    with pytest.raises(Overtaken):
        finish(ours._replace(started_at=STARTED), End("failed"))


def test_the_command_knows_its_run_and_ends_no_other(host: Host) -> None:
    """`finish` in its environment names its run; in another workspace, and with another --run, it does not."""
    dispatch(host, "begin", "--workspace", "other")
    dispatch(host, "finish", "other")
    dispatch(host, "begin", "--workspace", "other")
    finish_here = " ".join([*dispatching_arguments(host, ["finish"])])
    anew = f"{sys.executable} -c '{ANEW}' $AGENTIC_WATCH_WORKSPACE/.meta/status.json"
    ends = "; ".join(f"{finish_here} {how}" for how in ("--status rejected", "--run 1 --status failed", "--run 2"))
    script = f"echo $AGENTIC_WATCH_RUN; {finish_here} other --status blocked; {anew}; {ends}; :"
    result = dispatch(host, "--workspace", "w", "--", "sh", "-c", script)
    assert result.stdout.startswith("1\n")
    assert result.stderr.count("is not written") == 4  # what the command says itself, and the wrapper
    assert "w: no daemon" not in result.stderr
    assert (statuses(host)["other"]["status"], statuses(host)["other"]["runs"]) == ("blocked", 2)
    assert (statuses(host)["w"]["status"], statuses(host)["w"]["runs"]) == ("running", 1)


ANEW = (
    "import json, pathlib, sys; path = pathlib.Path(sys.argv[1]); status = json.loads(path.read_text()); "
    'status["started_at"] = status["updated_at"] = "2999-01-01T00:00:00Z"; path.write_text(json.dumps(status))'
)


def test_what_cannot_be_recorded_is_not_run_and_says_so(host: Host) -> None:
    """With --best-effort it runs all the same, with one warning and its own exit status."""
    config = host.base / "broken.toml"
    config.write_text("nonsense = 1\n", "utf-8")
    blocked = host.base / "file"
    blocked.write_text("", "utf-8")
    ran = host.base / "ran"
    for where, code in (
        (["--root", str(blocked)], 1),
        (["--config", str(config)], 78),
        ([*host.arguments(), "--config", str(config)], 78),
    ):
        arguments = [*where, "dispatch", "--", "sh", "-c", f"touch {ran}; exit 9"]
        result = run(arguments, host.base)
        assert (result.returncode, ran.exists()) == (code, False)
        assert "the command was not run; with --best-effort it runs anyway" in result.stderr
        result = run([*where, "dispatch", "--best-effort", *arguments[len(where) + 1 :]], host.base)
        assert (result.returncode, ran.exists()) == (9, True)
        assert "warning: " in result.stderr
        assert "the command runs unrecorded" in result.stderr
        ran.unlink()
    assert statuses(host) == {}


def test_best_effort_records_what_it_can(host: Host) -> None:
    """It changes nothing where a dispatch can be recorded; a workspace that is taken is left alone."""
    assert dispatch(host, "--workspace", "w", "--best-effort", "--", "false").returncode == 1
    assert only_status(host)["status"] == "failed"
    dispatch(host, "begin", "--workspace", "w")
    before = statuses(host)
    result = dispatch(host, "--workspace", "w", "--best-effort", "--", "echo", "$AGENTIC_WATCH_WORKSPACE")
    assert (result.returncode, "is in progress there" in result.stderr) == (0, True)
    assert statuses(host) == before


def test_an_environment_that_somebody_set_by_hand_ends_nothing_by_mistake(host: Host) -> None:
    """What is no time names no run; what is no number is passed over."""
    path = dispatch(host, "begin", "--workspace", "w").stdout.strip()
    environ = {"AGENTIC_WATCH_WORKSPACE": path, "AGENTIC_WATCH_STARTED_AT": "yesterday"}
    result = dispatch(host, "finish", environ={**environ, "AGENTIC_WATCH_RUN": "1"})
    assert (result.returncode, "is not written" in result.stderr) == (1, True)
    assert dispatch(host, "finish", environ={**environ, "AGENTIC_WATCH_RUN": "one"}).returncode == 0


def test_a_run_in_the_environment_counts_for_a_workspace_that_is_named(host: Host) -> None:
    """Unless the environment names another workspace, whose run it is."""
    path = dispatch(host, "begin", "--workspace", "w").stdout.strip()
    dispatch(host, "begin", "--workspace", "other")
    for environ in ({}, {"AGENTIC_WATCH_WORKSPACE": "w"}, {"AGENTIC_WATCH_WORKSPACE": path}):
        for workspace in ("w", path):
            result = dispatch(host, "finish", workspace, environ={**environ, "AGENTIC_WATCH_RUN": "2"})
            assert (result.returncode, "the end of run 2 is not written" in result.stderr) == (1, True)
    environ = {"AGENTIC_WATCH_WORKSPACE": path, "AGENTIC_WATCH_RUN": "2"}
    assert dispatch(host, "finish", "other", environ=environ).returncode == 0
