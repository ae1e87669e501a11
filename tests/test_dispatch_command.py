"""`agentic-watch dispatch -- COMMAND`: what the command sees, what its caller sees, and what is recorded."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from daemon_support import Service
from dispatch_support import (
    clone,
    dispatch,
    dispatching_arguments,
    git,
    git_environment,
    only_report,
    only_status,
    statuses,
    whole_report,
)
from support import Host, Workspace, run, wait_for

GO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")


def test_a_command_that_succeeds_is_completed_and_committed(host: Host) -> None:
    """From a command line to a row: dispatch, then one pass."""
    result = dispatch(host, "--task", "Say hello", "--agent", "echo:v1", "--", "echo", "hello")
    assert (result.returncode, result.stdout) == (0, "hello\n")
    assert host.once().counts == {"scanned": 1, "committed": 1}
    (row,) = host.rows().values()
    assert (row["status"], row["task"], row["agent"], row["model"]) == ("completed", "Say hello", "echo:v1", "v1")
    assert (row["runs"], row["passed"], row["question"]) == (1, 1, "")
    assert re.fullmatch(r"local/scratch/say-hello-\d{8}T\d{6}Z", row["workspace"])


def test_the_exit_status_is_the_commands_own(host: Host) -> None:
    """A command that fails gives its status to the caller, and the reason to the record."""
    assert dispatch(host, "--", "sh", "-c", "exit 7").returncode == 7
    status = only_status(host)
    assert (status["status"], status["question"]) == ("failed", "exit status 7")
    assert status["task"] == "sh -c 'exit 7'"
    assert only_report(host)["passed"] is False


def test_a_command_that_dies_of_a_signal_takes_us_along_in_the_same_way(host: Host) -> None:
    """Who started us sees the signal, as without us, and it is recorded by name."""
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
        result = dispatch(host, "--workspace", number.name, "--", "sh", "-c", f"kill -{int(number)} $$")
        assert result.returncode == -number
        assert statuses(host)[number.name]["question"] == f"killed by {number.name}"


def test_an_agreed_exit_status_means_blocked(host: Host) -> None:
    """A command that waits for somebody says so by its exit status."""
    assert dispatch(host, "--workspace", "a", "--", "sh", "-c", "exit 75").returncode == 75
    assert dispatch(host, "--workspace", "b", "--blocked-status", "3", "--", "sh", "-c", "exit 3").returncode == 3
    assert {name: status["status"] for name, status in statuses(host).items()} == {"a": "blocked", "b": "blocked"}


def test_the_command_can_say_itself_how_it_ended(host: Host) -> None:
    """What the agent says by `finish` stands, with its question and pull request, whatever its exit status."""
    say = " ".join(
        [*dispatching_arguments(host, ["finish"]), "--status blocked --question 'Which API?' --pr http://pr"]
    )
    assert dispatch(host, "--", "sh", "-c", f"{say}; exit 1").returncode == 1
    status = only_status(host)
    assert (status["status"], status["question"], status["pr_url"]) == ("blocked", "Which API?", "http://pr")


@pytest.mark.parametrize(("words", "code"), [(["no-such-program"], 127), (["/etc/passwd"], 126)])
def test_a_command_that_cannot_be_run_is_recorded_as_failed(host: Host, words: list[str], code: int) -> None:
    """Status 127 or 126 as a shell has it, one line, and a record."""
    result = dispatch(host, "--", *words)
    assert result.returncode == code
    assert result.stderr.startswith(f"failed: {words[0]}: ")
    assert only_status(host)["status"] == "failed"
    assert only_status(host)["question"].startswith(f"{words[0]}: ")


def test_stdin_directory_environment_and_words_reach_the_command(host: Host) -> None:
    """Nothing stands between the command and what it was started with; a `--` of its own is its own."""
    script = 'cat; pwd; echo "$0 $*"; echo "$AGENTIC_WATCH_WORKSPACE"'
    place = host.base / "here"
    place.mkdir()
    result = dispatch(
        host, "--workspace", "w", "--", "sh", "-c", script, "a", "--", "--task", "b", cwd=place, stdin="in\n"
    )
    assert result.stdout == f"in\n{place}\na -- --task b\n{host.root}/w\n"


@pytest.mark.parametrize(
    "words",
    [
        ["begn", "--task", "x"],
        ["start", "--help"],
        ["status"],
        ["--agent", "me", "echo", "x"],
        ["--task", "x", "finsh"],
    ],
)
def test_a_word_without_dashes_before_it_is_no_command(host: Host, words: list[str]) -> None:
    """A misspelt subcommand is a usage error that says how a command is run, not a failed dispatch."""
    result = dispatch(host, *words)
    assert (result.returncode, result.stdout, statuses(host)) == (2, "", {})
    assert "A command to run goes after --" in result.stderr
    assert ("did you mean `begin`?" in result.stderr) == ("begn" in words)
    assert ("did you mean `finish`?" in result.stderr) == ("finsh" in words)


def test_behind_dashes_each_word_is_a_command(host: Host) -> None:
    """Also one that is called as a subcommand is."""
    begin = host.base / "begin"
    begin.write_text("#!/bin/sh\necho mine\n", "utf-8")
    begin.chmod(0o755)
    environ = {"PATH": f"{host.base}:{os.environ['PATH']}"}
    assert dispatch(host, "--", "begin", environ=environ).stdout == "mine\n"


def test_the_status_is_what_the_original_writes(host: Host) -> None:
    """Fields in the order of the original's struct, empty ones left out as it does, times as Go writes them."""
    dispatch(host, "--issue", "12", "--org", "acme", "--repo", "api", "--", "true")
    (path,) = host.root.rglob("status.json")
    status = json.loads(path.read_bytes())
    keys = ["status", "agent", "repo", "org", "task", "issue", "pid", "started_at", "updated_at", "runs"]
    assert list(status) == keys
    assert GO_TIME.fullmatch(status["started_at"])
    assert GO_TIME.fullmatch(status["updated_at"])
    assert [entry.name for entry in path.parent.iterdir() if entry.name.endswith(".tmp")] == []


def test_git_tells_organisation_repository_branch_and_changes(host: Host) -> None:
    """In a clone nothing of it needs to be given; new files count, a commit of the agent's own does not hide them."""
    place = clone(host.base / "clone")
    script = (
        "printf 'one\\n2\\n3\\n' > kept.txt; git checkout -qb agent/fix; git commit -qam x; printf 'a\\nb\\n' > new.txt"
    )
    assert dispatch(host, "--task", "Fix", "--", "sh", "-c", script, cwd=place).returncode == 0
    (name,) = statuses(host)
    assert name.startswith("acme/billing/fix-")
    status = only_status(host)
    assert (status["org"], status["repo"], status["branch"]) == ("acme", "billing", "agent/fix")
    counts = {"files_changed": 2, "insertions": 4, "deletions": 2}
    commits = {"start": git(place, "rev-parse", "HEAD~1"), "end": git(place, "rev-parse", "HEAD")}
    changes = {**counts, "files": ["kept.txt", "new.txt"]}
    said = {"passed": True, "changes": changes, "commits": commits, "command": shlex.join(("sh", "-c", script))}
    assert whole_report(host) == said
    host.once()
    (row,) = host.rows().values()
    assert (row["head_commit"], row["files_changed"]) == (commits["end"], 2)
    assert git(place, "status", "--short") == "?? new.txt"
    assert sorted(path.name for path in (place / ".git").glob("index*")) == ["index"]


def test_a_workspace_that_is_used_again_counts_its_runs(host: Host) -> None:
    """The second run has a number and a report of its own; both runs are in the history, also without a daemon."""
    dispatch(
        host, "--workspace", "a/b/c", "--task", "T", "--", "sh", "-c", 'echo "{}" > $AGENTIC_WATCH_WORKSPACE/.meta/x'
    )
    dispatch(host, "--workspace", "a/b/c", "--", "false")
    assert statuses(host)["a/b/c"]["runs"] == 2
    host.once()
    rows = host.query("SELECT runs, status, task, passed FROM dispatch_history ORDER BY runs")
    assert [tuple(row) for row in rows] == [(1, "completed", "T", 1), (2, "failed", "T", 0)]


def test_a_killed_dispatch_is_a_ghost_and_its_next_start_a_new_run(host: Host) -> None:
    """SIGKILL leaves a running status without its process, which `status` shows; started again it is run two."""
    arguments = dispatching_arguments(host, ["--workspace", "w", "--", "sleep", "60"])
    process = subprocess.Popen(arguments, env=git_environment(host.base), start_new_session=True)
    try:
        wait_for(lambda: bool(statuses(host)) and children(process.pid) != [])
        process.kill()
        process.wait()
        shown = json.loads(run([*host.arguments(), "status", "--json"], host.base).stdout)
        assert [ghost["workspace"] for ghost in shown["ghosts"]] == ["w"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert dispatch(host, "--workspace", "w", "--", "true").returncode == 0
    assert (only_status(host)["runs"], only_status(host)["status"]) == (2, "completed")
    assert host.once().counts == {"scanned": 1, "committed": 1}


def test_a_workspace_in_which_a_run_goes_on_is_not_taken(host: Host) -> None:
    """A second dispatch is refused before anything is run, and the first one stays what it is."""
    arguments = dispatching_arguments(host, ["--workspace", "w", "--", "cat"])
    with subprocess.Popen(arguments, env=git_environment(host.base), stdin=subprocess.PIPE) as first:
        wait_for(lambda: bool(statuses(host)))
        second = dispatch(host, "--workspace", "w", "--", "touch", str(host.base / "ran"))
        assert second.returncode == 1
        assert "run 1 is in progress there" in second.stderr
        assert not (host.base / "ran").exists()
        assert first.stdin is not None
        first.stdin.close()
    assert (only_status(host)["runs"], only_status(host)["status"]) == (1, "completed")


def test_what_the_command_finishes_itself_is_told_once(host: Host) -> None:
    """`finish` within a dispatch leaves it to the dispatch to say that no daemon runs."""
    say = " ".join(dispatching_arguments(host, ["finish", "--status", "blocked"]))
    result = dispatch(host, "--workspace", "w", "--", "sh", "-c", say)
    assert result.stderr == "w: no daemon is running; agentic-watch --once commits it\n"
    assert dispatch(host, "finish", "w", "--status", "failed").stderr.count("no daemon is running") == 1


def test_it_says_once_that_no_daemon_runs(host: Host) -> None:
    """Without a daemon one line says how the dispatch is committed; with one, or with -q, nothing is said."""
    assert (
        dispatch(host, "--workspace", "w", "--", "true").stderr
        == "w: no daemon is running; agentic-watch --once commits it\n"
    )
    assert run([*host.arguments(), "-q", "dispatch", "--", "true"], host.base).stderr == ""
    program = [sys.executable, "-m", "agentic_watch", *host.arguments(), "dispatch", "finish", "--status", "blocked"]
    within = dispatch(host, "--workspace", "within", "--", *program)
    assert within.stderr.count("no daemon is running") == 1, within.stderr
    with Service(host):
        workspace = Workspace(host.root, "x")
        assert dispatch(host, "--workspace", "x", "--", "true").stderr == ""
        wait_for(workspace.marker.exists)
        assert workspace.line()["status"] == "completed"


@pytest.mark.parametrize("removed", ["", "/.meta"])
def test_a_workspace_that_its_command_removed_is_named_and_no_way_is_shown_that_leads_nowhere(
    host: Host, removed: str
) -> None:
    """Neither a pass nor `finish` could record its end any more; the command's own exit status stands."""
    result = dispatch(host, "--workspace", "w", "--", "sh", "-c", f'rm -rf "$AGENTIC_WATCH_WORKSPACE"{removed}; exit 3')
    assert result.returncode == 3
    cause, end = result.stderr.splitlines()
    assert cause.startswith(f"warning: {host.root}/w: ")
    assert end == f"warning: {host.root}/w: the end is not recorded"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to run"),
        (["--workspace", "../x", "--", "true"], "not a path below the root"),
        (["--workspace", "a/node_modules/b", "--", "true"], "never entered"),
        (["--workspace", "1/2/3/4/5/6/7", "--", "true"], "never entered"),
        (["--workspace", "/elsewhere", "--", "true"], "not found below any root"),
        (["--task", "x", "begin"], "go after it"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(host: Host, arguments: list[str], says: str) -> None:
    """One line with the cause, an exit status of its own, and nothing made."""
    result = dispatch(host, *arguments)
    assert result.returncode in (1, 2)
    assert says in result.stderr
    assert statuses(host) == {}


def test_a_name_inside_of_a_workspace_is_refused(host: Host) -> None:
    """Nothing is looked for below a workspace, so nothing there would ever be committed."""
    dispatch(host, "--workspace", "a/b/c", "--", "true")
    assert (
        "is a workspace, which cannot contain another one"
        in dispatch(host, "--workspace", "a/b/c/d", "--", "true").stderr
    )


def test_a_name_above_of_workspaces_is_refused(host: Host) -> None:
    """Nothing is looked for below a workspace, so those that are there already would not be found any more."""
    dispatch(host, "--workspace", "a/b/c", "--", "true")
    for name in ("a", "a/b", "a//b/"):
        result = dispatch(host, "--workspace", name, "--", "true")
        assert (result.returncode, "holds the workspace a/b/c" in result.stderr) == (1, True)
    (host.root / "plain" / "docs").mkdir(parents=True)
    assert dispatch(host, "--workspace", "plain", "--", "true").returncode == 0
    assert set(statuses(host)) == {"a/b/c", "plain"}


def test_words_that_are_no_text_are_recorded_with_an_escape(host: Host) -> None:
    """Names of files need not be UTF-8; the command gets them as they are, and the dispatch is committed."""
    words = [b"printf", b"%s", b"na\xefve"]
    arguments = [*map(os.fsencode, dispatching_arguments(host, ["--"])), *words]
    result = subprocess.run(arguments, env=git_environment(host.base), cwd=host.base, capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (0, b"na\xefve")
    assert host.once().counts == {"scanned": 1, "committed": 1}
    (row,) = host.rows().values()
    assert row["task"] == "printf %s 'na\\udcefve'"


def test_a_report_that_cannot_be_written_does_not_cost_the_end(host: Host) -> None:
    """What stands in its way is told; how the run ended is recorded all the same."""
    script = 'mkdir "$AGENTIC_WATCH_WORKSPACE/.meta/report.json"; exit 4'
    result = dispatch(host, "--", "sh", "-c", script)
    assert (result.returncode, "report.json: cannot be replaced" in result.stderr) == (4, True)
    assert (only_status(host)["status"], only_status(host)["question"]) == ("failed", "exit status 4")


def test_an_end_that_cannot_be_written_is_said_with_the_next_step(host: Host) -> None:
    """Whoever reads it can finish the run by hand."""
    script = 'cd "$AGENTIC_WATCH_WORKSPACE/.meta"; mv status.json aside; ln -s aside status.json'
    result = dispatch(host, "--workspace", "w", "--", "sh", "-c", script)
    assert (result.returncode, f"dispatch finish {host.root}/w --status completed" in result.stderr) == (0, True)
    assert "--once commits it" not in result.stderr
    (host.root / "w/.meta/aside").rename(host.root / "w/.meta/status.json")
    assert dispatch(host, "finish", f"{host.root}/w", "--status", "completed").returncode == 0


@pytest.mark.parametrize("origin", ["/srv/acme/billing/.", "/srv/acme/billing/.git", "../billing", "/srv/billing.git/"])
def test_an_origin_on_this_host_names_the_repository(host: Host, origin: str) -> None:
    """However its path is written; a directory of this host says nothing of an organisation."""
    dispatch(host, "--", "true", cwd=clone(host.base / "clone", origin))
    assert (only_status(host)["repo"], only_status(host).get("org", "")) == ("billing", "")


def test_a_root_that_cannot_be_written_is_said(host: Host) -> None:
    """One line with the path and the cause; the command is not run."""
    host.root.rmdir()
    host.root.write_text("", "utf-8")
    result = dispatch(host, "--", "touch", str(host.base / "ran"))
    assert result.returncode == 1
    assert str(host.root) in result.stderr
    assert not (host.base / "ran").exists()


def test_reports_of_checks_become_findings_and_verdicts(host: Host) -> None:
    """What the command leaves as SARIF or JUnit is in the history; a file of another run is left out, and said."""
    old = host.base / "old.xml"
    old.write_text("<testsuites/>", "utf-8")
    os.utime(old, (0, 0))
    junit = "<testsuite name='s'><testcase name='t' classname='c'><failure message='no'/></testcase></testsuite>"
    script = f'printf "%s" "{junit}" > new.xml'
    result = dispatch(host, "--report", "old.xml", "--report", "new.xml", "--report", "none", "--", "sh", "-c", script)
    assert result.returncode == 0
    assert "old.xml: is older than the run" in result.stderr
    assert "none: is not there" in result.stderr
    assert only_report(host)["test_passed"] is False
    host.once()
    (row,) = host.rows().values()
    assert (row["status"], row["passed"], row["test_passed"], row["findings_count"]) == ("completed", 0, 0, 1)


def test_the_layout_of_the_root_says_where_the_status_goes(host: Host, tmp_path: Path) -> None:
    """Where only statuses beside .meta are read, it is written there, and committed from there."""
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[roots]]\npath = "{host.root}"\nlayout = "root"\n[history]\npath = "{host.history}"\n', encoding="utf-8"
    )
    result = run(["--config", str(config), "dispatch", "--workspace", "a/b/c", "--", "true"], host.base)
    assert result.returncode == 0
    assert not (host.root / "a/b/c/.meta/status.json").exists()
    assert run(["--config", str(config), "--once"], host.base).returncode == 0
    assert list(host.rows()) == ["a/b/c"]


def test_another_dispatchers_workspace_keeps_its_status_where_it_is(host: Host) -> None:
    """Where the original keeps the status beside .meta, the next run is written there, unknown fields kept."""
    workspace = Workspace(host.root, "org/repo/task")
    (workspace.path / "repo").mkdir(parents=True)
    workspace.write_status("root", status="failed", runs=4, agent="codex", pr_url="http://pr", theirs={"a": 1})
    assert dispatch(host, "--workspace", "org/repo/task", "--", "true").returncode == 0
    status = json.loads((workspace.path / "status.json").read_bytes())
    assert (status["runs"], status["agent"], status["theirs"]) == (5, "true", {"a": 1})
    assert not (workspace.meta / "status.json").exists()
    host.once()
    assert len(workspace.lines()) == 2


def children(pid: int) -> list[int]:
    """The processes that `pid` started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
