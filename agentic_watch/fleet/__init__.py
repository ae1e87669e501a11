"""Who else must know? The only room with a network; it opens nothing of a workspace, only the history."""
