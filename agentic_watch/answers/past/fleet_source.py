"""A fleet's PostgreSQL as the source of answers: the same queries over the commits of all hosts, and `show` for one
dispatch.
"""

from __future__ import annotations

import contextlib
import decimal
import unicodedata
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentic_watch import counted
from agentic_watch.answers.past import sql_dialects
from agentic_watch.answers.past.sql_dialects import SAME_RUN, Dialect
from agentic_watch.config import Target
from agentic_watch.fleet import credentials, postgres_connection
from agentic_watch.fleet.postgres_schema import DISPATCHES, FOUND_COLUMNS
from agentic_watch.fleet.push_follow import HEARTBEAT_SECONDS
from agentic_watch.fleet.target_interface import Poisonous, Unavailable, Unusable
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
"""Time without a heartbeat after which a host counts as silent."""

_OF_COMMIT = [
    *(f"d.{name}" for name in ("workspace", "repo", "agent", "branch", "task", "question", "pr_url")),
    "CASE WHEN d.issue = 0 THEN '' ELSE CAST(d.issue AS TEXT) END",
    *(f"coalesce(d.{name}, '')" for name in ("session_id", "head_commit")),
    # Changed files, extracted from the report's text, because JSON functions differ between engines.
    "CASE WHEN d.report LIKE '%\"files\":[%' "
    "THEN regexp_replace(d.report, '^.*\"files\":\\[([^]]*).*$', '\\1') ELSE '' END",
]
_OF_FINDING = [f"coalesce(g.{name}, '')" for name in ("tool", "file", "code", "rule_id", "title", "message")]


_BEYOND_ASCII = range(0x80, 0x20000)


def parting() -> str:
    """Non-ASCII characters that separate words, as ranges of a regular expression.

    With LC_CTYPE C an engine treats no non-ASCII character as a letter, so they are listed: all that are neither
    letter, number nor mark, as in a host's search index (https://sqlite.org/fts5.html#unicode61_tokenizer).
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
    """SQL: a text as its lower-case words, separated by spaces; the search words are converted by the same engine."""
    return f"' ' || btrim(regexp_replace(lower({text}), '{_NO_WORD}', ' ', 'g')) || ' '"


_COMMIT_WORDS = _words_of(" || ' ' || ".join(_OF_COMMIT))
_FINDING_WORDS = _words_of(" || ' ' || ".join(_OF_FINDING))
# Every word must be in the commit or in one of its findings. The last word, marked with a tilde, may be a prefix.
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
    """SQL: the table with the column names of a host's history; columns that it lacks are NULL."""
    columns = [f"CAST(NULL AS {DISPATCHES[name]}) AS {name}" if name in lacking else name for name in HISTORY_COLUMNS]
    columns[columns.index("updated_at")] = "updated_text AS updated_at"
    return f"(SELECT host_id, id, {', '.join(columns)}, CAST(NULL AS TEXT) AS moved_to FROM dispatches)"


_SAME_RUN = f"d.host_id = e.host_id AND {SAME_RUN} AND d.started_utc IS NOT DISTINCT FROM e.started_utc"

FLEET = Dialect(
    commits=_commits(),
    identity="d.host_id, d.commit_id",
    # A host's own ids order rows of equal time, as in its history.
    key="(lpad(CAST(d.id AS TEXT), 19, '0') || ' ' || CAST(d.commit_id AS TEXT))",
    of_commit="f.host_id = d.host_id AND f.commit_id = d.commit_id",
    found="f.commit_id IS NOT NULL",
    kept_identity="k.host_id, k.commit_id",
    same_run=_SAME_RUN,
    newest=f"NOT EXISTS (SELECT 1 FROM dispatches AS e WHERE {_SAME_RUN} AND e.updated_utc > d.updated_utc)",
    searching=f"NOT EXISTS ({_LACKING})",
    joined="string_agg(CAST({} AS text), ',')",
)
"""PostgreSQL, CockroachDB, YugabyteDB and Citus."""

HOSTS = (
    "SELECT host, CAST(extract(epoch FROM last_push) AS BIGINT), "
    "CAST(extract(epoch FROM now() - last_push) AS BIGINT) FROM hosts "
    # The value is not trusted: a host may have written any text.
    "WHERE last_push BETWEEN '1970-01-01' AND '9999-01-01' ORDER BY last_push ASC"
)
CLONES = (
    "SELECT DISTINCT a.host_id, a.host, b.host FROM host_boots AS a JOIN host_boots AS b ON a.host_id = b.host_id "
    "WHERE a.boot_id < b.boot_id AND a.first_push < b.last_push AND b.first_push < a.last_push"
)
BEGINS = "SELECT min(updated_utc) FROM dispatches"


@dataclass(frozen=True, slots=True)
class PostgresSource:
    """An open connection to a fleet. Raises HistoryError, like an unreadable history."""

    connection: Connection
    name: str
    dialect: Dialect = FLEET

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows, as they come."""
        return (tuple(map(_plain, row)) for row in self._ask(sql, values)[1])

    def named(self, sql: str, values: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries."""
        names, rows = self._ask(sql, values)
        for row in rows:
            yield dict(zip(names, map(_plain, row), strict=True))

    def search_value(self, text: str) -> Any:
        """The search words, the last one marked as a prefix."""
        *others, last = sql_dialects.search_words(text)
        return [*others, f"~{last}"]

    def _ask(self, sql: str, values: Sequence[object]) -> tuple[list[str], list[tuple[Any, ...]]]:
        text = sql.replace("%", "%%").replace("?", "%s")
        with _told(self.name), postgres_connection.bounded(self.connection, postgres_connection.ANSWER_SECONDS):
            cursor = self.connection.execute(text, list(values))
            return [column.name for column in cursor.description or ()], cursor.fetchall()


@contextlib.contextmanager
def fleet(target: Target) -> Iterator[PostgresSource]:
    """Open a fleet for one answer. Raises HistoryError."""
    with _told(target.name):
        connection = postgres_connection.connect(credentials.connection_string(target))
    with contextlib.closing(connection):
        yield PostgresSource(connection, target.name, _words(connection, target.name))


def _words(connection: Connection, name: str) -> Dialect:
    """The dialect for this fleet; tables made by an older `push --init` lack columns."""
    with _told(name), postgres_connection.bounded(connection, postgres_connection.ANSWER_SECONDS):
        there = {column.name for column in connection.execute(FOUND_COLUMNS.format("dispatches")).description or ()}
    lacking = set(USAGE_COLUMNS) - there
    return FLEET._replace(commits=_commits(lacking)) if lacking else FLEET


def remarks(source: PostgresSource) -> Iterator[str]:
    """Remarks for every answer of a fleet: its start, silent hosts, duplicate host ids."""
    ((begins,),) = source.rows(BEGINS)
    hosts = list(source.rows(HOSTS))
    silent = [(host, last) for host, last, ago in hosts if ago > SILENT_SECONDS]
    begins, of_all = begins or "nowhere yet", counted(len(hosts), "host")
    text = f"{source.name}: history begins {begins}, {len(silent)} of {of_all} silent"
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
    """Convert a value to what SQLite returns: sums are integers, ids are text."""
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value) if isinstance(value, uuid.UUID) else value


def fleet_dispatch(asked: Source, given: str) -> Shown:
    """Show a workspace (by name) or a commit (by commit_id) of a fleet. Raises NoSuchDispatch and HistoryError."""
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
    """Its kept files; none if the fleet's tables are older or not readable for this role."""
    try:
        return kept_logs.kept(asked, row, failed=Outcomes().of(row["status"]) == "failed")
    except HistoryError:
        return NOTHING_KEPT


def _commits_there(asked: Source, given: str) -> list[dict[str, Any]]:
    """Every commit of the given workspace, oldest first."""
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
    sql = f"SELECT {columns} FROM findings AS f WHERE f.host_id = ? AND f.commit_id = ? ORDER BY f.n"
    return list(asked.named(sql, (row["host_id"], row["commit_id"])))
