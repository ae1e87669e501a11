"""What the program's exit status says, and the ends that lead to each."""

from __future__ import annotations

import click

EXIT_FAILED = 1


class Refused(click.ClickException):
    """A foreseeable end: one message on stderr, exit status 1."""


class Held(Refused):
    """Another daemon holds the history: exit status 75 (EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


class Misconfigured(Refused):
    """Configuration that cannot be used: exit status 78 (EX_CONFIG of sysexits.h)."""

    exit_code = 78
