"""A fleet's PostgreSQL as the source of an answer: the same questions, asked of every host's commits at once.

One dispatch of a fleet, whole: what every host's commits tell of it. Its workspace is on another machine's disk.
"""

from __future__ import annotations

import contextlib
import decimal
import unicodedata
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentic_watch.answers.past import sql_dialects
from agentic_watch.answers.past.sql_dialects import Dialect
from agentic_watch.config import Target
from agentic_watch.fleet import credentials, postgres_connection
from agentic_watch.fleet.any_target import Poisonous, Unavailable, Unusable
from agentic_watch.fleet.postgres_schema import DISPATCHES, FOUND_COLUMNS
from agentic_watch.fleet.push_follow import HEARTBEAT_SECONDS
from agentic_watch.history import HistoryError
from agentic_watch.history.columns import HISTORY_COLUMNS, USAGE_COLUMNS
from agentic_watch.workspace.instant import now_text

if TYPE_CHECKING:
    from agentic_watch.fleet.postgres_connection import Connection

from agentic_watch.answers.past import kept_logs
from agentic_watch.answers.past.kept_logs import NOTHING_KEPT, Kept
from agentic_watch.answers.past.outcomes import Outcomes
from agentic_watch.answers.past.show_dispatch import COMMIT_ID, NoSuchDispatch, Shown, plain
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.history.columns import FINDING_COLUMNS

SILENT_SECONDS = 3 * HEARTBEAT_SECONDS
"""A host that said nothing for so long is silent."""

_OF_COMMIT = [
    *(f"d.{name}" for name in ("workspace", "repo", "agent", "branch", "task", "question", "pr_url")),
    "CASE WHEN d.issue = 0 THEN '' ELSE CAST(d.issue AS TEXT) END",
    *(f"coalesce(d.{name}, '')" for name in ("session_id", "head_commit")),
    # The changed files, out of the report's text: JSON functions differ.
    "CASE WHEN d.report LIKE '%\"files\":[%' "
    "THEN regexp_replace(d.report, '^.*\"files\":\\[([^]]*).*$', '\\1') ELSE '' END",
]
_OF_FINDING = [f"coalesce(g.{name}, '')" for name in ("tool", "file", "code", "rule_id", "title", "message")]


_BEYOND_ASCII = range(0x80, 0x20000)


def parting() -> str:
    """The signs beyond ASCII that part words, as ranges of a regular expression; all else there is part of a word.

    An engine may take no sign beyond ASCII for a letter (LC_CTYPE C), so they are named: what is neither a letter nor a
    number nor a mark, as the search of a host's history has it (https://sqlite.org/fts5.html#unicode61_tokenizer).
    """
    signs = [point for point in _BEYOND_ASCII if unicodedata.category(chr(point))[0] in "ZPS"]
    ranges: list[list[int]] = []
    for point in signs:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


_NO_WORD = f"([^[:alnum:]\u0080-\U0010ffff]|[{parting()}])+"


def _words_of(text: str) -> str:
    """Text as its words in lower case, a space around each; what is looked for is made alike by the same engine."""
    return f"' ' || btrim(regexp_replace(lower({text}), '{_NO_WORD}', ' ', 'g')) || ' '"


_COMMIT_WORDS = _words_of(" || ' ' || ".join(_OF_COMMIT))
_FINDING_WORDS = _words_of(" || ' ' || ".join(_OF_FINDING))
# No word is in neither the commit nor one of its findings. The last one is perhaps only begun: it comes with a tilde.
_PATTERN = (
    "CASE WHEN w.word LIKE '~%' THEN '%' || rtrim(" + _words_of("w.word") + ") || '%' "
    "ELSE '%' || " + _words_of("w.word") + " || '%' END"
)
_LACKING = (
    f"SELECT 1 FROM unnest(?::text[]) AS w (word) WHERE NOT ({_COMMIT_WORDS} LIKE {_PATTERN} OR EXISTS ("
    f"SELECT 1 FROM findings AS g WHERE g.host_id = d.host_id AND g.commit_id = d.commit_id "
    f"AND {_FINDING_WORDS} LIKE {_PATTERN}))"
)


def _commits(lacking: Collection[str] = ()) -> str:
    """The table under the names that its columns have in a host's history; those that it lacks are not known."""
    columns = [f"CAST(NULL AS {DISPATCHES[name]}) AS {name}" if name in lacking else name for name in HISTORY_COLUMNS]
    columns[columns.index("updated_at")] = "updated_text AS updated_at"
    return f"(SELECT host_id, id, {', '.join(columns)}, CAST(NULL AS TEXT) AS moved_to FROM dispatches)"


FLEET = sql_dialects.POSTGRES._replace(
    commits=_commits(),
    # The order of a host's own numbers settles what has one time, as it does there.
    key="(lpad(CAST(d.id AS TEXT), 19, '0') || ' ' || CAST(d.commit_id AS TEXT))",
    searching=f"NOT EXISTS ({_LACKING})",
)

HOSTS = (
    "SELECT host, CAST(extract(epoch FROM last_push) AS BIGINT), "
    "CAST(extract(epoch FROM now() - last_push) AS BIGINT) FROM hosts "
    # A host may write what it likes there, also what is no number of seconds.
    "WHERE last_push BETWEEN '1970-01-01' AND '9999-01-01' ORDER BY last_push ASC"
)
CLONES = (
    "SELECT DISTINCT a.host_id, a.host, b.host FROM host_boots AS a JOIN host_boots AS b ON a.host_id = b.host_id "
    "WHERE a.boot_id < b.boot_id AND a.first_push < b.last_push AND b.first_push < a.last_push"
)
BEGINS = "SELECT min(updated_utc) FROM dispatches"


@dataclass(frozen=True, slots=True)
class PostgresSource:
    """An open connection. Raises HistoryError, as a history that cannot be read does."""

    connection: Connection
    name: str
    dialect: Dialect = FLEET

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows, as they come."""
        return (tuple(map(_plain, row)) for row in self._ask(sql, values)[1])

    def named(self, sql: str, values: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """The rows with their columns' names."""
        names, rows = self._ask(sql, values)
        for row in rows:
            yield dict(zip(names, map(_plain, row), strict=True))

    def search_value(self, text: str) -> Any:
        """The words that all must occur, the last one marked."""
        *others, last = sql_dialects.search_words(text)
        return [*others, f"~{last}"]

    def _ask(self, sql: str, values: Sequence[object]) -> tuple[list[str], list[tuple[Any, ...]]]:
        text = sql.replace("%", "%%").replace("?", "%s")
        with _told(self.name), postgres_connection.bounded(self.connection, postgres_connection.ANSWER_SECONDS):
            cursor = self.connection.execute(text, list(values))
            return [column.name for column in cursor.description or ()], cursor.fetchall()


@contextlib.contextmanager
def fleet(target: Target) -> Iterator[PostgresSource]:
    """A fleet for one answer. Raises HistoryError."""
    with _told(target.name):
        connection = postgres_connection.connect(credentials.connection_string(target))
    with contextlib.closing(connection):
        yield PostgresSource(connection, target.name, _words(connection, target.name))


def _words(connection: Connection, name: str) -> Dialect:
    """What an older program's `push --init` made lacks columns, which are not known of any commit then."""
    with _told(name), postgres_connection.bounded(connection, postgres_connection.ANSWER_SECONDS):
        there = {column.name for column in connection.execute(FOUND_COLUMNS.format("dispatches")).description or ()}
    lacking = set(USAGE_COLUMNS) - there
    return FLEET._replace(commits=_commits(lacking)) if lacking else FLEET


def remarks(source: PostgresSource) -> Iterator[str]:
    """What belongs to every answer of a fleet: since when it knows, who is silent, who is two."""
    ((begins,),) = source.rows(BEGINS)
    hosts = list(source.rows(HOSTS))
    silent = [(host, last) for host, last, ago in hosts if ago > SILENT_SECONDS]
    text = f"{source.name}: history begins {begins or 'nowhere yet'}, {len(silent)} of {len(hosts)} hosts silent"
    if silent:
        names = ", ".join(host for host, _ in silent[:3]) + (", …" if len(silent) > 3 else "")
        text += f" since {now_text(silent[0][1])} ({names})"
    yield text
    for host_id, one, other in source.rows(CLONES):
        yield f"{source.name}: two machines share the host id {host_id} ({one}, {other}): remove host_id on the clone"


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except (Unavailable, Unusable, Poisonous) as error:
        raise HistoryError(f"{name}: {error}") from error


def _plain(value: Any) -> Any:
    """A value as SQLite would give it: sums are whole numbers, ids are text."""
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value) if isinstance(value, uuid.UUID) else value


def fleet_dispatch(asked: Source, given: str) -> Shown:
    """What a fleet knows of a workspace, by its name, or of a commit_id. Raises NoSuchDispatch and HistoryError."""
    rows = _commits_there(asked, given)
    chosen = rows[-1]
    if COMMIT_ID.fullmatch(given.lower()):
        chosen = next(row for row in rows if row["commit_id"] == given.lower())
    commits = [{name: value for name, value in row.items() if name != "report"} for row in rows]
    return Shown(
        root=chosen["root"],
        workspace=chosen["workspace"],
        dispatch=plain(chosen),
        commits=tuple(map(plain, commits)),
        findings=tuple(_findings_there(asked, chosen)),
        on_disk=None,
        state=None,
        kept=_kept(asked, chosen),
    )


def _kept(asked: Source, row: dict[str, Any]) -> Kept:
    """What is kept of its files; nothing where a fleet's tables are older, or hidden from this role."""
    try:
        return kept_logs.kept(asked, row, failed=Outcomes().of(row["status"]) == "failed")
    except HistoryError:
        return NOTHING_KEPT


def _commits_there(asked: Source, given: str) -> list[dict[str, Any]]:
    """Every commit of the one workspace that is meant, oldest first."""
    table = asked.dialect.commits
    column = "commit_id" if COMMIT_ID.fullmatch(given.lower()) else "workspace"
    value = given.lower() if column == "commit_id" else given.strip("/")
    sql = f"SELECT DISTINCT d.host_id, d.host, d.root, d.workspace FROM {table} AS d WHERE d.{column} = ?"
    found = list(asked.rows(sql, (value,)))
    if not found:
        raise NoSuchDispatch(f"{given}: no host of the fleet has a workspace of this name, or a commit of this id")
    if len(found) > 1:
        where = ", ".join(sorted(f"{host}:{root}" for _, host, root, _ in found))
        raise NoSuchDispatch(f"{given}: is in several places ({where}); give the id of one commit")
    ((host_id, _, root, workspace),) = found
    where = "d.host_id = ? AND d.root = ? AND d.workspace = ?"
    sql = f"SELECT d.* FROM {table} AS d WHERE {where} ORDER BY d.updated_utc, d.runs"
    return list(asked.named(sql, (host_id, root, workspace)))


def _findings_there(asked: Source, row: dict[str, Any]) -> list[dict[str, Any]]:
    columns = ", ".join(f'f."{name}"' for name in FINDING_COLUMNS)
    sql = f"SELECT {columns} FROM {asked.dialect.findings} AS f WHERE f.host_id = ? AND f.commit_id = ? ORDER BY f.n"
    return list(asked.named(sql, (row["host_id"], row["commit_id"])))
