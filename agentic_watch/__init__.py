"""agentic-watch: commits each finished coding-agent dispatch exactly once."""

__version__ = "0.4.0"
