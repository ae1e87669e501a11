"""The host's history: one SQLite file outside the roots, the authority on what is committed."""
