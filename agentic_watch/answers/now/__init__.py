"""Answers about the current state of workspaces and host."""
