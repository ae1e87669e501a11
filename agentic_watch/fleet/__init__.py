"""Sends the history to other systems: push targets and hooks. The only package with network access; it reads only the
history, never a workspace."""
