"""How do dispatches leave the history and come back: export, import, archive, backup; and a root's other name."""


class ExchangeError(Exception):
    """It cannot be done; the message names the file or the name, the cause and the next step, in one line."""
