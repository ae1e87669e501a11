"""The host's history: one SQLite file outside the roots, the authority on what is committed."""


class HistoryError(Exception):
    """The history cannot be used now (locked, full, unreadable): commits go on, rows come later."""


class HistoryRefused(Exception):
    """The file is not one to work with, and waiting will not help: refused, never touched."""


class HistoryTooNew(HistoryRefused):
    """A newer program made this history."""


class HistoryNotOurs(HistoryRefused):
    """The file is something else than a history of this program: somebody may have named the wrong one."""
