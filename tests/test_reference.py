"""docs/reference.md and the manual page say what the program does: no more, no less."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from support import STARTED, Host, make, run

from agentic_watch.cli import exit_status
from agentic_watch.history import opening

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "agentic_watch"
sys.path.insert(0, str(ROOT / "docs"))
import from_commands  # noqa: E402  it stands with what it makes

REFERENCE = from_commands.REFERENCE.read_text("utf-8")
MAKE = "run `make reference`, and look at what it changed"
REPORT = {"passed": True, "findings": [{"tool": "gosec", "code": "G304"}], "changes": {"files_changed": 1}}


def section(title: str) -> str:
    """What stands below a heading."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/reference.md has no section {title!r}"
    return found[2]


def listed(title: str) -> list[str]:
    """The names in code in the first column of a section's table."""
    rows = re.findall(r"^\| (.*?) \|", section(title), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_the_commands_are_those_there_are() -> None:
    """Each command's usage, help and options stand in the reference as the program has them."""
    assert from_commands.with_commands(REFERENCE) == REFERENCE, MAKE


def test_every_help_ends_alike() -> None:
    """Two examples, the command's own exit statuses, the global options, the environment, and where more stands."""
    for path, ctx in from_commands.commands():
        if isinstance(ctx.command, click.Group) and path not in ("agentic-watch", "agentic-watch dispatch"):
            continue
        text = ctx.command.get_help(ctx)
        examples = text.partition("Examples:")[2].partition("\n\n")[0]
        assert len(re.findall(r"\bagentic-watch\b", examples)) >= 2, path
        statuses = text.partition("Exit status:\n")[2].partition("\n\n")[0]
        told = {
            int(code): " ".join(words.split()) for code, words in re.findall(r"^ +(\d+) +(.*)$", statuses, re.MULTILINE)
        }
        assert told == exit_status.meanings(from_commands.name(ctx)), path
        for words in ("Environment: AGENTIC_WATCH_CONFIG", "man agentic-watch", "--log-format", "--history FILE"):
            assert words in text, path


def test_dispatch_help_says_126_and_127() -> None:
    """A command that cannot be executed and one that is not found: help, manual and reference name both."""
    manual = from_commands.MANUAL.read_text("utf-8")
    for code, words in exit_status.meanings("dispatch").items():
        if code in (126, 127):
            assert f"| {code} | {words} |" in section("agentic-watch dispatch")
            assert f".B {code}\n{words}" in manual


def test_the_first_screen_groups_the_commands() -> None:
    """`agentic-watch --help` lists every command once, below a heading that says what one comes for."""
    top = next(ctx for path, ctx in from_commands.commands() if path == "agentic-watch")
    text = top.command.get_help(top)
    groups = re.findall(r"^([A-Z][^\n]*):\n((?:  .*\n)+)", text, re.MULTILINE)
    listed_there = {title: re.findall(r"^  ([a-z-]+)  ", body, re.MULTILINE) for title, body in groups}
    titles = ["Record dispatches", "Ask about them", "Operate", "Move the history"]
    assert [title for title in listed_there if title in titles] == titles
    assert isinstance(top.command, click.Group)
    grouped = [name for title in titles for name in listed_there[title]]
    assert sorted(grouped) == sorted(top.command.list_commands(top))


def test_the_manual_page_is_that_of_the_commands() -> None:
    """The page that is installed says what the commands say."""
    assert from_commands.MANUAL.read_text("utf-8") == from_commands.manual(), MAKE


def test_the_manual_page_can_be_shown() -> None:
    """At 80 columns nothing is wider, no request is left over, and each command has its paragraph."""
    man = shutil.which("man")
    if man is None:
        pytest.skip("man is not installed")
    result = subprocess.run(
        [man, "-l", "--warnings", str(from_commands.MANUAL)],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LANG": "C.UTF-8", "MANPAGER": "cat"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    page = re.sub(".\b", "", result.stdout)
    assert result.stderr == ""
    text = [line for line in page.splitlines() if not line.startswith(" " * 14)]  # examples stay as they are
    assert max(map(len, text)) <= 80
    assert not re.search(r"^\.[A-Z]{2}", page, re.MULTILINE)
    for path, _ in from_commands.commands():
        assert path in page


def test_exit_statuses() -> None:
    """The table of the program has the statuses that its own names have, and stands in the reference and the README."""
    named = {getattr(exit_status, name) for name in dir(exit_status) if name.startswith("EXIT_")}
    classes = [kind for kind in vars(exit_status).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    assert set(exit_status.MEANINGS) == named | {kind.exit_code for kind in classes} | {0, 2}
    for page in (from_commands.REFERENCE, from_commands.README):
        text = page.read_text("utf-8")
        assert from_commands.with_statuses(text) == text, MAKE
        assert all(f"| {code} | {meaning} |" in text for code, meaning in exit_status.MEANINGS.items())


def test_environment_variables() -> None:
    """Every variable that the program asks for is named, and every one that is named is asked for."""
    source = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    asked = set(re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', source)) | {"AGENTIC_WATCH_CONFIG"}
    of_shells = {"COMP_LINE"}
    of_a_pusher, of_the_library = {"CREDENTIALS_DIRECTORY"}, {"TZ"}
    documented = set(listed("Environment"))
    assert asked - of_shells - documented == set(), "asked for, and not in the reference"
    assert documented - asked - of_a_pusher - of_the_library == set(), "in the reference, and not asked for"
    assert {name for name, _ in from_commands.VARIABLES} <= documented


TABLES = ("dispatch_history", "findings", "kept_files", "workspaces", "about", "dispatch_search")


@pytest.mark.parametrize("table", TABLES)
def test_sql_columns(table: str) -> None:
    """Each table of the history with all its columns."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        opening.create(connection)
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        tables = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if not name.startswith(("sqlite_", "dispatch_search_"))
        }
    assert sorted(listed(f"`{table}`")) == sorted(columns)
    undocumented = {name for name in tables if f"### `{name}`" not in REFERENCE}
    assert undocumented <= {"upkeep"}  # what the program keeps for itself


NAMED = ["--org", "o", "--repo", "r", "--task", "t"]
SHAPES = {
    "agentic-watch status --json": ["status", "--json"],
    "agentic-watch --once --json": ["--once", "--json"],
    "agentic-watch commit --json": ["commit", "o/r/newer", "--json"],
    "agentic-watch wait --json": ["wait", "o/r/why", "o/r/run", "--timeout", "0", "--json"],
    "agentic-watch status --removable --json": ["status", "--removable", "--json"],
    "agentic-watch show --json": ["show", "o/r/done", "--json"],
    "agentic-watch history --json": ["history", "--json"],
    "agentic-watch export": ["export", "--with-files"],
    "agentic-watch import --json": ["import", "{base}/broken.jsonl", "--json"],
    "agentic-watch backup --json": ["backup", "{base}/backup.db", "--json"],
    "agentic-watch prune --json": ["prune", "--older-than", "1d", "--dry-run", "--json"],
    "agentic-watch redact --json": ["redact", "--dry-run", "--json"],
    "agentic-watch rename-root --json": ["rename-root", "{root}", "agents", "--json"],
    "agentic-watch config show --json": ["config", "show", "--json"],
    "agentic-watch config check --json": ["config", "check", "--json"],
    "agentic-watch stats --json": ["stats", "--json"],
    "agentic-watch failures --json": ["failures", "--json"],
    "agentic-watch findings --json": ["findings", "--json"],
    "agentic-watch digest --json": ["digest", "--since", "2020-01-01", "--json"],
    "agentic-watch check --json": ["check", "--json"],
    "agentic-watch dispatch begin --json": ["dispatch", "begin", *NAMED, "--json"],
    "agentic-watch dispatch finish --json": ["dispatch", "finish", "{root}/o/r/run", "--status", "completed", "--json"],
}
"""Each section of the reference that shows a shape, and the command that prints one; what commits comes after."""

SELDOM = {
    "kinds[].kind",
    "kinds[].secrets_count",
    "older_lines",
    "warnings[].error",
    "would_commit[].root",
    "would_commit[].workspace",
    "daemon.stale",
    "daemon.*",
    "failures[].error",
    "failures[].root",
    "failures[].workspace",
    "error",
    "new_findings[].*",
    *(f"kept_files[].{name}" for name in ("name", "bytes", "kept_from")),
    "last_lines[]",
}
"""Keys that need a running daemon, another option or another dispatch."""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host with something for every key: committed, failing, running, waiting, gone. Its root keeps its name."""
    host = Host.make(tmp_path_factory.mktemp("busy"))
    make(host.root, "o/r/done", report=REPORT, started_at=STARTED)
    failed = make(host.root, "o/r/why", status="failed", question="why?", agent="codex", repo="r")
    (failed.meta / "a.log").write_bytes(b"text")
    (failed.meta / "b.log").write_bytes(b"no text: \xff")
    make(host.root, "o/r/wait", status="blocked", question="which?", agent="codex", repo="r")
    (make(host.root, "o/r/bad").meta / "status.json").write_text("{")
    host.once()
    make(host.root, "o/r/run", status="running", pid=1)
    make(host.root, "o/r/ghost", status="running", pid=2**31 - 1)
    make(host.root, "o/r/new")
    make(host.root, "o/r/newer")
    (host.root / "o/r/done/.meta/status.json").write_text(
        (host.root / "o/r/done/.meta/status.json").read_text().replace('"started_at"', '"task": "other", "started_at"')
    )
    (host.base / "broken.jsonl").write_text("{\n")
    return host


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    """The path of every key of a document, `[]` for each item of a list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, f"{prefix}[]")
    else:
        yield prefix


def is_told(path: str, documented: list[str]) -> bool:
    """Whether a path stands in the table, by itself or below a `.*`; null stands for what could be there."""
    if path in documented:
        return True
    below = [name.removesuffix("*") for name in documented if name.endswith(".*")]
    return any(path.startswith(name) or path == name.rstrip(".").removesuffix("[]") for name in below)


def untold(title: str, document: Any) -> set[str]:
    """The keys of a document that the table of its section has not."""
    documented = listed(f"`{title}`")
    return {path for path in paths(document) if not is_told(path, documented)}


@pytest.mark.parametrize("title", SHAPES)
def test_json_shapes(busy: Host, title: str) -> None:
    """What a command prints has the keys that its table has, and the table has no other; its shape has a number."""
    arguments = [part.format(base=busy.base, root=busy.root) for part in SHAPES[title]]
    history = busy.history
    if "rename-root" in arguments:
        history = busy.base / "renamed.db"
        run([*busy.arguments(), "backup", str(history)], busy.base)
    result = run([*busy.arguments(history), *arguments], busy.base)
    assert result.stdout, result.stderr
    texts = [result.stdout] if result.stdout.startswith("{\n") else result.stdout.splitlines()
    fixed = ("--once", "commit", "export", "dispatch")
    assert {json.loads(text)["schema"] for text in texts} == {1 if title.split()[1] in fixed else 2}
    found = {path for text in texts for path in paths(json.loads(text))}
    documented = listed(f"`{title}`")
    assert set().union(*(untold(title, json.loads(text)) for text in texts)) == set(), "printed, not in the reference"
    seen = {name for name in documented if any(is_told(path, [name]) for path in found)}
    assert set(documented) - seen - SELDOM == set(), "in the reference, and not printed"


def test_every_json_command_shows_its_shape() -> None:
    """A command with --json has a section that says what it prints."""
    needs_more = "agentic-watch service show", "agentic-watch push"  # systemd; a target: their own tests look at them
    with_json = {
        path for path, ctx in from_commands.commands() if any("--json" in p.opts for p in ctx.command.params)
    } - {"agentic-watch"}
    told = {title.removesuffix(" --json") for title in SHAPES} | set(needs_more)
    assert all(listed(f"`{path} --json`") for path in needs_more)
    assert with_json - told == set(), "add a table to docs/reference.md and its command to SHAPES"
