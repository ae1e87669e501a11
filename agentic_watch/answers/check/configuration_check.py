"""The configuration: is it one that the daemon would start with, and does this installation have what it asks for?"""

from __future__ import annotations

from collections.abc import Iterator

from agentic_watch.answers.answer_shape import counted
from agentic_watch.answers.check.check_result import CheckResult, Subject
from agentic_watch.config import Config, ConfigError
from agentic_watch.host.extras import how_to_add, is_installed
from agentic_watch.inventory.renamed_roots import refuse_renamed

_NAME = "configuration"
_DRIVERS = {"postgres": "psycopg", "http": "httpx"}


def configuration(subject: Subject) -> Iterator[CheckResult]:
    """It was read without an error; is each root known to the history by the key that it has now?"""
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
    """What the configuration asks for and this installation lacks, in words, and the name of the extra."""
    if config.metrics != type(config.metrics)() and not is_installed("prometheus_client"):
        yield "[metrics] needs prometheus_client, which is not installed: there are no metrics", "metrics"
    for kind in sorted({target.kind for target in config.push}):
        if not is_installed(_DRIVERS[kind]):
            yield f"[[push]] of kind {kind} needs {_DRIVERS[kind]}, which is not installed: nothing is pushed", "fleet"
