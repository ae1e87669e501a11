"""Beyond one host: against a real PostgreSQL, a real pgbouncer and a real HTTP server."""
