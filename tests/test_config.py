"""The configuration: what is found, what wins, what is refused, and the `config` commands."""

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from support import POWERLESS
from support import run as run_program

from agentic_watch.cli.config_commands import command as config_group
from agentic_watch.cli.global_options import State
from agentic_watch.config import (
    FINISHED,
    KNOWN_STATUSES,
    Config,
    ConfigError,
    DispatchFiles,
    Keep,
    Limits,
    NoRootsError,
    Overrides,
    Root,
    effective_values,
    find_file,
    history_default,
    known_keys,
    load,
    new_file_path,
    paths,
    to_document,
)

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"
Environ = dict[str, str]


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environ:
    """A home of its own, and an /etc in which nothing stands."""
    monkeypatch.setattr(paths, "ETC_FILE", str(tmp_path / "etc" / "config.toml"))
    return {"HOME": str(tmp_path / "home")}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], str]:
    def write_file(text: str | bytes) -> str:
        file = tmp_path / "config.toml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(file)

    return write_file


def problems(file: str, environ: Environ, **flags: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(Overrides(config=file, **flags), environ)  # type: ignore[arg-type]
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return caught.value.problems


def test_example_loads_and_is_the_defaults(environ: Environ) -> None:
    """The example loads as it stands and changes nothing but the roots."""
    loaded = load(Overrides(config=str(EXAMPLE)), environ)
    assert loaded == Config(
        roots=(Root("/srv/agents/workspace"),),
        history=f"{environ['HOME']}/.local/state/agentic-watch/history.db",
        file=str(EXAMPLE),
        origins=loaded.origins,
    )


def test_example_mentions_every_key(environ: Environ) -> None:
    """Every key that the program accepts stands in the example, under its table, active or commented."""
    table, seen = "", set()
    for line in EXAMPLE.read_text().splitlines():
        if header := re.fullmatch(r"(?:# )?\[\[?([\w.]+)\]\]?", line):
            table = header[1]
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            seen.add(f"{table}.{key[1]}")
    known = {f"{name}.{key}" for name, keys in known_keys.tables(environ).items() for key in keys}
    assert seen == known | {f"{name}.{key}" for name, one in known_keys.lists(environ).items() for key in one.keys}


def test_all_keys_take_effect(write: Callable[[str], str], environ: Environ) -> None:
    """Each key of each table arrives in the configuration, with the file as its origin."""
    file = write("""
        [[roots]]
        path = "~/work//here/../there"
        name = "agents"
        layout = "meta"
        max_depth = 3
        ignore = ["*.bak"]
        watch = "poll"
        [[roots]]
        path = "${BASE}/two$$"
        [commit]
        finished = ["completed", "shipped"]
        settle_seconds = 0
        [history]
        path = "$BASE/db"
        [reconcile]
        interval_seconds = 60
        [limits]
        status_bytes = 2048
        report_bytes = "512 KiB"
        journal_bytes = "1GiB"
        [keep]
        files = ["logs/*/out.txt"]
        statuses = ["*"]
        tail_bytes = "1 KiB"
        total_bytes = "4 MiB"
        [dispatch]
        log = true
        patch = true
        [log]
        level = "debug"
        format = "json"
    """)
    loaded = load(Overrides(config=file), environ | {"BASE": "/base"})
    home = environ["HOME"]
    assert loaded.roots == (
        Root(f"{home}/work/there", "agents", "meta", 3, ("*.bak",), "poll"),
        Root("/base/two$"),
    )
    assert [root.key for root in loaded.roots] == ["agents", "/base/two$"]
    assert (sorted(loaded.finished), loaded.settle_seconds) == (["completed", "shipped"], 0.0)
    assert (loaded.history, loaded.reconcile_seconds) == ("/base/db", 60.0)
    assert loaded.limits == Limits(2048, 512 * 1024, 1024**3)
    assert loaded.kept_files == Keep(("logs/*/out.txt",), frozenset({"*"}), 1024, 4 * 1024**2)
    assert loaded.dispatch == DispatchFiles(log=True, patch=True)
    assert (loaded.log.level, loaded.log.format) == ("debug", "json")
    assert loaded.origins["roots[0].layout"] == loaded.origins["limits.journal_bytes"] == file
    assert loaded.origins["roots[1].layout"] == "default"
    assert set(loaded.origins) == set(effective_values(loaded))


def test_all_problems_at_once(write: Callable[[str], str], environ: Environ) -> None:
    """One reading reports every problem, each with file, key path and what to write instead."""
    file = write("""
        colour = true
        log = "debug"
        [[roots]]
        path = "relative/dir"
        max_depth = true
        [[roots]]
        pth = "/x"
        layout = "mata"
        [commit]
        settle_second = 1
        settle_seconds = -1
        finished = ["", 3]
        [limits]
        status_bytes = "8 MB"
        report_bytes = 5
        journal_bytes = "3 GiB"
        [reconcile]
        interval_seconds = nan
        [push.http]
        url = "x"
    """)
    found = problems(file, environ)
    expected = [
        "colour: unknown key; known here: answers, commit, ",
        "log: must be a table; write [log]",
        "roots[0].path: 'relative/dir' is relative; write the whole path, such as /",
        "roots[0].max_depth: must be a whole number, not true",
        "roots[1].pth: unknown key; did you mean path?",
        "roots[1].layout: must be one of auto, meta, root, not 'mata'; did you mean meta?",
        "roots[1].path: missing",
        "commit.settle_second: unknown key; did you mean settle_seconds?",
        "commit.settle_seconds: must be from 0 to 86400 seconds, not -1",
        "commit.finished: entry 1 is empty; write a value, or leave the key out; entry 2 must be a string",
        "limits.status_bytes: '8 MB' is not a size",
        "limits.report_bytes: must be from 1 KiB to 2 GiB, not 5",
        "limits.journal_bytes: must be from 1 KiB to 2 GiB, not '3 GiB'",
        "reconcile.interval_seconds: must be from 1 to 604800 seconds, not nan",
        "push: must be a list of tables; write [[push]] above each name",
    ]
    assert len(found) == len(expected)
    for start in expected:
        assert any(line.startswith(f"{file}: {start}") for line in found), start


def test_what_is_recorded_of_ghosts(write: Callable[[str], str], environ: Environ) -> None:
    """By default those whose process was seen alive, after ten minutes."""
    file = write("[[roots]]\npath = '/x'\n")
    assert load(Overrides(config=file), environ).ghosts == ("seen", 600.0)
    file = write("[ghosts]\nrecord = 'always'\nafter_seconds = 30\n[[roots]]\npath = '/x'\n")
    assert load(Overrides(config=file), environ).ghosts == ("always", 30.0)


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("[commits]", "did you mean commit?"),
        ("[log]\nlvel = 'info'", "did you mean level?"),
        ("settle_seconds = 1", "did you mean [commit] settle_seconds?"),
        ("[history]\ninterval_seconds = 1", "did you mean [reconcile] interval_seconds?"),
        ("[roots]\npath = '/x'", "write [[roots]]"),
        ("[commit]\nfinished = 'merged'", 'write ["merged"]'),
        ("[log]\nlevel = 'Warnin'", "did you mean warning?"),
        ("[[roots]]\npath = '/x'\ncolour = 1", "known here: ignore, layout, max_depth, name, path, watch"),
        ("[metrics]\nport = 1", "known here: listen, textfile"),
        ("[ghosts]\ncolour = 1", "known here: after_seconds, record"),
        ("[ghosts]\nrecord = 'sean'", "did you mean seen?"),
        ("[ghosts]\nafter_seconds = -1", "must be from 0 to 604800 seconds"),
    ],
)
def test_suggestions(line: str, suggestion: str, write: Callable[[str], str], environ: Environ) -> None:
    """A near miss is answered with what was probably meant, also when it stands in the wrong table."""
    file = write(f"{line}\n")
    assert suggestion in problems(file, environ, roots=("/x",))[0]


@pytest.mark.parametrize(
    "line",
    [
        "[commit]\nsettle_seconds = true",
        "[commit]\nsettle_seconds = inf",
        "[commit]\nsettle_seconds = 1e300",
        "[commit]\nsettle_seconds = 1979-05-27",
        "[commit]\nfinished = []",
        "[commit]\nfinished = {}",
        '[commit]\nfinished = ["a\\u0007"]',
        "[reconcile]\ninterval_seconds = 0.5",
        "[reconcile]\ninterval_seconds = '60'",
        "[history]\npath = ''",
        "[history]\npath = 7",
        "[history]\npath = 'history.db'",
        '[history]\npath = "/x\\u0000y"',
        "[limits]\nstatus_bytes = 0",
        "[limits]\nstatus_bytes = -1",
        "[limits]\nstatus_bytes = 1e6",
        "[limits]\nstatus_bytes = true",
        "[limits]\nstatus_bytes = 0x" + "f" * 9000,
        "[keep]\nfiles = ['/etc/passwd']",
        "[keep]\nfiles = ['../*.log']",
        "[keep]\nfiles = ['logs/../../x']",
        "[keep]\nfiles = ['logs//x']",
        "[keep]\nfiles = ['~/x']",
        "[keep]\nfiles = ['**/*.log']",
        "[keep]\nfiles = ['a/b/c/d/e/f/g/h/i']",
        "[keep]\nfiles = '*.log'",
        "[keep]\nstatuses = []",
        "[keep]\ntail_bytes = '5 MiB'",
        "[dispatch]\nlog = 1",
        "[dispatch]\npatch = 'yes'",
        "[[roots]]\npath = '/x'\nmax_depth = 0",
        "[[roots]]\npath = '/x'\nmax_depth = 33",
        "[[roots]]\npath = '/x'\nmax_depth = 2.0",
        "[[roots]]\npath = '/x'\nname = ''",
        '[[roots]]\npath = "/x"\nname = "a\\nb"',
        "[[roots]]\npath = '/x'\nignore = [1]",
        "[[roots]]\npath = '  '",
        "[[roots]]\npath = ['/x']",
        "[[roots]]\npath = '$NOWHERE/x'",
        "[[roots]]\npath = '${}/x'",
        "[[roots]]\npath = '~no-such-user/x'",
        "roots = ['/x']",
        "[[commit]]\nsettle_seconds = 1",
        '"a\\nb" = 1',
    ],
)
def test_impossible_values(line: str, write: Callable[[str], str], environ: Environ) -> None:
    """An impossible value is one printable line that names the file, however it was written."""
    file = write(line + "\n")
    (problem,) = problems(file, environ, roots=("/other",))
    assert problem.startswith(f"{file}: ") and problem.isprintable()


def test_undefined_variable_is_named(write: Callable[[str], str], environ: Environ) -> None:
    """A path with a variable that is not set says which one."""
    file = write("[[roots]]\npath = '/x/$NOWHERE'\n")
    assert problems(file, environ) == (
        f"{file}: roots[0].path: $NOWHERE is not set (in '/x/$NOWHERE'); set it, or write the path out",
    )


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ("path='/a'", "path='/a/'", "roots[1].path: /a is a root already"),
        ("path='/a'", "path='/a/b'", "roots[1].path: /a/b lies in the root /a"),
        ("path='/a/b'", "path='/a'", "roots[1].path: /a holds the root /a/b"),
        ("path='/a'", "path='/'", "roots[1].path: / holds the root /a"),
        ("path='/a'\nname='n'", "path='/b'\nname='n'", "roots[1].name: 'n' stands for /a already"),
    ],
)
def test_roots_that_clash(first: str, second: str, problem: str, write: Callable[[str], str], environ: Environ) -> None:
    """Two roots may share neither path nor key, and none may lie in another."""
    file = write(f"[history]\npath = '/h'\n[[roots]]\n{first}\n[[roots]]\n{second}\n")
    assert any(line.startswith(f"{file}: {problem}") for line in problems(file, environ))


def test_neighbours_with_one_prefix_are_two_roots(write: Callable[[str], str], environ: Environ) -> None:
    """/a and /ab have nothing to do with each other."""
    file = write("[[roots]]\npath = '/a'\n[[roots]]\npath = '/ab'\n")
    assert [root.path for root in load(Overrides(config=file), environ).roots] == ["/a", "/ab"]


def test_root_reached_by_symlink_is_in_the_other(tmp_path: Path, environ: Environ) -> None:
    """A symlink to a root is that root again, and would be committed twice."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(ConfigError, match=r"--root: .*/link lies in the root .*/real"):
        load(Overrides(roots=(str(tmp_path / "real"), str(tmp_path / "link"))), environ)


def test_history_in_a_root_is_refused(write: Callable[[str], str], environ: Environ) -> None:
    """The history vouches for markers that agents can forge, so it lies where agents do not write."""
    file = write("[[roots]]\npath = '/a'\n[history]\npath = '/a/x/history.db'\n")
    assert problems(file, environ) == (
        f"{file}: history.path: /a/x/history.db lies in the root /a; choose a place outside",
    )


def test_flags_replace_the_roots_and_keep_their_settings(
    write: Callable[[str], str], environ: Environ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--root decides which roots there are; what the file says of such a root and of all else counts."""
    monkeypatch.chdir(tmp_path)
    file = write("""
        [[roots]]
        path = "/gone"
        [[roots]]
        path = "/kept"
        layout = "root"
        [history]
        path = "/h/file.db"
        [commit]
        settle_seconds = 9
        [log]
        level = "error"
    """)
    flags = Overrides(file, ("new", "/kept/", "/kept"), "/h/flag.db", log_format="json")
    loaded = load(flags, environ | {"CORE_WORKSPACE": "/core"})
    assert loaded.roots == (Root(f"{tmp_path}/new"), Root("/kept", layout="root"))
    assert (loaded.history, loaded.settle_seconds) == ("/h/flag.db", 9.0)
    assert (loaded.log.level, loaded.log.format) == ("error", "json")
    origins = loaded.origins
    assert [origins[f"roots[{i}].path"] for i in (0, 1)] == ["--root", "--root"]
    assert [origins[f"roots[{i}].layout"] for i in (0, 1)] == ["default", file]
    assert (origins["history.path"], origins["log.format"]) == ("--history", "--log-format")
    assert (origins["log.level"], origins["limits.status_bytes"]) == (file, "default")


def test_bad_flags_are_reported_with_the_file(write: Callable[[str], str], environ: Environ) -> None:
    """Problems of flags and of the file come together, each under its own name."""
    file = write("[commit]\nsettle = 1\n")
    found = problems(file, environ, roots=("", "/a", "/a/b"), history="", log_level="loud")
    assert [line.removeprefix(f"{file}: ").partition(":")[0] for line in found] == [
        "commit.settle",
        "--root",
        "--root",
        "--history",
        "--log-level",
    ]


def test_roots_come_from_flags_then_file_then_environment(write: Callable[[str], str], environ: Environ) -> None:
    """$CORE_WORKSPACE/workspace counts only when neither flags nor file name a root."""
    core = environ | {"CORE_WORKSPACE": "/core/$x"}
    loaded = load(Overrides(), core)
    assert loaded.roots == (Root("/core/$x/workspace"),)
    assert (loaded.file, loaded.origins["roots[0].path"]) == (None, "$CORE_WORKSPACE")
    assert load(Overrides(roots=("/flag",)), core).roots == (Root("/flag"),)
    empty = write("[log]\nlevel = 'debug'\n")
    assert load(Overrides(config=empty), core).roots == loaded.roots
    assert load(Overrides(config=write("[[roots]]\npath = '/f'\n")), core).roots == (Root("/f"),)


def test_no_roots_anywhere(write: Callable[[str], str], environ: Environ) -> None:
    """Without a file it is a usage error with the two ways out; a file without roots is a bad file."""
    with pytest.raises(NoRootsError, match=r"agentic-watch --root DIR(.|\n)*config init --root DIR"):
        load(Overrides(), environ)
    file = write("")
    assert problems(file, environ) == (f"{file}: roots: missing; add [[roots]] with a path, or give --root DIR",)


def test_file_is_found_in_order(tmp_path: Path, environ: Environ) -> None:
    """--config, the variable, XDG's file, /etc, in this order; a relative XDG value is ignored."""
    names = ["flag", "variable", "xdg/agentic-watch/config.toml", "etc/config.toml"]
    names.append("home/.config/agentic-watch/config.toml")
    flag, variable, xdg, etc, home = (str(tmp_path / name) for name in names)
    assert find_file(Overrides(), environ) is None
    for file in (flag, variable, xdg, etc):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        Path(file).touch()
    named = {"AGENTIC_WATCH_CONFIG": variable}
    with_xdg = environ | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert find_file(Overrides(config=flag), with_xdg | named) == (flag, "--config")
    assert find_file(Overrides(), with_xdg | named) == (variable, "$AGENTIC_WATCH_CONFIG")
    assert find_file(Overrides(), with_xdg | {"AGENTIC_WATCH_CONFIG": ""}) == (xdg, "default")
    assert find_file(Overrides(), environ | {"XDG_CONFIG_HOME": "xdg"}) == (etc, "default")
    os.makedirs(os.path.dirname(home))
    Path(home).touch()
    assert find_file(Overrides(), environ | {"XDG_CONFIG_HOME": "xdg"}) == (home, "default")


def test_named_file_that_is_not_there(tmp_path: Path, environ: Environ) -> None:
    """A file that somebody named must be there: falling back would run something else than was asked for."""
    missing = str(tmp_path / "missing.toml")
    flag = problems(missing, environ)
    assert flag == (f"{missing}: cannot be read (--config): No such file or directory",)
    with pytest.raises(ConfigError, match=r"\(\$AGENTIC_WATCH_CONFIG\): No such file"):
        load(Overrides(roots=("/x",)), environ | {"AGENTIC_WATCH_CONFIG": missing})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[log]\nlevel = \n", r"not valid TOML: .*line 2, column 9"),
        (b"[log]\nlevel = '\xff'\n", "not UTF-8 at line 2"),
        (b"x = " + b"[" * 100_000, "not valid TOML: .*nested"),
        (b"x = " + b"9" * 10_000, "not valid TOML"),
        (b"#" * (1024 * 1024 + 1), "larger than 1 MiB"),
    ],
)
def test_file_that_is_no_toml(content: bytes, problem: str, write: Callable[[bytes], str], environ: Environ) -> None:
    """A file that cannot be parsed is one line with file, place and cause."""
    file = write(content)
    (line,) = problems(file, environ)
    assert re.match(f"{re.escape(file)}: {problem}", line, re.IGNORECASE), line


def test_directory_as_file(tmp_path: Path, environ: Environ) -> None:
    """A directory where the file should be is one line."""
    assert problems(str(tmp_path), environ) == (f"{tmp_path}: cannot be read: Is a directory",)


def test_unreadable_file(write: Callable[[str], str], tmp_path: Path) -> None:
    """A file without read permission is one line, and the exit status of a bad configuration."""
    file = write("")
    os.chmod(file, 0)
    result = run_program(["--config", file, "config", "show"], tmp_path, lacking=POWERLESS)
    assert (result.returncode, result.stderr) == (78, f"Error: {file}: cannot be read (--config): Permission denied\n")


def test_byte_order_mark_is_no_problem(write: Callable[[bytes], str], environ: Environ) -> None:
    """A file that an editor saved with a byte order mark and CRLF loads."""
    file = write(b"\xef\xbb\xbf[[roots]]\r\npath = '/x'\r\n")
    assert load(Overrides(config=file), environ).roots == (Root("/x"),)


@pytest.mark.parametrize(
    ("extra", "etc", "expected"),
    [
        ({"STATE_DIRECTORY": "/one:/two"}, True, ("/one/history.db", "$STATE_DIRECTORY")),
        ({}, True, ("/var/lib/agentic-watch/history.db", "default")),
        ({"XDG_STATE_HOME": "/s"}, True, ("/var/lib/agentic-watch/history.db", "default")),
        ({"XDG_STATE_HOME": "/s"}, False, ("/s/agentic-watch/history.db", "$XDG_STATE_HOME")),
        ({"XDG_STATE_HOME": "s"}, False, ("/h/.local/state/agentic-watch/history.db", "default")),
        ({"STATE_DIRECTORY": ""}, False, ("/h/.local/state/agentic-watch/history.db", "default")),
    ],
)
def test_history_default(extra: Environ, etc: bool, expected: tuple[str, str]) -> None:
    """Systemd's state directory, else the service's place beside /etc, else the user's state home."""
    assert history_default({"HOME": "/h"} | extra, paths.ETC_FILE if etc else None) == expected


def test_new_file_path(environ: Environ) -> None:
    """`config init` writes the named file, for root the one of /etc, else the user's."""
    user = f"{environ['HOME']}/.config/agentic-watch/config.toml"
    assert new_file_path(Overrides(), environ, 1000) == user
    assert new_file_path(Overrides(), environ, 0) == paths.ETC_FILE
    assert new_file_path(Overrides(), environ | {"AGENTIC_WATCH_CONFIG": "/v"}, 0) == "/v"
    assert new_file_path(Overrides(config="/f"), environ | {"AGENTIC_WATCH_CONFIG": "/v"}, 0) == "/f"


def test_statuses() -> None:
    """The finished statuses are known ones, and the rest of the known ones are not finished."""
    assert {"queued", "running"} == KNOWN_STATUSES - FINISHED


def test_import_is_stdlib_only() -> None:
    """Importing the configuration brings in neither TOML nor libraries, so commands start fast."""
    code = "import sys, agentic_watch.config; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    late = {"tomllib", "tomli_w", "difflib", "click", "watchdog", "sqlite_utils"}
    assert not late & {name.partition(".")[0] for name in done.stdout.split()}


def run(environ: Environ, *args: str, overrides: Overrides | None = None) -> Result:
    """Run `config ...` under a group that turns errors into exit statuses as the real one does."""

    class Errors(click.Group):
        def invoke(self, ctx: click.Context) -> object:
            try:
                return super().invoke(ctx)
            except (ConfigError, NoRootsError) as error:
                click.echo(str(error), err=True)
                ctx.exit(78 if isinstance(error, ConfigError) else 2)

    cli = Errors("agentic-watch", commands={"config": config_group})
    unset = dict.fromkeys(("XDG_CONFIG_HOME", "CORE_WORKSPACE", "AGENTIC_WATCH_CONFIG", "STATE_DIRECTORY"))
    unset |= {"XDG_STATE_HOME": None}
    return CliRunner().invoke(cli, ["config", *args], env=unset | environ, obj=State(overrides or Overrides()))


def test_init_writes_a_file_that_loads(tmp_path: Path, environ: Environ) -> None:
    """The written file alone means what the flags said; stdout has its path, stderr the next step."""
    file, root = str(tmp_path / "new dir" / "c.toml"), str(tmp_path / 'r$HOME "q"')
    result = run(environ, "init", "--root", root.replace("$", "$$"), "--history", "/h/x.db", "--config", file)
    assert (result.exit_code, result.stdout) == (0, f"{file}\n")
    assert result.stderr == f"next: agentic-watch --config '{file}' --once\n"
    loaded = load(Overrides(config=file), environ)
    assert (loaded.roots, loaded.history) == ((Root(root),), "/h/x.db")
    assert stat.S_IMODE(os.stat(file).st_mode) & ~0o644 == 0
    assert "config.example.toml" in Path(file).read_text()
    with open(file, "a") as more:
        more.write('[[roots]]\npath = "/added/by/hand"\n')
    assert len(load(Overrides(config=file), environ).roots) == 2


def test_init_takes_the_global_options(tmp_path: Path, environ: Environ) -> None:
    """Options before the subcommand count as well, and those after it beat them."""
    before = Overrides(config=str(tmp_path / "a.toml"), roots=("/one", "/two"), history="/h/before.db")
    result = run(environ, "init", "--history", "/h/after.db", overrides=before)
    assert result.exit_code == 0, result.output
    loaded = load(Overrides(config=result.stdout.strip()), environ)
    assert ([root.path for root in loaded.roots], loaded.history) == (["/one", "/two"], "/h/after.db")


def test_init_refuses_to_overwrite(tmp_path: Path, environ: Environ) -> None:
    """An existing file stays as it is, byte for byte, and the one line says what to do."""
    file = tmp_path / "c.toml"
    file.write_text("mine")
    result = run(environ, "init", "--root", "/x", "--config", str(file))
    assert (result.exit_code, result.stdout, file.read_text()) == (1, "", "mine")
    assert result.stderr.splitlines() == [
        f"Error: {file}: already exists; edit it, or choose another file with --config FILE"
    ]
    dangling = tmp_path / "link.toml"
    dangling.symlink_to("elsewhere.toml")
    assert run(environ, "init", "--root", "/x", "--config", str(dangling)).exit_code == 1
    assert not (tmp_path / "elsewhere.toml").exists()


def test_init_finds_the_core_workspace(tmp_path: Path, environ: Environ) -> None:
    """Without flags $CORE_WORKSPACE/workspace is taken when it is there, else the ways out shown."""
    target = {"AGENTIC_WATCH_CONFIG": str(tmp_path / "c.toml"), "CORE_WORKSPACE": str(tmp_path)}
    result = run(environ | target, "init")
    assert result.exit_code == 2 and "config init --root DIR" in result.stderr
    (tmp_path / "workspace").mkdir()
    result = run(environ | target, "init")
    assert (result.exit_code, result.stderr) == (0, "next: agentic-watch --once\n")
    assert load(Overrides(config=target["AGENTIC_WATCH_CONFIG"]), environ).roots == (Root(str(tmp_path / "workspace")),)


def test_init_writes_nothing_that_would_not_load(tmp_path: Path, environ: Environ) -> None:
    """Bad flags are refused before a file or its directory is made."""
    file = tmp_path / "new" / "c.toml"
    result = run(environ, "init", "--root", "/a", "--root", "/a/b", "--config", str(file))
    assert result.exit_code == 78 and result.stderr.startswith("--root: /a/b lies in the root /a")
    assert not file.parent.exists()


def test_init_where_nothing_can_be_written(tmp_path: Path, environ: Environ) -> None:
    """A directory that cannot be made is one line with path, cause and next step."""
    (tmp_path / "file").touch()
    result = run(environ, "init", "--root", "/a", "--config", str(tmp_path / "file" / "c.toml"))
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1 and "c.toml: cannot be written: " in result.stderr


def test_show_aligns_values_and_origins(write: Callable[[str], str], environ: Environ) -> None:
    """Each line reads `key = value  # origin`."""
    file = write("[[roots]]\npath = '/x'\n[log]\nlevel = 'debug'\n")
    result = run(environ, "show", overrides=Overrides(config=file))
    lines = [re.sub(" +", " ", line) for line in result.stdout.splitlines()]
    assert f'roots[0].path = "/x" # {file}' in lines
    assert f'log.level = "debug" # {file}' in lines
    assert "commit.settle_seconds = 2.0 # default" in lines
    assert len({line.index(" = ") for line in result.stdout.splitlines()}) == 1


def test_show_json_is_one_document(write: Callable[[str], str], environ: Environ) -> None:
    """--json prints file, values and origins, and the values are themselves a configuration."""
    file = write("[[roots]]\npath = '/x'\nname = 'n'\n")
    printed = json.loads(run(environ, "show", "--json", overrides=Overrides(config=file)).stdout)
    loaded = load(Overrides(config=file), environ)
    assert printed == {"schema": 2, "file": file, "values": to_document(loaded), "origins": dict(loaded.origins)}
    assert printed["values"]["roots"][0]["name"] == "n"


def test_show_reports_a_bad_file(write: Callable[[str], str], environ: Environ) -> None:
    """A bad configuration is shown as its problems, with exit status 78."""
    file = write("[log]\nlevl = 'debug'\n[commit]\nsettle_seconds = -2\n[[roots]]\npath = '/x'\n")
    result = run(environ, "show", overrides=Overrides(config=file))
    assert (result.exit_code, len(result.stderr.splitlines())) == (78, 2)


def test_document_round_trips(environ: Environ, write: Callable[[str], str]) -> None:
    """What `to_document` returns, written as TOML, loads to an equal configuration."""
    import tomli_w

    loaded = load(Overrides(config=write("[[roots]]\npath = '/x'\nignore = ['a']\n")), environ)
    text = tomli_w.dumps(to_document(loaded))
    assert tomllib.loads(text) == to_document(loaded)
    assert load(Overrides(config=write(text)), environ)._replace(origins=loaded.origins) == loaded
