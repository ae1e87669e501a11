"""What can be wrong with a file to read or write, or with a name: one line, fit to be printed."""


class ExchangeError(Exception):
    """It cannot be done; the message names the file, the cause and the next step."""
