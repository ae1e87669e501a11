"""A page to look at: the history in a browser, read-only, on this host only. The only import of datasette (extra)."""
