"""The roots: are they there?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject

_NAME = "roots"


def roots_there(subject: Subject) -> Iterator[Finding]:
    """A root that is not there is waited for, and what would be in it is not seen."""
    for key, path in subject.silent.items():
        step = "see to its server, or unmount it; nothing in this root is checked until it answers"
        yield Finding(_NAME, False, f"{path}: does not answer", step, root=key)
    for root in subject.config.roots:
        try:
            os.close(os.open(root.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except PermissionError:
            yield Finding(_NAME, None, f"{root.path}: this user may not look into it", root=root.key)
        except OSError as error:
            step = "mount or make it, or take it out of the configuration"
            yield Finding(_NAME, False, f"{root.path}: {error.strerror}", step, root=root.key)
