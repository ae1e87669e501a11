"""agentic-watch: commits each finished coding-agent dispatch exactly once."""

__version__ = "0.4.0"


def counted(count: int, word: str) -> str:
    """A number and its word: `1 finding`, `1,200 dispatches`, `2 repositories`."""
    if count == 1:
        return f"1 {word}"
    plural = f"{word[:-1]}ies" if word.endswith("y") else f"{word}es" if word.endswith("h") else f"{word}s"
    return f"{count:,} {plural}"
