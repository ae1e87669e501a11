"""The host's history: one SQLite file outside the roots, which decides what is committed."""


class HistoryError(Exception):
    """The history is not available now (locked, full, unreadable): commits continue, and rows are inserted later."""


class HistoryRefused(Exception):
    """The file must not be used, and waiting will not help; it is never changed."""


class HistoryTooNew(HistoryRefused):
    """A newer program made this history."""


class HistoryNotOurs(HistoryRefused):
    """The file is not a history of this program: the configured path may be wrong."""
