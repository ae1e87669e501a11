"""Which failures are the host's fault, not the agent's: the table to read, and to add a line to."""

from __future__ import annotations

import re

from agentic_watch.answers.agent_causes import cause_said
from agentic_watch.answers.failure_classes import digits_alike

_TABLE = (
    ("rate limit", r"rate.?limit|too many requests|\b429\b|quota|overloaded|\b529\b|usage limit"),
    ("credentials", r"unauthori[sz]ed|\b401\b|\b403\b|forbidden|authenticat|credential|api.?key|token (has )?expired"),
    ("disk", r"no space left|disk (is )?full|enospc|read-only file system|disk quota|input/output error"),
    ("out of memory", r"out of memory|\boom\b|oom.?kill|cannot allocate memory|enomem|exit (status|code) 137"),
    ("network", r"network|connection (refused|reset|timed out)|(could not|name) resol|deadline exceeded|tls hand"),
    ("killed", r"\bkilled\b|sigkill|sigterm|terminated by signal|signal: (killed|terminated)|exit (status|code) 143"),
    ("clock", r"certificate (is not yet valid|has expired)|clock skew"),
)
"""A cause and what its messages say, whatever the case; the first line that fits counts."""

_CAUSES = tuple((cause, re.compile(pattern, re.IGNORECASE)) for cause, pattern in _TABLE)


_NUMBERS = re.compile(r"\b(?:" + "|".join(sorted(set(re.findall(r"\d{3}", str(_TABLE))))) + r")\b")
"""The numbers that the table knows: in a message without one of them digits say nothing."""


def alike(text: str) -> str:
    """A text of the same class and the same cause, which many messages share."""
    return text if _NUMBERS.search(text) else digits_alike(text)


def host_cause(text: str) -> str:
    """What of the host such a message complains about; "" when it does not."""
    found = next((cause for cause, pattern in _CAUSES if pattern.search(text)), "")
    return found or cause_said(text, of_host=True)
