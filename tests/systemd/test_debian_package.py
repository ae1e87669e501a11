"""The Debian package under a real systemd: an image's build, an operator's first hour, upgrade, purge.

The tests build on each other, in order.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from systemd.conftest import Lab, boot

pytestmark = pytest.mark.systemd

_PROJECT = Path(__file__).parents[2]
_NEXT = "0.99.0"
_ROOT = "/srv/agents/workspace"
_MIXED = "/srv/mixed"
_CONFIG = "/etc/agentic-watch/config.toml"
_UNITS = ("agentic-watch.service", "agentic-watch-backfill.timer")
_COMPLETIONS = (
    "/usr/share/bash-completion/completions/agentic-watch",
    "/usr/share/zsh/vendor-completions/_agentic-watch",
    "/usr/share/fish/vendor_completions.d/agentic-watch.fish",
)


@pytest.fixture(scope="module")
def packages(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The package of the program as it is, and the same as a later version."""
    output = tmp_path_factory.mktemp("packages")
    (wheel,) = wheels.glob("agentic_watch-*.whl")
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "WHEELS": str(wheels), "PIP": str(_pip())}
    subprocess.run([_PROJECT / "release/deb.sh", wheel, output], env=environ, check=True)
    (package,) = output.iterdir()
    return [package, _renumbered(package, tmp_path_factory.mktemp("later"))]


def _pip() -> Path:
    return Path(sys.executable).with_name("pip")


def _renumbered(package: Path, directory: Path) -> Path:
    """The package with another version, and another program: its bytecode is not that of the former one."""
    version = package.name.split("_")[1]
    tree = directory / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    (module,) = tree.glob("opt/agentic-watch/lib/*/site-packages/agentic_watch/__init__.py")
    (compiled,) = module.parent.glob("__pycache__/__init__.*.pyc")
    control, sums = tree / "DEBIAN/control", tree / "DEBIAN/md5sums"
    for file in (control, module):
        file.write_text(file.read_text("utf-8").replace(version, _NEXT), "utf-8")
    old = hashlib.md5(compiled.read_bytes()).hexdigest()
    how = ["-q", "-f", "-s", tree, "--invalidation-mode", "unchecked-hash"]
    subprocess.run(["/usr/bin/python3", "-m", "compileall", *how, module], check=True)
    lines = [line for line in sums.read_text("utf-8").splitlines() if "agentic_watch/__init__.py" not in line]
    new = [f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(tree)}" for file in (module,)]
    text = "\n".join([*lines, *new]).replace(old, hashlib.md5(compiled.read_bytes()).hexdigest())
    sums.write_text(text + "\n", "utf-8")
    later = directory / package.name.replace(version, _NEXT)
    build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, later]
    subprocess.run(build, check=True, capture_output=True)
    return later


@pytest.fixture(scope="module")
def lab(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A bare host with the packages in /lab, and two users of the agents' group, which owns the root."""
    with boot(tmp_path_factory.mktemp("lab"), packages) as lab:
        lab.sh("groupadd agents; useradd -g agents alice; useradd -g agents bob")
        lab.sh(f"install -d -g agents -m 2775 {_ROOT}")
        yield lab


def _rows(lab: Lab) -> list[str]:
    found = map(json.loads, lab.sh("agentic-watch history --json -n 0").splitlines())
    return sorted(row["task"] for row in found)


def _dispatch(lab: Lab, user: str, task: str, *options: str, umask: str = "0002") -> None:
    """A user has the program run a command, as docs/agents.md says."""
    command = f"agentic-watch dispatch {' '.join(options)} --task {task} -- true"
    result = lab.as_user(user, command, umask)
    assert result.returncode == 0, result.stderr


def _block(page: Path, begins: str) -> list[str]:
    """The commands of the block of a page that begins so."""
    _, _, rest = page.read_text("utf-8").partition(f"\n\n    {begins}")
    assert rest, begins
    return [line.strip() for line in f"{begins}{rest}".split("\n\n")[0].splitlines()]


def _follow(lab: Lab, problems: list[dict[str, object]]) -> None:
    """Do what a problem's next step says, word for word."""
    for step in dict.fromkeys(str(problem["next"]) for problem in problems if problem["check"] in ("roots", "daemon")):
        lab.sh(step.split(": ", 1)[-1])


def test_an_image_is_built_with_the_service_enabled(lab: Lab, packages: list[Path]) -> None:
    """No systemd runs where the package is installed: user, directories and links are there, and purged again."""
    hidden = "mount -t tmpfs tmpfs /run/systemd"
    lab.sh(f"unshare --mount sh -euc '{hidden}; dpkg -i /lab/{packages[0].name}'")
    lab.sh("systemctl daemon-reload")
    assert {lab.get("UnitFileState", unit) for unit in _UNITS} == {"enabled"}
    assert {lab.get("ActiveState", unit) for unit in _UNITS} == {"inactive"}
    assert lab.sh("stat -c %U:%a /var/lib/agentic-watch") == "agentic-watch:750"
    lab.sh(f"unshare --mount sh -euc '{hidden}; dpkg -P agentic-watch'; rmdir /var/lib/agentic-watch")
    assert lab.sh("find /etc/systemd /opt -name '*agentic*'") == ""


def test_installing_leads_to_a_running_service(lab: Lab, packages: list[Path]) -> None:
    """One command; the packaged units are what the configuration wants, and the program has every extra."""
    lab.sh(f"apt-get install -qq -y --no-install-recommends /lab/{packages[0].name}")
    assert {lab.get("ActiveState", unit) for unit in _UNITS} == {"active"}
    assert {lab.get("UnitFileState", unit) for unit in _UNITS} == {"enabled"}
    assert lab.sh("agentic-watch --version").split()[-1] == packages[0].name.split("_")[1]
    assert lab.sh("dpkg --verify agentic-watch") == ""
    shown = json.loads(lab.sh("agentic-watch service show --json"))
    assert {file["state"] for file in shown["files"]} == {"current"}
    assert all(file["path"].startswith("/usr/lib/") for file in shown["files"])
    lab.sh("/opt/agentic-watch/bin/python -P -c 'import datasette, httpx, mcp, prometheus_client, psycopg'")


def test_the_first_hour_of_an_operator(lab: Lab) -> None:
    """`check` leads to the group, two users dispatch into one organisation, the history has both; without the group
    `check` and its probe fail within a reconcile, and what they say mends it."""
    lab.append(_CONFIG, "[reconcile]\ninterval_seconds = 1\n[commit]\nsettle_seconds = 0.2\n")
    lab.sh("systemctl reload agentic-watch")
    code, problems = lab.check()
    assert (code, [problem["check"] for problem in problems]) == (1, ["roots"])
    assert problems[0]["next"] == "usermod -aG agents agentic-watch && systemctl restart agentic-watch"
    lab.sh("usermod -aG agents agentic-watch")
    code, problems = lab.check()
    assert (code, [problem["next"] for problem in problems]) == (1, ["systemctl restart agentic-watch"])
    _follow(lab, problems)
    assert lab.check() == lab.check("--quick") == (0, [])
    _dispatch(lab, "alice", "one", "--org acme --repo api")
    _dispatch(lab, "bob", "two", "--org acme --repo api")
    lab.until(lambda: _rows(lab) == ["one", "two"], "both in the history")
    assert lab.check() == lab.check("--quick") == (0, [])
    lab.say("the first hour: two users, one organisation, both in the history")
    lab.sh("gpasswd -d agentic-watch agents; systemctl restart agentic-watch")
    lab.until(lambda: lab.check()[0] == 1 and lab.check("--quick")[0] == 1, "noticed")
    _dispatch(lab, "alice", "three", "--org acme --repo api --workspace acme/api/three")
    shown = " ".join(lab.sh("agentic-watch show acme/api/three").split())
    assert "so not committed" in shown
    assert "agentic-watch is not in its group agents; to fix this: usermod -aG agents agentic-watch" in shown
    _follow(lab, lab.check("--quick")[1])
    lab.until(lambda: _rows(lab) == ["one", "three", "two"], "all in the history")
    assert lab.check() == lab.check("--quick") == (0, [])
    lab.say("without its group: found and mended by what the probe says")


def test_a_workspace_with_another_umask_is_found_and_opened(lab: Lab) -> None:
    """One user's umask is 0022, then 0077: nothing is recorded in there, the probe, the state and the metrics say so,
    and one command opens it, for what comes later, too."""
    _dispatch(lab, "alice", "four", "--workspace acme/api/four", umask="0022")
    code, problems = lab.check()
    assert code == 1
    assert any("with another umask than 0002" in problem["error"] for problem in problems)
    _dispatch(lab, "bob", "five", "--workspace closed/api/five", umask="0077")
    lab.until(lambda: any(problem["check"] == "daemon" for problem in lab.check("--quick")[1]), "unseen")
    assert "agentic_watch_unreadable_directories 1.0" in lab.sh("agentic-watch metrics")
    assert f"unreadable: 1 (not scanned): {_ROOT}/closed" in lab.sh("agentic-watch status")
    reader = lab.as_user("nobody", "agentic-watch check --quick --nagios")
    assert (reader.returncode, reader.stdout.split(":")[0]) == (3, "UNKNOWN")
    plugin = lab.call("agentic-watch", "check", "--quick", "--nagios")
    assert (plugin.returncode, plugin.stdout.split(":")[0]) == (2, "CRITICAL")
    _follow(lab, lab.check()[1])
    _dispatch(lab, "bob", "six", "--workspace closed/api/six", umask="0077")
    lab.until(lambda: {"four", "five", "six"} <= set(_rows(lab)), "recorded")
    lab.until(lambda: lab.check("--quick") == (0, []), "well again")
    assert lab.check() == (0, [])
    lab.say("umask 0022 and 0077: found, opened by one setfacl")


def test_an_acl_serves_every_user_and_umask(lab: Lab) -> None:
    """What docs/operations.md says first: a root of nobody's group, two users and a container's, umask 0077."""
    lab.append(_CONFIG, f'[[roots]]\npath = "{_MIXED}"\n')
    lab.sh(f"install -d -m 755 {_MIXED}")
    for user in ("agentic-watch", "alice", "bob", "100000"):
        lab.sh(f"setfacl -R -m u:{user}:rwX -m d:u:{user}:rwX {_MIXED}")
    assert "check: no problems" in lab.install()
    for user in ("alice", "bob", "100000"):
        _dispatch(lab, user, f"of-{user}", f"--root {_MIXED} --workspace org/repo/{user}", umask="0077")
    lab.until(lambda: {"of-alice", "of-bob", "of-100000"} <= set(_rows(lab)), "recorded")
    assert lab.check() == lab.check("--quick") == (0, [])
    lab.say("a default ACL: two users and a subuid, umask 0077, all recorded")


def test_the_manual_page_and_the_completions_are_where_they_are_looked_for(lab: Lab) -> None:
    """`man -w` finds a page that can be read; each shell's file completes this program."""
    page = lab.sh("man -w agentic-watch")
    assert page == "/usr/share/man/man1/agentic-watch.1.gz"
    assert "completion" in lab.sh(f"zcat {page}")
    for file in _COMPLETIONS:
        assert "_AGENTIC_WATCH_COMPLETE" in lab.sh(f"cat {file}"), file
        assert lab.sh(f"dpkg -S {file}").startswith("agentic-watch:")
    assert lab.sh(f"bash -c 'source {_COMPLETIONS[0]}; complete -p agentic-watch'").endswith(" agentic-watch")


def test_debians_directory_of_node_exporter_is_opened(lab: Lab) -> None:
    """It is root's: `check` says so, recording goes on, and docs/monitoring's two commands let the metrics in."""
    directory = "/var/lib/prometheus/node-exporter"
    lab.append(_CONFIG, f'[metrics]\ntextfile = "{directory}/agentic-watch.prom"\n')
    lab.sh(f"install -d -m 755 {directory}; systemctl restart agentic-watch")
    code, problems = lab.check()
    (problem,) = (problem for problem in problems if problem["check"] == "metrics")
    assert (code, problem["next"]) == (1, f"setfacl -m u:agentic-watch:rwx {directory}")
    for command in _block(_PROJECT / "docs/monitoring/README.md", "setfacl"):
        lab.sh(command)
    lab.until(lambda: "agentic_watch_ready 1.0" in lab.sh(f"cat {directory}/*.prom || true"), "written")
    assert lab.check() == (0, [])


def test_each_days_commands_run_as_they_stand(lab: Lab) -> None:
    """The blocks of docs/operations.md: looking after it, backup, archive and back, and a restored backup."""
    page = _PROJECT / "docs/operations.md"
    old = f"{_ROOT}/acme/api/long-ago"
    status = '{"status": "merged", "task": "long ago", "updated_at": "2020-01-01T00:00:00Z"}'
    lab.sh(f"install -d -g agents -m 2775 {old}; printf '%s' '{status}' >{old}/status.json; install -d /backup")
    lab.until(lambda: "long ago" in _rows(lab), "recorded")
    rows = _rows(lab)
    for begins in ("agentic-watch check  ", "agentic-watch backup /backup/history.db"):
        for command in _block(page, begins):
            lab.sh(command)
    assert _rows(lab) == rows
    assert '"task":"long ago"' in lab.sh("cat /backup/2025.jsonl")
    lab.sh("agentic-watch prune --yes --older-than 1m --archive /backup/all.jsonl")
    for command in _block(page, "systemctl stop agentic-watch\n    rm -f"):
        lab.sh(command)
    lab.until(lambda: _rows(lab) == rows, "restored")
    assert lab.check() == lab.check("--quick") == (0, [])
    lab.say("docs/operations.md: each day, backup, prune, restore, as they stand")


def test_the_history_moves_to_another_disk(lab: Lab) -> None:
    """The commands of docs/operations.md, as they stand there: rows, host id and services go on. A history of root's in
    there is given back by `check --repair`."""
    lab.sh("install -d /data; mount -t tmpfs tmpfs /data")
    before = _rows(lab), lab.sh("agentic-watch export --json | head -n 1 || true")
    for command in _block(_PROJECT / "docs/operations.md", "systemctl stop agentic-watch\n    systemctl stop"):
        lab.sh(command)
    assert (_rows(lab), lab.sh("agentic-watch export --json | head -n 1 || true")) == before
    _dispatch(lab, "bob", "moved", "--org acme --repo api")
    lab.until(lambda: "moved" in _rows(lab), "recorded there")
    assert lab.check() == lab.check("--quick") == (0, [])
    lab.sh("chown root:root /data/agentic-watch /data/agentic-watch/history.db*; chmod 755 /data/agentic-watch")
    lab.until(lambda: {"ownership", "daemon"} <= {problem["check"] for problem in lab.check("--quick")[1]}, "noticed")
    _, problems = lab.check("--quick")
    steps = [str(problem["next"]) for problem in problems if problem["check"] == "ownership"]
    assert all("check --repair as root" in step for step in steps)
    lab.sh("agentic-watch check --repair")  # which waits until the daemon has noticed, too
    assert lab.check("--quick") == (0, [])
    lab.say("the history on another disk: moved, given to root, mended")


def test_an_upgrade_runs_the_new_program_on_the_old_history(lab: Lab, packages: list[Path]) -> None:
    """Daemon and pusher are other processes, of the new version, though no unit has changed; a changed configuration is
    kept."""
    lab.write("/etc/agentic-watch/token", "secret")
    lab.append(_CONFIG, '[[push]]\nname = "lead"\nkind = "http"\nurl = "http://127.0.0.1:9"\n')
    lab.append(_CONFIG, 'token_file = "/etc/agentic-watch/token"\n')
    lab.sh("chmod 600 /etc/agentic-watch/token")
    lab.install()
    before = [lab.get("MainPID"), lab.get("MainPID", "agentic-watch-push.service")]
    rows = _rows(lab)
    lab.sh(f"apt-get install -qq -y --no-install-recommends /lab/{packages[1].name}")
    assert lab.get("ActiveState") == lab.get("ActiveState", "agentic-watch-push.service") == "active"
    now = [lab.get("MainPID"), lab.get("MainPID", "agentic-watch-push.service")]
    assert not set(now) & {*before, "0"}
    assert lab.sh("agentic-watch --version").split()[-1] == _NEXT
    assert lab.sh("agentic-watch metrics | grep build_info{").endswith(f'version="{_NEXT}"}} 1.0')
    assert "lead" in lab.sh(f"cat {_CONFIG}")
    assert _rows(lab) == rows
    assert lab.check() == (0, [])


def test_a_pusher_that_does_not_run_is_named(lab: Lab) -> None:
    """Stopped, then disabled: `check` says what is lost, and the probe leaves it to the metrics."""
    lab.sh("systemctl disable --now agentic-watch-push.service")
    code, problems = lab.check()
    said = " ".join(str(problem["error"]) for problem in problems)
    assert code == 1
    assert "agentic-watch-push.service: is disabled" in said
    assert "nothing is pushed" in said
    assert lab.check("--quick") == (0, [])


def test_an_upgrade_with_a_broken_configuration_ends(lab: Lab, packages: list[Path]) -> None:
    """The package is configured all the same, and says what failed."""
    lab.sh(f"cp {_CONFIG} /root/good; echo nonsense >>{_CONFIG}")
    result = lab.call("dpkg", "-i", f"/lab/{packages[1].name}")
    assert result.returncode == 0
    assert "agentic-watch: agentic-watch.service did not restart; agentic-watch check says" in result.stderr
    assert lab.sh("dpkg-query -W -f '${db:Status-Abbrev}' agentic-watch") == "ii"
    lab.sh(f"cp /root/good {_CONFIG}; systemctl restart agentic-watch")


def test_purging_leaves_the_history_and_nothing_else(lab: Lab) -> None:
    """Program, units and configuration go, without a warning, also what `service install` wrote; the record of what
    agents did stays."""
    lab.sh("rm /etc/agentic-watch/token; agentic-watch check >/dev/null || true")
    result = lab.call("dpkg", "-P", "agentic-watch")
    assert (result.returncode, "/opt/agentic-watch" in result.stderr) == (0, False), result.stderr
    assert lab.get("LoadState") == "not-found"
    for path in ("/opt/agentic-watch", "/usr/bin/agentic-watch", "/etc/agentic-watch", *_COMPLETIONS):
        assert lab.call("test", "-e", path).returncode == 1, path
    assert lab.sh("find /etc /usr/lib/systemd -name '*agentic*'") == ""
    assert lab.sh("stat -c %U /data/agentic-watch/history.db") == "agentic-watch"
