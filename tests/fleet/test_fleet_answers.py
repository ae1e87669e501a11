"""What a fleet answers is what a host answers on the same data, and the state of its hosts comes with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import support

from agentic_watch.cli.global_options import State
from agentic_watch.cli.mcp_command import command_tools
from agentic_watch.config import Overrides
from agentic_watch.fleet.postgres_schema import DISPATCHES
from agentic_watch.history.columns import USAGE_COLUMNS
from agentic_watch.mcp_server.tool import ToolRefusal
from fleet import samples
from fleet.conftest import Database
from fleet.pusher import Pusher
from fleet.servers import Postgres

QUESTIONS = [
    ["history", "--json", "-n", "0"],
    ["history", "--json", "-n", "0", "--all"],
    ["history", "--json", "--failed", "-n", "7"],
    ["history", "--json", "--repo", "repo3,repo4", "--agent", "codex"],
    ["history", "--json", "--since", "2026-04-05", "--until", "2026-04-20"],
    ["history", "--json", "ünïcode", "task", "12"],
    ["history", "--json", "gosec"],
    ["history", "--json", "task-1"],
    ["history", "--json", "nothing-of-this-kind"],
    ["history", "--json", "#12"],
    ["history", "--json", "https://git.example/acme/billing/pull/42"],
    ["history", "--json", "5c6f0b7e", "pkg/rounding.go"],
    ["history", "--json", "--pr", "42"],
    ["history", "--json", "--pr", "https://git.example/acme/billing/pull/42/"],
    ["history", "--json", "--issue", "12,13"],
    ["history", "--json", "--commit", "bc0d", "--session", "5c6f0b7e", "--branch", "main"],
    ["history", "--csv", "--columns", "workspace,updated_utc,runs"],
    *(["stats", "--json", "--by", by] for by in ("agent", "model", "repo", "day", "host")),
    ["stats", "--json", "--compare", "30d"],
    ["stats", "--csv"],
    ["failures", "--json"],
    ["findings", "--json"],
    ["findings", "--json", "--repo", "repo3", "--by", "file"],
    ["findings", "--json", "--persistent", "2"],
    ["findings", "--json", "--new"],
    ["findings", "--json", "--gone"],
    ["digest", "--json", "--since", "2026-04-01"],
]


TOOLS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("history", {"failed": True, "limit": 200}, ["--failed", "-n", "0"]),
    ("stats", {"by": "host"}, ["--by", "host"]),
    ("failures", {"repo": "repo3"}, ["--repo", "repo3"]),
    ("findings", {"by": "file"}, ["--by", "file"]),
]


@pytest.fixture(scope="module")
def pusher(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Pusher:
    """A host with dispatches that were retried, merged later and found faulty, all of them pushed; only asked."""
    made = Pusher(tmp_path_factory.mktemp("asked"))
    server.execute(f"CREATE DATABASE {made.base.name} TEMPLATE fleet_template")
    made.postgres(server.dsn(made.base.name))
    made.fill(range(120))
    for number in range(0, 40, 3):
        samples.fill(
            made.history, range(number, number + 1), status="merged", updated_at=f"2026-05-01T00:00:{number:02}Z"
        )
    samples.fill(made.history, range(0, 40, 7), runs=2, status="failed", question="timeout after 30 s at /srv/x")
    samples.fill(made.history, range(41, 43), runs=3, pr_url="https://git.example/acme/billing/pull/42")
    assert made.push()[0] == 0
    return made


def ask(pusher: Pusher, question: list[str], *more: str) -> Any:
    pusher.arguments()
    return support.run(["--config", str(pusher.base / "config.toml"), *question, *more], pusher.base)


def parsed(text: str) -> Any:
    """Standard output as data, without what only a fleet's answer has."""
    try:
        documents = [json.loads(line) for line in text.splitlines()]
    except json.JSONDecodeError:
        try:
            documents = [json.loads(text)]
        except json.JSONDecodeError:
            return text
    for document in documents:
        document.pop("host_id", None)
        if "span" in document:  # counted from now, which has gone on meanwhile
            del document["since"], document["before_since"]
    return documents


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_a_fleet_of_one_answers_as_its_host(pusher: Pusher, question: list[str]) -> None:
    """The same question gives the same data, in the same order, asked of the history or of the fleet."""
    local, fleet = ask(pusher, question), ask(pusher, question, "--fleet", "fleet")
    assert (fleet.returncode, fleet.stderr.count("0 of 1 host silent")) == (local.returncode, 1), fleet.stderr
    assert parsed(fleet.stdout) == parsed(local.stdout)


@pytest.mark.parametrize(("name", "given", "options"), TOOLS, ids=[name for name, *_ in TOOLS])
def test_a_tool_asks_the_fleet_that_it_is_given(
    pusher: Pusher, name: str, given: dict[str, Any], options: list[str]
) -> None:
    """What an MCP tool says of a fleet is what its command prints, and the next call is about this host again."""
    state = State(Overrides(config=str(pusher.base / "config.toml")))
    (tool,) = (tool for tool in command_tools(state) if tool.name == f"agentic_{name}")
    said = tool.ask({**given, "fleet": "fleet"})
    printed = ask(pusher, [name, "--json", *options], "--fleet", "fleet").stdout
    rows = [json.loads(line) for line in printed.splitlines()] if name == "history" else json.loads(printed)["rows"]
    assert said.document["rows"] == [
        {key: value for key, value in row.items() if key not in ("schema", "report", "host_id")} for row in rows
    ]
    assert tool.ask({**given, "host": "nobody"}).remarks[0].startswith("nothing matches; the history holds")
    with pytest.raises(ToolRefusal, match="did you mean fleet"):
        tool.ask({**given, "fleet": "flete"})


def test_tables_of_an_older_program_answer_too(database: Database, tmp_path: Path) -> None:
    """What they have no columns for is not known, until `push --init` adds them; older pushers send on as they did."""
    server, name = database.server, database.name
    pusher = Pusher(tmp_path)
    pusher.postgres(server.dsn(name))
    pusher.fill(range(6))
    assert pusher.push()[0] == 0
    for column in USAGE_COLUMNS:
        server.execute(f"ALTER TABLE dispatches DROP COLUMN {column}", name)
    told = of_fleet(pusher, "Task")
    assert len(told) == 6
    assert {row[column] for row in told for column in USAGE_COLUMNS} == {None}
    pusher.fill(range(6, 9))
    code, _, said = pusher.push()
    assert (code, "push --init" in said) == (1, True)
    assert pusher.run("--init").returncode == 0
    columns = ", ".join(column for column in DISPATCHES if column not in (*USAGE_COLUMNS, "commit_id"))
    older = f"INSERT INTO dispatches (commit_id, {columns}) SELECT host_id, {columns} FROM dispatches LIMIT 1"
    server.execute(older, name)
    assert pusher.push()[0] == 0
    told = of_fleet(pusher, "--all")
    assert (len(told), sum(row["turns"] == 3 for row in told)) == (10, 1)


def of_fleet(pusher: Pusher, *options: str) -> list[dict[str, Any]]:
    """What the fleet lists."""
    asked = ask(pusher, ["history", "--json", "-n", "0", *options], "--fleet", "fleet")
    assert asked.returncode == 0, asked.stderr
    return [json.loads(line) for line in asked.stdout.splitlines()]


def test_two_hosts_and_who_is_silent(database: Database, tmp_path: Path) -> None:
    """A fleet's answer has every host's commits, says since when it knows and which hosts are silent."""
    for number in range(2):
        pusher = Pusher(tmp_path / f"host-{number}")
        pusher.postgres(database.dsn())
        pusher.fill(range(3), root=f"/srv/{number}")
        pusher.push()
    database.query("UPDATE hosts SET last_push = '2026-01-02T03:04:05Z', host = 'lost' WHERE host_id = %s", _id(pusher))
    reader = Pusher(tmp_path / "lead")
    reader.postgres(database.dsn("reader"))
    result = ask(reader, ["history", "--json"], "--fleet", "fleet")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len({row["host_id"] for row in rows}) == 2
    assert len(rows) == 6
    assert "1 of 2 hosts silent since 2026-01-02T03:04:05Z (lost)" in result.stderr
    assert "history begins 2026-04-01T" in result.stderr


@pytest.mark.parametrize("what", ["acme/repo0/task-21", "commit"])
def test_one_dispatch_is_shown_as_its_host_shows_it(pusher: Pusher, what: str) -> None:
    """`show --fleet` gives the same dispatch, commits and findings, by the workspace's name and by a commit's id."""
    if what == "commit":
        what = support.query(pusher.history, "SELECT commit_id FROM dispatch_history WHERE issue = 21")[0][0]
    local = json.loads(ask(pusher, ["show", what, "--json"]).stdout)
    fleet = json.loads(ask(pusher, ["show", what, "--json"], "--fleet", "fleet").stdout)
    for shown in (fleet["dispatch"], *fleet["commits"]):
        assert shown.pop("host_id") == _id(pusher)
    assert fleet == local
    assert len(fleet["commits"]) == 3


def test_a_workspace_of_two_hosts_is_asked_back(database: Database, tmp_path: Path) -> None:
    """A name that two hosts have is refused with both places; a name that none has is said."""
    for number in range(2):
        host = small(tmp_path / f"host-{number}", database)
    result = ask(host, ["show", "acme/repo1/task-1"], "--fleet", "fleet")
    assert result.returncode == 1
    assert "is in several places (host-a:/srv/agents, host-a:/srv/agents)" in result.stderr
    assert "no host of the fleet has" in ask(host, ["show", "none"], "--fleet", "fleet").stderr


def small(base: Path, database: Database) -> Pusher:
    """A host that pushed three commits."""
    made = Pusher(base)
    made.postgres(database.dsn("postgres"))
    made.fill(range(3))
    samples.fill(made.history, range(41, 43), runs=3, pr_url="https://git.example/acme/billing/pull/42")
    assert made.push()[0] == 0
    return made


def _id(pusher: Pusher) -> str:
    return (pusher.history.parent / "host_id").read_text("ascii").strip()


def test_a_cloned_image_is_said(database: Database, tmp_path: Path) -> None:
    """Two machines that push under one host id at one time are named; a host that was started anew is not."""
    host = small(tmp_path, database)
    boot = "INSERT INTO host_boots VALUES (%s, %s, 'clone', now() + interval '%s hours', now() + interval '%s hours')"
    database.query(boot, _id(host), "11111111-0000-0000-0000-000000000000", 2, 3)
    assert "share the host id" not in ask(host, ["history"], "--fleet", "fleet").stderr
    database.query(boot, _id(host), "22222222-0000-0000-0000-000000000000", 1, 4)
    assert f"two machines share the host id {_id(host)}" in ask(host, ["history"], "--fleet", "fleet").stderr


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("flete", 2, "did you mean fleet?"), ("lead", 2, "only postgres can be queried"), ("gone", 1, "gone: connection")],
)
def test_a_fleet_that_cannot_be_asked(tmp_path: Path, name: str, code: int, words: str) -> None:
    """A name that is none, a target that has no answers and a server that is away are one line each."""
    reader = Pusher(tmp_path)
    reader.http("https://lead.example.org")
    reader.postgres("host=127.0.0.1 port=1", "gone")
    reader.postgres("host=127.0.0.1 port=1", "fleet")
    result = ask(reader, ["history"], "--fleet", name)
    assert (result.returncode, words in result.stderr) == (code, True), result.stderr


@pytest.mark.parametrize("word", ["задача", "日本語", "½", "menu"])
def test_search_where_the_engine_knows_ascii_alone(server: Postgres, tmp_path: Path, word: str) -> None:
    """With LC_CTYPE C a word in any script is found where it stands, and nowhere else."""
    name = f"in_c_{ord(word[0])}_{os.getpid()}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE template0 LC_CTYPE 'C' LC_COLLATE 'C' ENCODING 'UTF8'")
    host = Pusher(tmp_path)
    host.postgres(server.dsn(name, "postgres"))
    assert host.run("--init").returncode == 0
    host.fill(range(1, 4))
    host.fill(range(4, 5), task=f"Do “{word}”, now")
    assert host.push()[0] == 0
    for more in ([], ["--fleet", "fleet"]):
        found = [
            json.loads(line)["issue"] for line in ask(host, ["history", "--json", word], *more).stdout.splitlines()
        ]
        assert found == [4], more
