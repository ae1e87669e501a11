"""A host that is simulated for a long time: whatever happens to it, each finished dispatch is there exactly once."""
