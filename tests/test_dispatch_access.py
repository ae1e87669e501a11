"""Who else may write in what a dispatch makes: a group of agents, a default ACL, and whoever keeps the history."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from dispatch_support import dispatch, dispatching_arguments, git_environment
from support import NOBODY, Host

from agentic_watch.host.other_users import User, cannot_write

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
with_acl = pytest.mark.skipif(shutil.which("setfacl") is None, reason="setfacl is not installed")


@pytest.fixture
def open_host() -> Iterator[Host]:
    """A host in a directory that everybody may enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Host.make(Path(name))


def with_umask(host: Host, umask: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `dispatch …` under a umask."""
    return subprocess.run(
        dispatching_arguments(host, arguments),
        env=git_environment(host.base),
        cwd=host.base,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=partial(os.umask, umask),
    )


def modes(host: Host) -> dict[str, str]:
    """What is below the root, with its mode in octal."""
    return {str(path.relative_to(host.root)): f"{stat.S_IMODE(path.stat().st_mode):o}" for path in host.root.rglob("*")}


@pytest.mark.parametrize(
    ("umask", "directory", "file"), [(0o002, "775", "664"), (0o022, "755", "644"), (0o077, "700", "600")]
)
def test_the_umask_decides_who_may_write(host: Host, umask: int, directory: str, file: str) -> None:
    """Directories have 0777 and files 0666 less umask, and those of a run again and of `finish` too."""
    for _ in range(2):
        with_umask(host, umask, "--workspace", "org/repo/task", "--", "true")
    want = {
        **dict.fromkeys(["org", "org/repo", "org/repo/task", "org/repo/task/.meta"], directory),
        **dict.fromkeys([f"org/repo/task/.meta/{name}.json" for name in ("status", "report")], file),
    }
    found = modes(host)
    assert {name: mode for name, mode in found.items() if name in want} == want


def test_a_group_of_agents_shares_an_organisation(host: Host) -> None:
    """In a root of a group (2775, umask 002) whatever is made below it is that group's, to write in too."""
    host.root.chmod(0o2775)
    with_umask(host, 0o002, "--workspace", "org/repo/task", "--", "true")
    assert {modes(host)[name] for name in ("org", "org/repo", "org/repo/task", "org/repo/task/.meta")} == {"2775"}


@with_acl
def test_a_default_acl_is_in_force(host: Host) -> None:
    """The mask that an ACL gets from the mode takes no right away that the root grants."""
    subprocess.run(["setfacl", "-m", f"d:u:{NOBODY}:rwX", str(host.root)], check=True)
    with_umask(host, 0o077, "--workspace", "org/repo/task", "--", "true")
    meta = str(host.root / "org/repo/task/.meta")
    said = subprocess.run(["getfacl", "-nE", meta], capture_output=True, text=True, check=True).stdout
    assert f"user:{NOBODY}:rwx" in said
    assert "mask::rwx" in said


@as_root
@with_acl
def test_a_new_workspace_that_the_history_keeper_cannot_write_is_said(open_host: Host) -> None:
    """One line at the start with the command that mends it, and nothing once it is mended."""
    host = open_host
    host.history.parent.mkdir()
    os.chown(host.history.parent, NOBODY, NOBODY)
    for arguments in (["--workspace", "a/b/c", "--", "true"], ["begin", "--workspace", "a/b/d"]):
        said = dispatch(host, *arguments).stderr
        assert said.count("cannot write there, so this will not be recorded") == 1
        (line,) = (line for line in said.splitlines() if line.startswith("warning: "))
    mend = line.partition("; ")[2]
    assert mend == f"setfacl -R -m u:nobody:rwX -m d:u:nobody:rwX {host.root}"
    subprocess.run(mend, shell=True, check=True)
    assert "warning" not in dispatch(host, "--workspace", "a/b/e", "--", "true").stderr
    assert "warning" not in dispatch(host, "--workspace", "a/b/c", "--", "true").stderr


def test_nothing_is_said_where_the_history_is_ones_own(host: Host) -> None:
    """Whatever the umask."""
    assert "warning" not in with_umask(host, 0o077, "--", "true").stderr


@as_root
@with_acl
@pytest.mark.parametrize("mode", [0o700, 0o770, 0o755, 0o775, 0o777, 0o707])
@pytest.mark.parametrize("acl", ["", "u:{uid}:rwx", "u:{uid}:r-x", "g:{gid}:rwx", "u:{uid}:rwx,m::r-x", "g:{gid}:---"])
@pytest.mark.parametrize("owner", [(0, 0), (NOBODY, 0), (0, NOBODY)])
def test_what_is_foretold_is_what_the_kernel_does(open_host: Host, mode: int, acl: str, owner: tuple[int, int]) -> None:
    """By mode, group and ACL: the user itself is asked, and makes a file there or not."""
    place = open_host.base / "place"
    place.mkdir()
    place.chmod(mode)
    os.chown(place, *owner)
    if acl:
        subprocess.run(["setfacl", "-m", acl.format(uid=NOBODY, gid=NOBODY), str(place)], check=True)
    made = subprocess.run(
        ["/bin/sh", "-c", f": > {place}/new"],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        check=False,
    )
    assert cannot_write(User("nobody", NOBODY, frozenset({NOBODY})), str(place)) == (made.returncode != 0)


@as_root
def test_a_directory_above_that_may_not_be_entered_is_in_the_way(open_host: Host) -> None:
    """However open the directory itself is."""
    place = open_host.base / "closed/open"
    place.mkdir(parents=True)
    place.chmod(0o777)
    nobody = User("nobody", NOBODY, frozenset())
    assert not cannot_write(nobody, str(place))
    place.parent.chmod(0o700)
    assert cannot_write(nobody, str(place))
