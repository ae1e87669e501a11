"""Decides which workspaces to read again: scans compared with the index, retries, ghosts."""
