"""What the history says."""
