"""The house: imports point down, each library and each kind of system call has one room, rooms stay small."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import agentic_watch

PACKAGE = Path(agentic_watch.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_MODULE, LONGEST_FUNCTION = 320, 60

ROOMS = (
    "__main__",
    "cli",
    "mcp_server",
    "dashboard",
    "waiting",
    "answers",
    "daemon",
    "backfill",
    "dispatch",
    "service",
    "exchange",
    "fleet",
    "inventory",
    "watch",
    "commit",
    "scan",
    "history",
    "workspace",
    "host",
    "config",
    "__init__",
)
"""From top to bottom. A room imports from itself and from the rooms below it, never from above."""

SELF_CONTAINED = ("config", "host")
"""Rooms that know no other room."""

FROM_WORKSPACE_TO_HISTORY = {"history/rows.py", "history/commit_lookup.py"}
"""The only places where the history looks at a record: there it becomes rows, or is asked for."""


@functools.cache
def parsed(module: Path) -> ast.Module:
    """The module's syntax tree."""
    return ast.parse(module.read_bytes())


def name_of(module: Path) -> str:
    """The module's path inside the package."""
    return str(module.relative_to(PACKAGE))


def room_of(module: Path) -> str:
    """The room in which a module stands."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imports(module: Path) -> frozenset[str]:
    """Every dotted name that a module imports, inside functions too, relative ones resolved."""
    return frozenset(_imports(module))


def _imports(module: Path) -> Iterator[str]:
    package = ("agentic_watch", *module.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            whole = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{whole}.{alias.name}" for alias in node.names)


def rooms_used(module: Path) -> set[str]:
    """The rooms that a module imports from, its own left out."""
    used = set()
    for name in imports(module):
        first, _, rest = name.partition(".")
        if first == "agentic_watch":
            room = rest.split(".")[0]
            used.add(room if room in ROOMS else "__init__")
    return used - {room_of(module)}


def test_imports_point_down() -> None:
    """No room imports from a room above it; a new room has to be given its place in ROOMS."""
    assert {room_of(module) for module in MODULES} <= set(ROOMS), "put it into ROOMS where it belongs"
    place = {room: number for number, room in enumerate(ROOMS)}
    above = {
        name_of(module): found
        for module in MODULES
        if (found := [used for used in rooms_used(module) if place[used] < place[room_of(module)]])
    }
    assert not above


def test_the_lowest_rooms_know_no_other_room() -> None:
    """The lowest rooms can be understood by themselves."""
    for room in SELF_CONTAINED:
        used = set().union(*(rooms_used(module) for module in MODULES if room_of(module) == room))
        assert used <= {"__init__"}, (room, used)


def test_a_record_becomes_rows_in_one_place() -> None:
    """One file of the history makes rows of a record, one asks for them; a workspace knows nothing of the history."""
    knowing = {name_of(m) for m in MODULES if room_of(m) == "history" and "workspace" in rooms_used(m)}
    assert knowing == FROM_WORKSPACE_TO_HISTORY


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("sqlite_utils", "history/migrations.py"),
        ("watchdog", "watch"),
        ("mcp", "mcp_server"),
        ("click", "cli"),
        ("datasette", "dashboard"),
        ("prometheus_client", "daemon/metrics.py"),
        ("psycopg", "fleet/postgres_connection.py"),
        ("httpx", "fleet/http_target.py"),
    ],
)
def test_a_library_is_imported_in_one_room(library: str, home: str) -> None:
    """Each library has one home; elsewhere nobody needs to know that it exists."""
    users = {name_of(m) for m in MODULES if any(name.split(".")[0] == library for name in imports(m))}
    assert users
    assert {user for user in users if user != home and not user.startswith(home + "/")} == set()


def calls(module: Path) -> set[str]:
    """The dotted names of what a module calls (`os.open`, `open`)."""
    found = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
    return found


OPENING = {"os.open", "open", "io.open", "os.mkdir", "os.rename", "os.replace", "os.unlink", "os.fsync", "os.ftruncate"}


def test_one_file_opens_paths_inside_a_workspace() -> None:
    """In the rooms that touch workspaces only workspace/files.py opens, makes, renames, removes and syncs."""
    rooms = ("workspace", "commit", "scan", "inventory", "backfill", "dispatch")
    elsewhere = {"dispatch/git_facts.py", "dispatch/status_writer.py"}  # a copy of git's index, a file of the package
    openers = {name_of(m) for m in MODULES if room_of(m) in rooms and calls(m) & OPENING}
    assert openers - elsewhere == {"workspace/files.py"}


def test_the_writing_side_knows_nothing_of_commits() -> None:
    """Who writes a status never touches a journal, marker or history: these rooms are out of its sight."""
    used = set().union(*(rooms_used(module) for module in MODULES if room_of(module) == "dispatch"))
    assert used == {"workspace", "host", "config"}


def test_a_status_is_replaced_in_one_place() -> None:
    """Only the writing side has a status file's name in a call that replaces something."""
    replacing = {
        name_of(module)
        for module in MODULES
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Call)
        and "replace" in ast.unparse(node.func)
        and any(ast.unparse(argument) == "layout.STATUS" for argument in node.args)
    }
    assert replacing == {"dispatch/status_writer.py"}


def test_no_module_is_named_like_the_standard_library() -> None:
    """A name that the standard library has is no name for a module of ours."""
    names = {part.removesuffix(".py") for module in MODULES for part in module.relative_to(PACKAGE).parts}
    assert names & sys.stdlib_module_names == set()


def test_no_two_modules_have_one_name() -> None:
    """A name alone leads to one file."""
    names = [module.stem for module in MODULES if module.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


def test_modules_and_functions_stay_small() -> None:
    """A module that is too long wants to be two rooms, a function that is too long wants names for its parts."""
    sizes = {name_of(module): len(module.read_text("utf-8").splitlines()) for module in MODULES}
    assert {name: lines for name, lines in sizes.items() if lines > LONGEST_MODULE} == {}
    lengths = {
        f"{name_of(module)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for module in MODULES
        for node in ast.walk(parsed(module))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def test_what_is_public_says_what_it_is() -> None:
    """Every module, and every public class and function outside of it, has a docstring."""
    silent = [name_of(module) for module in MODULES if not ast.get_docstring(parsed(module))]
    silent += [
        f"{name_of(module)}:{node.lineno} {node.name}"
        for module in MODULES
        for node in parsed(module).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Without circles each module can be understood after those it imports. Imports in functions count, too."""
    names = {
        module: ".".join(("agentic_watch", *module.relative_to(PACKAGE).with_suffix("").parts)) for module in MODULES
    }
    of_name = {name.removesuffix(".__init__"): module for module, name in names.items()}
    left = {
        module: {of_name.get(name) or of_name.get(name.rpartition(".")[0]) for name in imports(module)} - {module, None}
        for module in MODULES
    }
    while leaves := {module for module, used in left.items() if not used & left.keys()}:
        left = {module: used for module, used in left.items() if module not in leaves}
    assert not left, f"in circles, or above them: {sorted(map(name_of, left))}"


def test_a_class_name_means_one_thing() -> None:
    """No two modules have a public class of one name."""
    where: dict[str, list[str]] = {}
    for module in MODULES:
        for node in parsed(module).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(name_of(module))
    assert {name: homes for name, homes in where.items() if len(homes) > 1} == {}


def test_every_file_is_found_by_what_it_decides() -> None:
    """CONTRIBUTING has one line for each file that holds code, below its folder, and none for others."""
    _, _, listed = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8").partition("## Every file")
    named: list[str] = []
    folder = ""
    for line in listed.splitlines():
        if found := re.fullmatch(r"\*\*([\w/]+)/\*\*", line):
            folder = found[1]
        elif found := re.match(r"- `(\w+)`: \S", line):
            named.append(f"{folder}/{found[1]}.py")
    assert len(named) == len(set(named))
    files = {name_of(module) for module in MODULES if "/" in name_of(module)}
    assert {name for name in named if not name.endswith("__init__.py")} == {
        name for name in files if not name.endswith("__init__.py")
    }


OUTSIDE = sorted(
    path for folder in ("benchmarks", "examples", "release") for path in (PACKAGE.parent / folder).rglob("*.py")
)


@pytest.mark.parametrize("script", OUTSIDE, ids=lambda script: f"{script.parent.name}/{script.name}")
def test_what_scripts_import_of_the_package_is_there(script: Path) -> None:
    """Also in those that only a release runs."""
    for node in ast.walk(parsed(script)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE.name:
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
