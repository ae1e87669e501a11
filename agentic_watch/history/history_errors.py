"""What can be wrong with the history as a whole."""


class HistoryError(Exception):
    """The history cannot be used now (locked, full, unreadable): commits go on, rows come later."""


class HistoryTooNew(Exception):
    """A newer program made this history: refused, never touched."""
