"""Connections to PostgreSQL and compatible databases, directly or through pgbouncer, and the meaning of their errors.

The only module that imports psycopg, late, because that takes 0.1 s. Uses no session state that pgbouncer in
transaction mode loses: no prepared statements, no SET except SET LOCAL, no `options=`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agentic_watch.fleet.target_interface import Poisonous, TimedOut, Unavailable, Unusable, cut_after, one_line, shut
from agentic_watch.host.extras import missing_extra

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]
else:
    Connection = object  # a type name without importing psycopg

TRANSACTION_SECONDS = 60.0
"""Time limit of a transaction on this side; the server's statement timeout is half of it."""
ANSWER_SECONDS = 300.0
"""Time limit of a query."""

CONNECT_SECONDS = 10
_USER_TIMEOUT_MS = 30_000

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_DATA = ("21", "22", "23", "27", "44", "54", "P0")  # P0: a trigger's RAISE
_OPERATORS = ("28", "3D", "3F", "42", "0A", "0L", "0P")
_CANCELED = "57014"
_REMEDIES = {
    "42P01": "; create the tables with agentic-watch push --init",
    "42703": "; update the tables with agentic-watch push --init",
    "42501": "; grant it (docs/fleet.md)",
}


def connect(dsn: str) -> Connection:
    """Connect. Raises Unusable for an invalid connection string (without repeating it), else Unavailable."""
    psycopg = _psycopg()
    try:
        return psycopg.connect(  # type: ignore[no-any-return]
            dsn,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_SECONDS,
            tcp_user_timeout=_USER_TIMEOUT_MS,
            client_encoding="UTF8",
            application_name="agentic-watch",
        )
    except psycopg.OperationalError as error:
        raise Unavailable(one_line(error)) from error
    except (psycopg.Error, ValueError):
        # libpq quotes text that it cannot parse, which may be the password.
        raise Unusable(
            'its secret is not a connection string; write "host=… dbname=… user=… password=…" or "postgresql://…"'
        ) from None


def statement_timeout(seconds: float) -> str:
    """The statement that sets the server's statement timeout for a transaction of `seconds`."""
    return f"SET LOCAL statement_timeout = {int(seconds * 500)}"


@contextlib.contextmanager
def transaction(connection: Connection, seconds: float | None = None) -> Iterator[Connection]:
    """One transaction of at most `seconds` (default TRANSACTION_SECONDS). Raises like `bounded`."""
    with bounded(connection, seconds) as longest, connection.transaction():
        connection.execute(statement_timeout(longest))
        yield connection


@contextlib.contextmanager
def bounded(connection: Connection, seconds: float | None = None) -> Iterator[float]:
    """A block with a time limit, even if the server is silent; yields the seconds (default TRANSACTION_SECONDS).

    Errors of psycopg become Poisonous (invalid data), Unusable (needs an operator), TimedOut or Unavailable (retry
    later).
    """
    psycopg = _psycopg()
    longest = seconds or TRANSACTION_SECONDS
    descriptor = connection.fileno()
    with cut_after(longest, lambda: shut(descriptor)) as was_cut:
        try:
            yield longest
        except psycopg.Error as error:
            translated = _translated(error)
            if was_cut() and isinstance(translated, Unavailable):
                raise TimedOut(f"gave no complete answer within {longest:g} s") from error
            raise translated from error
        except UnicodeEncodeError as error:
            raise Poisonous(f"holds text that is not Unicode ({error.reason})") from error


def _translated(error: psycopg.Error) -> Exception:
    psycopg = _psycopg()
    state = error.sqlstate or ""
    cause = one_line(error.diag.message_primary or error)
    # psycopg itself rejects some values without a SQLSTATE, such as a NUL in a text.
    if state.startswith(_DATA) or (not state and isinstance(error, psycopg.DataError)):
        return Poisonous(cause)
    if state.startswith(_OPERATORS):
        return Unusable(f"{cause}{_REMEDIES.get(state, '')}")
    return TimedOut(cause) if state == _CANCELED else Unavailable(cause)


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise Unusable(missing_extra("psycopg", "fleet")) from error
    return psycopg
