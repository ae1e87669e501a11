"""A connection to PostgreSQL or its kin, through pgbouncer or not, and what its errors mean.

The only import of psycopg, made late: it costs 0.1 s. Nothing of a session is used that pgbouncer in transaction mode
does not keep: no prepared statements, no SET but SET LOCAL, no `options=`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agentic_watch.fleet.any_target import Poisonous, TimedOut, Unavailable, Unusable, cut_after, one_line, shut
from agentic_watch.host.extras import missing_extra

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]
else:
    Connection = object  # to name it needs no psycopg

TRANSACTION_SECONDS = 60.0
"""The longest that one transaction may take, from outside; the server is told half of it per statement."""
ANSWER_SECONDS = 300.0
"""The longest that one question may take."""

CONNECT_SECONDS = 10
_USER_TIMEOUT_MS = 30_000

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_DATA = ("21", "22", "23", "27", "44", "54", "P0")  # P0: a trigger's RAISE
_OPERATORS = ("28", "3D", "3F", "42", "0A", "0L", "0P")
_CANCELED = "57014"
_REMEDIES = {
    "42P01": "; make the tables with agentic-watch push --init",
    "42703": "; bring the tables up to date with agentic-watch push --init",
    "42501": "; grant it (docs/fleet.md)",
}


def connect(dsn: str) -> Connection:
    """Connect. Raises Unusable for a string that is none (and does not repeat it), else Unavailable."""
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
        # libpq quotes what it cannot read, and that may be the password.
        raise Unusable(
            'its secret is no connection string; write "host=… dbname=… user=… password=…" or "postgresql://…"'
        ) from None


def statement_timeout(seconds: float) -> str:
    """What tells the server how long a statement of a transaction of so many seconds may take."""
    return f"SET LOCAL statement_timeout = {int(seconds * 500)}"


@contextlib.contextmanager
def transaction(connection: Connection, seconds: float | None = None) -> Iterator[Connection]:
    """One transaction of at most so many seconds (TRANSACTION_SECONDS). Raises what `bounded` raises."""
    with bounded(connection, seconds) as longest, connection.transaction():
        connection.execute(statement_timeout(longest))
        yield connection


@contextlib.contextmanager
def bounded(connection: Connection, seconds: float | None = None) -> Iterator[float]:
    """A block that ends in time, however silent the server is; gives the seconds that it has (TRANSACTION_SECONDS).

    What psycopg raises becomes Poisonous (the data), Unusable (an operator's work), TimedOut or Unavailable (later).
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
                raise TimedOut(f"gave no whole answer within {longest:g} s") from error
            raise translated from error
        except UnicodeEncodeError as error:
            raise Poisonous(f"holds text that is not Unicode ({error.reason})") from error


def _translated(error: psycopg.Error) -> Exception:
    psycopg = _psycopg()
    state = error.sqlstate or ""
    cause = one_line(error.diag.message_primary or error)
    # Before they are sent, values are refused by psycopg itself, without a state: a NUL in a text.
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
