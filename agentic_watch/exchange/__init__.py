"""Moves dispatches out of and into the history: export, import, prune, backup, redact, rename-root."""


class ExchangeError(Exception):
    """The operation cannot be done; the message has the file or name, the cause and the next step, in one line."""
