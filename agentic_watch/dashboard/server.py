"""The web server: datasette over a read-only history, on a loopback address."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentic_watch.answers.past.outcomes import Outcomes
from agentic_watch.dashboard.canned_queries import queries
from agentic_watch.dashboard.charts import DATABASE, SLUG, dashboards

if TYPE_CHECKING:
    import uvicorn
    from datasette.app import Datasette

ADDRESS = "127.0.0.1"

_SETTINGS = {
    "sql_time_limit_ms": 5_000,
    "facet_time_limit_ms": 1_000,
    "facet_suggest_time_limit_ms": 50,
    # Each suggested facet counts a column of the whole table: a second per page at a million rows.
    "suggest_facets": False,
    "allow_download": False,
    "max_returned_rows": 5_000,
    "truncate_cells_html": 200,
    "default_page_size": 50,
}
_TABLES_OF_OURS = ("about", "workspaces", "dispatch_text", "_sqlite_migrations")


def application(history: str, outcomes: Outcomes) -> Datasette:
    """Datasette for the history at `history`, with a fixed database name. Raises ModuleNotFoundError (no extra)."""
    from datasette.app import Datasette
    from datasette.database import Database

    made = Datasette(metadata=_metadata(outcomes), settings=_SETTINGS)
    made.add_database(Database(made, path=history, is_mutable=True), name=DATABASE)
    return made


def _metadata(outcomes: Outcomes) -> dict[str, Any]:
    searched = {"fts_table": "dispatch_search", "fts_pk": "id", "sort_desc": "id"}
    hidden = {name: {"hidden": True} for name in _TABLES_OF_OURS}
    return {
        "title": "agentic-watch",
        "description_html": f'<a href="/-/dashboards/{SLUG}">Charts</a> and questions about finished dispatches',
        "databases": {
            DATABASE: {
                "queries": queries(outcomes),
                "tables": {
                    "dispatch_history": searched,
                    "dispatches": {**searched, "sort_desc": "updated_utc"},
                    **hidden,
                },
            }
        },
        "plugins": {"datasette-dashboards": dashboards(outcomes)},
    }


def address(port: int) -> str:
    """The URL of the charts."""
    return f"http://{ADDRESS}:{port}/-/dashboards/{SLUG}"


def serve(history: str, outcomes: Outcomes, port: int, on_ready: Callable[[int], None]) -> None:
    """Serve until SIGINT or SIGTERM. `on_ready` is called with the port once it listens; 0 means any free port.

    Raises OSError when the port is taken, ModuleNotFoundError without the extra.
    """
    import asyncio
    import socket

    import uvicorn

    app = application(history, outcomes)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((ADDRESS, port))
        config = uvicorn.Config(app.app(), log_level="warning", lifespan="off", timeout_graceful_shutdown=2)
        asyncio.run(_serve(app, uvicorn.Server(config), listening, on_ready))


async def _serve(app: Datasette, server: uvicorn.Server, listening: Any, on_ready: Callable[[int], None]) -> None:
    await app.invoke_startup()
    listening.listen()
    on_ready(listening.getsockname()[1])
    await server.serve(sockets=[listening])
