"""docs/fleet.md from nothing to the first answer: its SQL and its commands, followed word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
from support import run

from fleet.pusher import Pusher
from fleet.servers import Postgres

PAGE = (Path(__file__).parent.parent.parent / "docs" / "fleet.md").read_text("utf-8")


def sql_of(beginning: str) -> str:
    """The indented block of the page that begins so, comments left out."""
    found = re.search(rf"^ +{re.escape(beginning)}.*\n(?: +\S.*\n)*", PAGE, re.MULTILINE)
    assert found, beginning
    return re.sub(r"--.*", "", found[0])


def typed_into_psql(server: Postgres, sql: str, database: str, user: str = "postgres") -> list[tuple[object, ...]]:
    """Run statements as psql would, `\\c` included; gives the rows of the last one."""
    rows: list[tuple[object, ...]] = []
    for statement in _statements(sql):
        if statement.startswith("\\c "):
            database = statement.removeprefix("\\c ").strip()
            continue
        with psycopg.connect(server.dsn(database, user), autocommit=True) as connection:
            cursor = connection.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
    return rows


def _statements(sql: str) -> Iterator[str]:
    for part in re.split(r";|(?<=\\c agents)\n", sql):
        if part.strip():
            yield part.strip()


def test_who_follows_the_page_gets_an_answer(server: Postgres, tmp_path: Path) -> None:
    """Database, roles, tables, grants, a push with the least rights, and both a question of ours and the page's own."""
    typed_into_psql(server, sql_of("CREATE DATABASE agents;"), "postgres")
    host = Pusher(tmp_path)
    host.postgres(server.dsn("agents", "fleet_owner"))
    made = host.run("--init")
    assert (made.returncode, made.stderr) == (0, "fleet: the tables are ready\n")
    typed_into_psql(server, sql_of("GRANT INSERT ON dispatches"), "agents", "fleet_owner")
    host.targets.clear()
    host.postgres(server.dsn("agents", "fleet_push"))
    host.fill(range(12))
    code, document, said = host.push()
    assert (code, document["targets"][0]["sent_count"], said) == (0, 12, "")
    host.targets.clear()
    host.postgres(server.dsn("agents", "fleet_read"))
    config = host.arguments()[:2]
    asked = run([*config, "stats", "--by", "agent", "--fleet", "fleet"], tmp_path)
    assert (asked.returncode, "12 dispatches" in asked.stdout) == (0, True), asked.stderr
    own = sql_of("SELECT host, repo, count(*)").replace("2026-04-14", "2026-01-01")
    counted = typed_into_psql(server, own, "agents", "fleet_read")
    assert sum(int(str(row[2])) for row in counted) > 0
