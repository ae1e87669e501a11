"""The configuration: is it one that the daemon would start with?"""

from __future__ import annotations

from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.config import ConfigError
from agentic_watch.inventory.renamed_roots import refuse_renamed

_NAME = "configuration"


def configuration(subject: Subject) -> Iterator[Finding]:
    """It was read without an error; is each root known to the history by the key that it has now?"""
    file = subject.config.file or "no file; flags and environment"
    try:
        refuse_renamed(subject.config)
    except ConfigError as error:
        yield Finding(_NAME, False, str(error), "correct it; a start would end with 78")
        return
    count = len(subject.config.roots)
    yield Finding(_NAME, True, f"{file}: {count} root{'s' if count != 1 else ''}")
