"""The service's units: what is shipped, what is made of it for a host, and what systemd says of both."""

from __future__ import annotations

import configparser
import dataclasses
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import command, environment

from agentic_watch.config import MetricsPlaces, Overrides
from agentic_watch.service import install_plan, root_access, service_user, units
from agentic_watch.service.install_plan import chosen, read_back
from agentic_watch.service.service_user import Account, NoSuchAccount, can_read, not_writable
from agentic_watch.service.systemd import Manager, Masked, install, standings, uninstall
from agentic_watch.service.units import BACKFILL, SERVICE, USER, Host, command_line, hidden_by, quoted, render

AWKWARD = '/srv/a b%c"d\\e:f$g'
HIGHEST_EXPOSURE = 0.4
analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def test_a_user_lingers_when_systemd_has_a_file_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`service install --user` speaks of loginctl enable-linger only where that was not done."""
    monkeypatch.setattr(service_user, "LINGER", str(tmp_path))
    assert not service_user.lingers(os.getuid())
    (tmp_path / Account.of(pwd.getpwuid(os.getuid()).pw_name).name).touch()
    assert service_user.lingers(os.getuid())


def host(directory: str = units.SYSTEM_UNITS, roots: tuple[str, ...] = ("/srv/agents",), **fields: object) -> Host:
    """A host with the interpreter of the tests."""
    values = {
        "command": (sys.executable, "-P", "-m", "agentic_watch"),
        "options": ("--config=/etc/agentic-watch/config.toml",),
        "history": f"{units.STATE}/history.db",
        "account": (USER, USER),
    }
    return Host(**(values | fields), roots=roots, unit_directory=directory)  # type: ignore[arg-type]


def drop_in(made: Host, unit: str = SERVICE) -> list[str]:
    """The settings of a unit's drop-in."""
    text = render(made)[f"{made.unit_directory}/{unit}.d/10-host.conf"]
    return [line for line in text.splitlines() if "=" in line and not line.startswith("#")]


def written(directory: Path, made: Host) -> Path:
    """The units as `service install` would leave them, in a directory of the test."""
    for path, text in render(made).items():
        if path.startswith(str(directory)):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, "utf-8")
    return directory


# --- what is shipped


def settings(name: str) -> dict[str, list[str]]:
    """The [Service] section of a shipped unit: setting → values in order."""
    section = units.shipped(name).split("[Service]\n")[1].split("\n[")[0]
    found: dict[str, list[str]] = {}
    for line in section.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_both_units_are_confined_alike() -> None:
    """The nightly pass may do no more than the daemon: account, directories, limits and hardening are the same."""
    daemon, backfill = settings(SERVICE), settings(BACKFILL)
    shared = list(daemon)[list(daemon).index("User") :]
    assert {key: backfill.get(key) for key in shared} == {key: daemon[key] for key in shared}
    assert len(shared) > 35


def test_the_daemon_is_told_of_and_restarted() -> None:
    """The words of the service protocol that the daemon relies on."""
    said = settings(SERVICE)
    assert said["Type"] == ["notify"]
    assert said["Restart"] == ["on-failure"]
    assert said["RestartPreventExitStatus"] == ["2 78"]
    assert [words[-1] for words in map(str.split, said["ExecReload"])] == ["check", "$MAINPID"]
    assert float(said["WatchdogSec"][0]) >= 30
    assert "AF_UNIX" in said["RestrictAddressFamilies"]


@analyze
@pytest.mark.parametrize("unit", [SERVICE, BACKFILL])
def test_little_is_exposed(tmp_path: Path, unit: str) -> None:
    """`systemd-analyze security` finds next to nothing to take away, with the drop-in of a host as well."""
    at = written(tmp_path, host(str(tmp_path), ("/srv/agents", "/home/agent/work")))
    for path in (Path(units.__file__).parents[2] / "systemd" / unit, at / unit):
        result = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", path],
            capture_output=True, text=True, check=True, env={**os.environ, "SYSTEMD_EMOJI": "0", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
        assert found is not None, result.stdout
        assert float(found[1]) <= HIGHEST_EXPOSURE, result.stdout


@analyze
@pytest.mark.parametrize("roots", [("/srv/agents",), ("/home/agent/work", AWKWARD)])
def test_systemd_finds_no_fault(tmp_path: Path, roots: tuple[str, ...]) -> None:
    """`systemd-analyze verify` has nothing to say of units, drop-ins and timer."""
    at = written(tmp_path, host(str(tmp_path), roots))
    names = [at / name for name in (SERVICE, BACKFILL, units.TIMER)]
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


@analyze
def test_systemd_finds_no_fault_in_the_user_unit(tmp_path: Path) -> None:
    """The same, for a user's manager."""
    at = written(tmp_path, host(str(tmp_path), account=None))
    result = subprocess.run(
        ["systemd-analyze", "--user", "verify", "--man=no", at / SERVICE, at / BACKFILL, at / units.TIMER],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")


def test_shipped_files_are_what_systemd_reads() -> None:
    """Each unit parses, has its sections, and the user file names the user of the unit."""
    for name in (SERVICE, BACKFILL, units.TIMER, f"user/{SERVICE}", f"user/{BACKFILL}"):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.read_string(units.shipped(name))
        assert "Unit" in parser.sections(), name
    assert f"\nu {settings(SERVICE)['User'][0]} " in units.shipped(f"sysusers.d/{USER}.conf")


# --- what is made of it for a host


def test_each_root_is_opened_and_nothing_in_it_executed() -> None:
    """Roots are the only thing that the drop-in opens for writing."""
    assert drop_in(host(roots=("/srv/a", "/data/b"))) == [
        "ExecStart=",
        f"ExecStart={sys.executable} -P -m agentic_watch --config=/etc/agentic-watch/config.toml",
        "ExecReload=",
        f"ExecReload={sys.executable} -P -m agentic_watch --config=/etc/agentic-watch/config.toml config check",
        "ExecReload=kill -HUP $MAINPID",
        "ReadWritePaths=-/srv/a",
        "ReadWritePaths=-/data/b",
        "NoExecPaths=-/srv/a",
        "NoExecPaths=-/data/b",
    ]


def test_roots_in_hidden_places_are_bound_in() -> None:
    """Under /home and /tmp only the roots themselves are seen; the rest of the homes is an empty tmpfs."""
    lines = drop_in(host(roots=("/home/x/work", "/tmp/work", "/srv/a")))
    assert lines[5:8] == ["ProtectHome=tmpfs", "BindPaths=-/home/x/work", "BindPaths=-/tmp/work"]
    assert "ProtectHome=tmpfs" not in drop_in(host(roots=("/tmp/work",)))


def test_another_account_and_another_history_are_named() -> None:
    """--run-as and [history] path: nothing is left of the unit's own, and no user is made."""
    made = host(account=("agent", "agents"), history="/data/aw/history.db")
    assert {"User=agent", "Group=agents", "ReadWritePaths=-/data/aw"} <= set(drop_in(made))
    assert not [path for path in render(made) if "sysusers" in path or "tmpfiles" in path]


@pytest.mark.parametrize(
    ("places", "opened"),
    [
        (MetricsPlaces(), []),
        (MetricsPlaces(textfile="/var/lib/prometheus/a.prom"), ["ReadWritePaths=-/var/lib/prometheus"]),
        (
            MetricsPlaces(listen="127.0.0.1:9477"),
            ["PrivateNetwork=no", "RestrictAddressFamilies=AF_INET AF_INET6", "IPAddressAllow=localhost"],
        ),
        (
            MetricsPlaces(listen="10.0.0.5:9477"),
            ["PrivateNetwork=no", "RestrictAddressFamilies=AF_INET AF_INET6", "IPAddressDeny="],
        ),
    ],
)
def test_metrics_open_what_they_need_and_no_more(places: MetricsPlaces, opened: list[str]) -> None:
    """Without metrics the daemon has no network; with them only the file's directory or a socket; never at night."""
    plain = drop_in(host())
    assert [line for line in drop_in(host(metrics=places)) if line not in plain] == opened
    assert drop_in(host(metrics=places), BACKFILL) == drop_in(host(), BACKFILL)


def test_the_nightly_pass_runs_once() -> None:
    """The daemon's command with --once, in one process: nobody waits for it, and agents need the others."""
    daemon, backfill = drop_in(host()), drop_in(host(), BACKFILL)
    assert backfill == [daemon[0], f"{daemon[1]} --once --jobs 1", *daemon[5:]]


@pytest.mark.parametrize(
    ("value", "setting", "argument"),
    [
        ("/plain/path-1.2_3", "/plain/path-1.2_3", "/plain/path-1.2_3"),
        ("/a b", '"/a b"', '"/a b"'),
        ("/100%", "/100%%", "/100%%"),
        ("/a$b", '"/a$b"', '"/a$$b"'),
        ('/"\\', '"/\\"\\\\"', '"/\\"\\\\"'),
        ("/a:b", '"/a:b"', '"/a:b"'),
        ("/é;#'", '"/é;#\'"', '"/é;#\'"'),
    ],
)
def test_words_are_escaped(value: str, setting: str, argument: str) -> None:
    """Spaces, quotes, backslashes, `%`, and in arguments `$`, come out of systemd as they went in."""
    assert quoted(value) == setting
    assert command_line(["/bin/x", value]) == f"/bin/x {argument}"


@pytest.mark.parametrize(
    ("path", "setting"),
    [
        ("/root/x", "ProtectHome="),
        ("/home", "ProtectHome="),
        ("/tmp/x", "PrivateTmp="),
        ("/homes/x", None),
        ("/opt", None),
    ],
)
def test_hidden_places_are_known(path: str, setting: str | None) -> None:
    """What the unit hides, and by which setting; a name that only begins alike is not hidden."""
    assert hidden_by(path) == setting


def test_the_service_does_not_read_the_operators_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its history is that of $STATE_DIRECTORY, its ~ the service's home, its configuration the named file."""
    file = tmp_path / "config.toml"
    file.write_text('[[roots]]\npath = "~/work"\n')
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CORE_WORKSPACE", "/elsewhere")
    made = install_plan.plan(Overrides(config=str(file)), for_user=False, run_as=None)
    assert made.host.roots == (f"{units.STATE}/work",)
    assert made.host.history == f"{units.STATE}/history.db"
    assert made.host.options == (f"--config={file}",)


def test_flags_become_the_services_flags() -> None:
    """Roots given by flags, without a file, stand in the command; a dollar sign in them survives our own expansion."""
    made = install_plan.plan(Overrides(roots=("/srv/a$$b",), log_format="json"), for_user=False, run_as=None)
    assert made.host.options == ("--root=/srv/a$$b", "--log-format=json")
    assert made.host.roots == ("/srv/a$b",)


# --- putting it in place


class _Silent(Manager):
    """A manager that is asked nothing here: the real one is under tests/systemd."""

    def do(self, *arguments: str) -> None:
        pass

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        return dict.fromkeys(names, "")


def test_files_are_written_once_and_removed(tmp_path: Path) -> None:
    """What differs is written, world-readable; a second time nothing is; an operator's own drop-in survives."""
    files = {path: text for path, text in render(host(str(tmp_path))).items() if path.startswith(str(tmp_path))}
    said: list[str] = []
    umask = os.umask(0o077)
    try:
        assert install(files, _Silent(), said.append)
    finally:
        os.umask(umask)
    assert len(said) == len(files) == 5
    assert {oct(Path(path).stat().st_mode)[-3:] for path in files} == {"644"}
    assert not install(files, _Silent(), said.append)
    assert len(said) == 5
    changed = {path: text for path, text in render(host(str(tmp_path), ("/srv/b",))).items() if path in files}
    assert [Path(s.path).name for s in standings(changed) if s.state == "differs"] == ["10-host.conf", "10-host.conf"]
    own = tmp_path / f"{SERVICE}.d" / "50-own.conf"
    own.write_text("[Service]\n")
    uninstall(list(files), _Silent(), said.append)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [own]


def test_a_masked_unit_is_refused(tmp_path: Path) -> None:
    """A link to /dev/null says that an operator does not want the service; nothing at all is written."""
    (tmp_path / SERVICE).symlink_to("/dev/null")
    files = {path: text for path, text in render(host(str(tmp_path))).items() if path.startswith(str(tmp_path))}
    with pytest.raises(Masked, match="/dev/null"):
        install(files, _Silent(), lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == [SERVICE]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can reach (pytest's own are closed to others)."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_access_is_asked_of_the_kernel(open_directory: Path) -> None:
    """As the user itself, with its groups: what it cannot write is named, what it can is not."""
    nobody = Account.of("nobody")
    closed, opened = open_directory / "clo sed", open_directory / "opened"
    closed.mkdir(mode=0o755)
    opened.mkdir()
    opened.chmod(0o777)
    assert not_writable(nobody, [str(opened), str(closed)]) == [str(closed)]
    assert not_writable(nobody, [str(opened)]) == []
    secret = closed / "secret"
    secret.touch(mode=0o600)
    assert not can_read(nobody, str(secret))
    secret.chmod(0o644)
    assert can_read(nobody, str(secret))


def test_an_unknown_account_is_named() -> None:
    """--run-as of somebody who is not there."""
    with pytest.raises(NoSuchAccount, match="no-such-user-here"):
        Account.of("no-such-user-here")


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_what_root_made_is_given_to_the_service(open_directory: Path) -> None:
    """The history and what the program keeps beside it, not what only begins alike; never by a second name."""
    nobody = Account.of("nobody")
    history = open_directory / "history.db"
    for name in ("history.db", "history.db-wal", "history.db.daemon", "history.db-", "other.db"):
        (open_directory / name).touch(mode=0o600)
    victim = open_directory / "victim"
    victim.touch(mode=0o600)
    (open_directory / "history.db-shm").hardlink_to(victim)
    found = service_user.foreign(str(history), nobody)
    assert sorted(found) == [
        str(open_directory),
        *(f"{history}{suffix}" for suffix in ("", "-shm", "-wal", ".daemon")),
    ]
    given = list(service_user.give(str(history), found, nobody))
    assert len(given) == 3
    assert {os.stat(path).st_uid for path in given} == {nobody.uid}
    assert {(open_directory / name).stat().st_uid for name in ("", "victim", "other.db", "history.db-")} == {0}
    assert service_user.foreign(str(history), nobody) == [str(open_directory), f"{history}-shm"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_files_that_sqlite_makes_and_removes_are_not_foreign(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A -wal that is root's only until SQLite gives it to the history's owner, and a -shm that is removed meanwhile."""
    nobody = Account.of("nobody")
    history = open_directory / "history.db"
    wal, shared_memory = Path(f"{history}-wal"), Path(f"{history}-shm")
    for path in (history, wal, shared_memory):
        path.touch(mode=0o600)
    for path in (open_directory, history):
        os.chown(path, nobody.uid, nobody.gid)

    def sqlite_goes_on(_seconds: float) -> None:
        os.chown(wal, nobody.uid, nobody.gid)
        shared_memory.unlink(missing_ok=True)  # subprocess sleeps, too

    monkeypatch.setattr(service_user.time, "sleep", sqlite_goes_on)
    assert service_user.foreign(str(history), nobody) == []
    assert list(service_user.give(str(history), [str(shared_memory)], nobody)) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_history_that_is_a_link_is_not_given_away(open_directory: Path) -> None:
    """The service's user may have planted it: what it leads to stays its owner's."""
    nobody = Account.of("nobody")
    victim = open_directory / "victim"
    victim.touch(mode=0o600)
    (open_directory / "history.db-wal").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        list(service_user.give(str(open_directory / "history.db"), [str(open_directory / "history.db-wal")], nobody))
    assert victim.stat().st_uid == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_directory_is_given_when_it_holds_nothing_else(open_directory: Path) -> None:
    """A disk of the history's own becomes the service's, its `lost+found` stays root's; one with other things stays."""
    nobody = Account.of("nobody")
    history = open_directory / "h.db"
    for name in ("h.db", "h.db-wal", "host_id"):
        (open_directory / name).touch(mode=0o600)
    (open_directory / "lost+found").mkdir(mode=0o700)
    assert service_user.can_be_given(str(history), str(open_directory))
    list(service_user.give(str(history), service_user.foreign(str(history), nobody), nobody))
    assert open_directory.stat().st_uid == history.stat().st_uid == nobody.uid
    assert (open_directory / "lost+found").stat().st_uid == 0
    assert service_user.foreign(str(history), nobody) == []
    (open_directory / "other").touch()
    assert not service_user.can_be_given(str(history), str(open_directory))


# --- who cannot write below a root, and what lets it

AGENT, AGENTS = 60001, 60002
"""A user and a group that nobody else here is or has."""


@dataclasses.dataclass(frozen=True)
class _Case:
    """Directories, each in the one before, with their group and modes; what is said of the one with this number."""

    modes: tuple[int, ...]
    gid: int
    groups: tuple[int, ...]
    cause: str
    step: str
    named: int = -1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize(
    "case",
    [
        _Case((0o2775, 0o2775), AGENTS, (), "is not in its group", "groupadd --gid 60002 agents-60002 && usermod -aG"),
        _Case((0o2775, 0o755), AGENTS, (AGENTS,), "with another umask than 0002", "setfacl -R -m u:nobody:rwX -m d:"),
        _Case((0o755, 0o755), AGENT, (), "for its owner and its group 60001 only (mode 0755)", "setfacl -R"),
        _Case((0o755, 0o700, 0o755), AGENT, (), "cannot enter it", "setfacl -R", named=1),
        _Case((0o777, 0o755), 0, (), "for its owner", "setfacl -R"),
    ],
    ids=["group", "umask", "owner", "hidden", "roots"],
)
def test_each_way_of_being_shut_out_has_its_own_words(open_directory: Path, case: _Case) -> None:
    """Not in the group, the dispatcher's umask, a directory of its owner: cause and command are of that one."""
    nobody = dataclasses.replace(Account.of("nobody"), groups=(Account.of("nobody").gid, *case.groups))
    path, made = open_directory, []
    for number, mode in enumerate(case.modes):
        path = path / f"d {number}"
        path.mkdir()
        os.chown(path, AGENT, case.gid)
        path.chmod(mode)
        made.append(path)
    found = root_access.closed(nobody, None, str(made[0]), [str(path)])
    assert found is not None
    assert found.path == str(made[case.named])
    assert case.cause in found.cause
    assert found.step.startswith(case.step)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_a_daemon_with_former_groups_is_told_to_start_again(open_directory: Path) -> None:
    """The user was put into the group after the daemon started: the command is a restart, and nothing else."""
    nobody = Account.of("nobody")
    os.chown(open_directory, 0, AGENTS)
    open_directory.chmod(0o2775)
    now = dataclasses.replace(nobody, groups=(*nobody.groups, AGENTS))
    found = root_access.closed(now, nobody, str(open_directory), [str(open_directory)])
    assert found is not None
    assert "the groups that it had before" in found.cause
    assert found.step == "systemctl restart agentic-watch"
    assert root_access.closed(now, now, str(open_directory), [str(open_directory)]) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_a_root_that_cannot_be_reached_is_opened_from_above(open_directory: Path) -> None:
    """A home of mode 0700 above the root: the command opens the way, not the root."""
    home = open_directory / "home"
    (home / "root").mkdir(parents=True)
    (home / "root").chmod(0o777)
    home.chmod(0o700)
    found = root_access.closed(Account.of("nobody"), None, str(home / "root"), [str(home / "root")])
    assert found is not None
    assert found.step == f"setfacl -m u:nobody:x {home}"


# --- what was chosen before


@pytest.mark.parametrize("value", ["/plain", "/a b", "/100%", "/a$$b", '/q"\\', "/a:b"])
def test_what_was_chosen_is_read_back(tmp_path: Path, value: str) -> None:
    """User and options of the drop-in come back as they were given."""
    options = (f"--config={value}", f"--root={value}", "--root=/b", f"--history={value}/h.db", "--log-format=json")
    for path, text in render(host(str(tmp_path), account=("agent", "agents"), options=options)).items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    before = chosen(str(tmp_path))
    assert (before.run_as, before.options) == ("agent", options)
    assert before.overrides() == Overrides(value, (value, "/b"), f"{value}/h.db", "json")


def test_a_unit_of_others_is_read_too(tmp_path: Path) -> None:
    """A package's unit and an operator's drop-in: options as two words, and of each setting the last one counts."""
    unit, own = tmp_path / "unit", tmp_path / "own.conf"
    unit.write_text("[Service]\nExecStart=/usr/bin/agentic-watch --config /etc/c.toml --root=/srv/a\nUser=one\n")
    own.write_text("[Service]\n# User=none\nUser=two\n")
    said = read_back([str(unit), str(own), str(tmp_path / "gone")])
    assert (said.run_as, said.overrides()) == ("two", Overrides("/etc/c.toml", ("/srv/a",)))


def test_an_upgrade_keeps_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second install without flags plans the same units; a flag changes what it names."""
    monkeypatch.setattr(units, "SYSTEM_UNITS", str(tmp_path))
    first = install_plan.plan(Overrides(roots=("/srv/x",)), for_user=False, run_as="nobody")
    for path, text in first.files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    assert install_plan.plan(Overrides(), for_user=False, run_as=None).files == first.files
    other = install_plan.plan(Overrides(), for_user=False, run_as=USER)
    assert other.host.account == (USER, USER)
    assert other.host.options == first.host.options


# --- the command


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command(["--root", "/srv/agents", "service", *arguments]))],
        env=environment(tmp_path), capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip


def test_a_dry_run_prints_every_file(tmp_path: Path) -> None:
    """All that would be written, each under its path; nothing is written."""
    result = run(tmp_path, "install", "--dry-run")
    assert result.returncode == 0
    paths = re.findall(r"^# (/\S+)$", result.stdout, re.MULTILINE)
    assert paths == units.paths((USER, USER), units.SYSTEM_UNITS)
    assert "ReadWritePaths=-/srv/agents" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_for_a_user_names_its_own_directory(tmp_path: Path) -> None:
    """The user's unit, under ~/.config."""
    result = run(tmp_path, "install", "--user", "--dry-run")
    assert result.returncode == 0
    assert f"# {tmp_path}/.config/systemd/user/{SERVICE}\n" in result.stdout
    assert "ReadWritePaths" not in result.stdout


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here; its absence cannot be met")
@pytest.mark.parametrize("arguments", [("uninstall",), ("show",), ("install", "--user")])
def test_without_systemd_it_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """One line, exit status 1."""
    result = run(tmp_path, *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: systemd does not run here; ")
    assert result.stderr.count("\n") == 1


def test_run_as_is_for_the_system_only(tmp_path: Path) -> None:
    """A usage error."""
    assert run(tmp_path, "install", "--user", "--run-as", "root").returncode == 2
