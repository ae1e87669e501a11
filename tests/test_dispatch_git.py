"""What git says of the clone a dispatch works in, and what is said where it does not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dispatch_support import clone, dispatch, git, only_report, only_status
from support import NOBODY, POWERLESS, Host

AZURE = (
    "https://dev.azure.com/acme/Payments/_git/billing",
    "https://acme@dev.azure.com/acme/Payments/_git/billing",
    "https://dev.azure.com/acme/_git/billing",
    "https://acme.visualstudio.com/Payments/_git/billing",
    "https://acme.visualstudio.com/DefaultCollection/Payments/_git/billing",
    "git@ssh.dev.azure.com:v3/acme/Payments/billing",
    "acme@vs-ssh.visualstudio.com:v3/acme/Payments/billing",
    "https://tfs.example.org/tfs/acme/_git/billing",
)


TWO = {"files_changed": 2, "insertions": 2, "deletions": 0}


@pytest.mark.parametrize("origin", AZURE)
def test_azure_devops_has_an_organisation(host: Host, origin: str) -> None:
    """`_git`, `v3` and the project stand between the organisation and the repository."""
    dispatch(host, "--", "true", cwd=clone(host.base / "clone", origin))
    assert (only_status(host)["org"], only_status(host)["repo"]) == ("acme", "billing")


def test_a_tag_of_the_branchs_name_does_not_change_it(host: Host) -> None:
    """At the start, at the end, and before the first commit."""
    place = clone(host.base / "clone")
    git(place, "tag", "work")
    git(place, "tag", "agent/fix")
    dispatch(host, "--workspace", "w", "--", "true", cwd=place)
    assert only_status(host)["branch"] == "work"
    dispatch(host, "--workspace", "w", "--", "git", "checkout", "-qb", "agent/fix", cwd=place)
    assert only_status(host)["branch"] == "agent/fix"
    git(place, "checkout", "-q", "--orphan", "new")
    git(place, "tag", "new", "work")
    dispatch(host, "--workspace", "w", "--", "true", cwd=place)
    assert only_status(host)["branch"] == "new"


def owned_by_another(place: Path) -> None:
    git(place, "config", "core.repositoryformatversion", "0")
    os.chown(place, NOBODY, NOBODY)
    os.chown(place / ".git", NOBODY, NOBODY)


def with_bad_config(place: Path) -> None:
    (place / ".git/config").write_text("[core\n", "utf-8")


def with_unknown_extension(place: Path) -> None:
    git(place, "config", "core.repositoryformatversion", "1")
    git(place, "config", "extensions.future", "true")


def of_a_lost_worktree(place: Path) -> None:
    subprocess.run(["rm", "-r", str(place / ".git")], check=True)
    (place / ".git").write_text("gitdir: /nowhere/.git/worktrees/x\n", "utf-8")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (with_bad_config, "fatal: bad config line 1"),
        (with_unknown_extension, "fatal: unknown repository extension found: future"),
        (of_a_lost_worktree, "fatal: not a git repository: /nowhere/.git/worktrees/x"),
    ],
)
def test_a_clone_that_git_refuses_is_said(host: Host, spoil: Callable[[Path], None], says: str) -> None:
    """Once, with git's own line, from a directory below it too; it is recorded as what is known."""
    place = clone(host.base / "clone")
    (place / "inner").mkdir()
    spoil(place)
    for start, arguments in ((place, ["--", "true"]), (place / "inner", ["begin"])):
        result = dispatch(host, *arguments, cwd=start)
        assert result.returncode == 0
        warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
        assert len(warnings) == 1
        assert says in warnings[0]
        assert warnings[0].startswith(f"warning: {start}: ")
        assert warnings[0].endswith("recorded without its repository, branch and changes")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_clone_of_another_user_is_said(host: Host) -> None:
    """Git calls it dubious, and it is not recorded as no clone without a word."""
    place = clone(host.base / "clone")
    owned_by_another(place)
    assert "warning: " in (said := dispatch(host, "--", "true", cwd=place).stderr)
    assert "fatal: detected dubious ownership" in said


def test_where_no_clone_is_nothing_is_said(host: Host) -> None:
    """A directory without a `.git` above it is no clone."""
    assert "warning" not in dispatch(host, "--", "true").stderr


def test_a_repository_without_a_commit_among_the_files_does_not_cost_the_counts(host: Host) -> None:
    """An agent has made one in the clone: git adds all else, and that is counted."""
    place = clone(host.base / "clone")
    script = "git init -q nested; echo x > nested/y; echo new > new.txt; echo four >> kept.txt"
    dispatch(host, "--", "sh", "-c", script, cwd=place)
    assert only_report(host)["changes"] == {**TWO, "files": ["kept.txt", "new.txt"]}


def test_a_file_that_cannot_be_read_does_not_cost_the_counts(host: Host) -> None:
    """All else is counted, and the file is named."""
    place = clone(host.base / "clone")
    script = "echo new > new.txt; echo four >> kept.txt; echo x > hidden; chmod 0 hidden"
    result = dispatch(host, "--", "sh", "-c", script, cwd=place, lacking=POWERLESS)
    assert only_report(host)["changes"] == {**TWO, "files": ["kept.txt", "new.txt"]}
    assert f"warning: {place}: hidden cannot be read; the changes are counted without" in result.stderr


def test_of_many_files_five_hundred_are_named(host: Host) -> None:
    """All are counted. Paths are those of the clone, wherever in it the agent was, and are text whatever they are."""
    place = clone(host.base / "clone")
    (place / "below").mkdir()
    git(place, "config", "diff.relative", "true")
    many, odd = "for n in $(seq 600); do : > file-$n; done", ": > \"$(printf 'odd\\nname\\377')\""
    script = f"{many}; {odd}; git mv ../kept.txt ../moved.txt"
    result = dispatch(host, "--", "sh", "-c", script, cwd=place / "below")
    assert "warning" not in result.stderr
    changes = only_report(host)["changes"]
    assert (changes["files_changed"], len(changes["files"])) == (602, 500)
    assert changes["files"][0] == "below/file-1"


def test_so_many_files_that_git_says_more_than_is_read_are_counted(host: Host) -> None:
    """A megabyte of its answer is read: the first paths stand in that, and the counts are asked for once more."""
    place = clone(host.base / "clone")
    for number in range(3_600):
        (place / f"{number:04}{'x' * 240}").write_text("a line\n")
    dispatch(host, "--", "true", cwd=place)
    changes = only_report(host)["changes"]
    assert (changes["files_changed"], changes["insertions"], len(changes["files"])) == (3_600, 3_600, 500)
    assert len(changes["files"][499]) == 244


def test_a_report_with_counts_of_its_own_gets_the_files(host: Host) -> None:
    """And one with a list of its own keeps that."""
    place = clone(host.base / "clone")
    report = '{"changes": {"files_changed": 7}}'
    script = f"echo new > new.txt; echo '{report}' > $AGENTIC_WATCH_WORKSPACE/.meta/report.json"
    dispatch(host, "--workspace", "w", "--", "sh", "-c", script, cwd=place)
    assert only_report(host)["changes"] == {"files_changed": 7, "files": ["new.txt"]}


def test_before_the_first_commit_no_commit_is_named(host: Host) -> None:
    """What is checked out at the end is not known."""
    place = host.base / "clone"
    place.mkdir()
    git(place, "init", "-q")
    dispatch(host, "--", "sh", "-c", "echo new > new.txt", cwd=place)
    report = only_report(host)
    assert "commits" not in report
    assert report["changes"]["files"] == ["new.txt"]
