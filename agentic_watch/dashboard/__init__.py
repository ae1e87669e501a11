"""The web page of the history: read-only, on this host only. The only package that imports datasette (an extra)."""
