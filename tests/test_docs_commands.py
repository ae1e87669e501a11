"""Every command block of README.md and docs/: each `agentic-watch` line is one that the program takes, what needs no
systemd and no server runs, and each piece of configuration loads."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner
from support import Host, environment, make

from agentic_watch.cli.command_line import root as program
from agentic_watch.cli.dispatch_command import command as dispatch_command
from agentic_watch.config import Overrides, parse

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT / "docs"))
import from_commands  # noqa: E402  it knows all commands

PAGES = [
    PROJECT / "README.md",
    *sorted((PROJECT / "docs").rglob("*.md")),
    *sorted((PROJECT / "examples").rglob("*.md")),
]
MADE = "reference.md"
"""Made from the commands themselves."""
_BLOCK = re.compile(r"(?:^(?: {4,}\S.*| *)\n)+", re.MULTILINE)
_INLINE = re.compile(r"`(agentic-watch [^`]*)`")
_PLACEHOLDER = re.compile(r"[\[\]…|<>]|\.\.\.")
_CALL = re.compile(r"(?:^|[|;&(]\s*|\bsudo |^\w+=\S+ )(?:/\S*/)?agentic-watch(?=\s|$)([^|;&)#<>]*)")
"""The program where a shell would start it."""
_RUNS = (
    "backup",
    "history",
    "prune",
    "import",
    "export",
    "stats",
    "failures",
    "findings",
    "digest",
    "status",
    "--once",
)
"""What needs neither systemd nor a server nor a terminal, and answers by itself."""


class Call(NamedTuple):
    """A line that calls the program; `inline`: in a sentence, which may name a command without its argument."""

    page: Path
    line: str
    inline: bool


def blocks(page: Path) -> Iterator[str]:
    """The indented blocks of a page, without their indentation and prompts; what is printed below a prompt left out."""
    for match in _BLOCK.finditer(page.read_text("utf-8")):
        lines = [line for line in match[0].splitlines() if line.strip()]
        if not lines:
            continue
        depth = min(len(line) - len(line.lstrip()) for line in lines)
        lines = [line[depth:] for line in lines]
        prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        yield "\n".join(prompted or lines)


def is_shell(block: str) -> bool:
    """Whether a block is a script: each line begins with a word that is typed."""
    words = "agentic-watch|systemctl|make|pipx|pip|apt|journalctl|rm|install"
    typed = rf"(?:sudo |python3? |[A-Z_]+=\S+ )?(?:/\S*/)?(?:{words})\b"
    return bool(re.match(typed, block) or re.match(r"\w+=\$\(agentic-watch", block))


def calls() -> Iterator[Call]:
    """Every line of a block, and every inline command without a placeholder, that calls the program."""
    for page in PAGES:
        if page.name == MADE:
            continue
        for block in blocks(page):
            for line in block.replace("\\\n", " ").splitlines() if "agentic-watch" in block else ():
                for match in _CALL.finditer(line):
                    if is_shell(line) or " | agentic-watch" in line:
                        yield from _call(page, match[1])
        for match in _INLINE.finditer(page.read_text("utf-8").replace("\n", " ")):
            if not _PLACEHOLDER.search(match[1]):
                yield from _call(page, match[1].removeprefix("agentic-watch"), inline=True)


def _call(page: Path, text: str, *, inline: bool = False) -> Iterator[Call]:
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # a quote that another command closes
        return
    yield Call(page, shlex.join(["agentic-watch", *words]), inline=inline)


CALLS = list(dict.fromkeys((call.page.name, call.line, call.inline) for call in calls()))


@pytest.fixture
def nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command takes its options and arguments, and then does nothing."""
    ctx = dispatch_command.make_context("dispatch", ["--", "true"])
    assert isinstance(dispatch_command, click.Group)
    _, wrapped, _ = dispatch_command.resolve_command(ctx, ["true"])
    assert wrapped is not None
    for command in (wrapped, *(below.command for _, below in from_commands.commands())):
        monkeypatch.setattr(command, "callback", lambda **_: None)


@pytest.mark.parametrize(("page", "line", "inline"), CALLS)
@pytest.mark.usefixtures("nothing_is_done")
def test_the_program_takes_the_line(page: str, line: str, *, inline: bool) -> None:
    """The command is there, with these options and as many arguments."""
    result = CliRunner().invoke(program, shlex.split(line)[1:])
    assert result.exit_code == 0 or (inline and "Missing argument" in result.output), f"{page}: {result.output}"


def test_every_page_has_its_commands_looked_at() -> None:
    """No page slips through: those that show the program have lines that are parsed."""
    seen = {page for page, *_ in CALLS}
    assert {"README.md", "answers.md", "agents.md", "operations.md", "fleet.md", "coming-from-core-agent.md"} <= seen
    assert len(CALLS) > 60


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host with a dispatch in its history, and the directories that the pages name below its own."""
    host = Host.make(tmp_path_factory.mktemp("operated"))
    make(host.root, "acme/billing/task-101", repo="billing", org="acme")
    make(host.root, "acme/billing/task-1", updated_at="2020-01-01T00:00:00Z")
    (host.base / "backup").mkdir()
    (host.base / "tmp").mkdir()
    (host.base / "config.toml").write_text(f'[[roots]]\npath = "{host.root}"\n[history]\npath = "{host.history}"\n')
    host.once()
    return host


def runnable() -> list[tuple[str, str]]:
    """The lines that can run here, in the order of their page."""
    found = []
    for page, line, _ in CALLS:
        words = shlex.split(line)
        if page != "answers.md" and any(word in _RUNS for word in words) and "--fleet" not in words:
            found += [(page, line)] if all(word == word.strip("A-Z") or word.islower() for word in words) else []
    return found


def test_what_can_run_runs(operated: Host) -> None:
    """Page by page, in their order: each line ends with 0, without a traceback; paths lie below the test's own."""
    lines = [
        (page, line) for page, line in runnable() if not re.search(r"\b(?:WORKSPACE|FILE|NAME|ARCHIVE|WORDS)\b", line)
    ]
    assert {page for page, _ in lines} >= {"operations.md", "agents.md", "README.md"}
    env = {**environment(operated.base), "AGENTIC_WATCH_CONFIG": str(operated.base / "config.toml")}
    for page, line in lines:
        words = [re.sub(r"^/(?=backup/|tmp/)", f"{operated.base}/", word) for word in shlex.split(line)[1:]]
        words = [re.sub(r"^\./(?=history\.db$)", f"{operated.base}/backup/", word) for word in words]  # a copy of it
        words = [str(operated.root) if word.startswith("/srv/") else word for word in words]
        result = subprocess.run(
            [sys.executable, "-m", "agentic_watch", *words],
            env=env, cwd=PROJECT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip
        assert (result.returncode, "Traceback" in result.stderr) == (0, False), f"{page}: {line}: {result.stderr}"


def scripts() -> list[tuple[str, str]]:
    """The blocks that are shell."""
    return [(page.name, block) for page in PAGES for block in blocks(page) if is_shell(block)]


@pytest.mark.parametrize(("page", "block"), scripts())
def test_a_block_is_a_script(page: str, block: str) -> None:
    """bash takes the syntax of each block of commands."""
    text = re.sub(r"<[A-Za-z ]+>", "X", block.replace("…", "x"))
    result = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False, timeout=20)
    assert result.returncode == 0, f"{page}: {result.stderr}\n{block}"


def configurations() -> list[tuple[str, str]]:
    """The blocks that are TOML."""
    return [(page.name, block) for page in PAGES for block in blocks(page) if re.match(r"\[+\w+\]+(?:\n|$)", block)]


@pytest.mark.parametrize(("page", "block"), configurations())
def test_a_piece_of_configuration_loads(page: str, block: str) -> None:
    """Whoever copies it into a file with a root has a configuration that the program takes."""
    tomllib.loads(block)
    text = block if "[[roots]]" in block else f'[[roots]]\npath = "/srv/agents/workspace"\n\n{block}'
    parse(text, f"{page}.toml", Overrides(), dict(os.environ) | {"HOME": "/root"})


def test_the_pages_have_configurations_and_scripts() -> None:
    """What the tests above look at is there."""
    assert {page for page, _ in configurations()} >= {"README.md", "fleet.md"}
    assert {page for page, _ in scripts()} >= {"README.md", "agents.md", "operations.md"}


def test_the_past_can_be_tried(tmp_path: Path) -> None:
    """docs/answers.md: the shifted export is imported whole, and its newest dispatches are of now."""
    history = tmp_path / "past.db"
    env = environment(tmp_path)
    shifted = subprocess.run(
        [sys.executable, "examples/until_now.py", "examples/past.jsonl"],
        cwd=PROJECT,
        env=env,
        capture_output=True,
        check=True,
    )
    program_line = [sys.executable, "-m", "agentic_watch", "--history", str(history)]
    taken = subprocess.run(
        [*program_line, "import", "-"], input=shifted.stdout, env=env, capture_output=True, check=True
    )
    assert b"177 imported, 0 skipped, 0 invalid" in taken.stdout
    compared = subprocess.run([*program_line, "stats", "--compare", "14d"], env=env, capture_output=True, check=True)
    assert compared.stdout.startswith(b"agent gemini:pro: worse")
