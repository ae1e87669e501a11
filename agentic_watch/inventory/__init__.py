"""Which workspaces must be read again? A scan compared with what was last seen, retries, ghosts."""
