"""Templates are made once a session; what needs strace says so where it is missing."""

from __future__ import annotations

import compileall
import os
from dataclasses import replace

import pytest

import agentic_watch

from . import trace
from . import tree as trees
from .points import Scenario, undisturbed
from .trace import Call
from .tree import NAMES, Tree

needs_strace = pytest.mark.skipif(
    trace.STRACE is None and "CI" not in os.environ, reason="strace is not installed: no call can be made to fail"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for the traced calls needs strace."""
    for item in items:
        if "calls_of" in getattr(item, "fixturenames", ()):
            item.add_marker(needs_strace)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Three workspaces with work to do, to be copied."""
    return trees.make(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def scenarios(template: Tree) -> dict[str, Scenario]:
    """What is disturbed: a pass, in several processes too, a pass after the history was lost, `commit`."""
    kept = Scenario(template, history=True, command=("--once",))
    return {
        "once": kept,
        "once, in jobs": replace(kept, command=("--once", "--jobs", "2")),
        "once, history lost": replace(kept, history=False),
        "commit": replace(kept, command=("commit", *NAMES)),
    }


@pytest.fixture(scope="session")
def calls_of(scenarios: dict[str, Scenario], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Call]]:
    """The system calls of each scenario when nothing goes wrong. What is compiled first is compiled once."""
    compileall.compile_dir(os.path.dirname(agentic_watch.__file__), quiet=1)
    return {name: undisturbed(scenario, tmp_path_factory.mktemp("calm")) for name, scenario in scenarios.items()}
