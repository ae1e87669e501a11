"""docs/answers.md: every command on it, run over the bundled past, prints what the page says."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from agentic_watch.cli.command_line import root as program
from agentic_watch.fleet import interchange
from agentic_watch.history.store import History

PROJECT = Path(__file__).parent.parent
PAGE = PROJECT / "docs" / "answers.md"
README = PROJECT / "README.md"
PAST = PROJECT / "examples" / "past.jsonl"
NOW = 1_776_351_600.0
"""2026-04-16T15:00:00Z: the evening on which the page was written."""
COLUMNS = "100"

_BLOCK = re.compile(r"^    \$ (agentic-watch .*)\n((?:    .*\n|\n(?=    [^$]))*)", re.MULTILINE)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Each command of the page, and what stands below it."""
    for match in _BLOCK.finditer(text):
        yield match[1], "".join(line.removeprefix("    ") for line in match[2].splitlines(keepends=True)).strip("\n")


def answer(history: Path, command: str) -> str:
    """What a command prints, messages and all."""
    arguments = ["--history", str(history), *shlex.split(command)[1:]]
    result = CliRunner().invoke(program, arguments, env={"COLUMNS": COLUMNS})
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.output.strip("\n").splitlines())


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history that holds the bundled past."""
    path = tmp_path_factory.mktemp("page") / "history.db"
    store = History(str(path))
    store.open()
    try:
        store.insert([interchange.row(json.loads(line)) for line in PAST.read_bytes().splitlines()])
    finally:
        store.close()
    return path


@pytest.fixture(autouse=True)
def that_evening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The program believes that it is the evening of the page, in UTC."""
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("command", "expected"), [one for page in (PAGE, README) for one in blocks(page.read_text("utf-8"))]
)
def test_the_page_shows_what_is_printed(history: Path, command: str, expected: str) -> None:
    """A reader who runs the command over the same past gets the same answer."""
    assert answer(history, command) == expected


def test_the_page_answers_sixteen_questions() -> None:
    """Each question has its command."""
    text = PAGE.read_text("utf-8")
    assert len(re.findall(r"^### \d+\. ", text, re.MULTILINE)) == 16
    assert len(list(blocks(text))) >= 16
