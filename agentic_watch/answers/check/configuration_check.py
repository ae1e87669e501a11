"""Checks the configuration: whether the daemon would start with it, and whether needed extras are installed."""

from __future__ import annotations

from collections.abc import Iterator

from agentic_watch import counted
from agentic_watch.answers.check.check_result import CheckResult, Subject
from agentic_watch.config import Config, ConfigError
from agentic_watch.host.extras import how_to_add, is_installed
from agentic_watch.inventory.renamed_roots import refuse_renamed

_NAME = "configuration"
_DRIVERS = {"postgres": "psycopg", "http": "httpx"}


def configuration(subject: Subject) -> Iterator[CheckResult]:
    """Whether the history knows each root by its current key; the file itself was read without an error."""
    file = subject.config.file or "no file; flags and environment"
    try:
        refuse_renamed(subject.config)
    except ConfigError as error:
        yield CheckResult(_NAME, False, str(error), "correct it; the daemon would not start (exit status 78)")
        return
    yield CheckResult(_NAME, True, f"{file}: {counted(len(subject.config.roots), 'root')}")
    for text, extra in lacking(subject.config):
        yield CheckResult(_NAME, False, text, how_to_add(extra))


def lacking(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each feature that is configured but not installed, in words, and the name of its extra."""
    if config.metrics != type(config.metrics)() and not is_installed("prometheus_client"):
        yield "[metrics] needs prometheus_client, which is not installed: there are no metrics", "metrics"
    for kind in sorted({target.kind for target in config.push}):
        if not is_installed(_DRIVERS[kind]):
            yield f"[[push]] of kind {kind} needs {_DRIVERS[kind]}, which is not installed: nothing is pushed", "fleet"
