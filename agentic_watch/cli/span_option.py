"""An option that takes a span of time."""

from __future__ import annotations

import re
from typing import Any

import click

from agentic_watch.cli.output import clean
from agentic_watch.config.checks import span_seconds

_SECONDS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)s?", re.ASCII)


class Seconds(click.ParamType[float]):
    """A span in seconds: `90s`, `90`, or as elsewhere `30m`, `2h`, `7d`."""

    name = "SPAN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if match := _SECONDS.fullmatch(value):
            return float(match[1])
        try:
            return float(span_seconds(value))
        except ValueError:
            self.fail(f"{clean(value)!r} is not a span such as 90s, 30m, 2h or 1d", param, ctx)
