"""What agents' programs say of their ends, each in words of its own: the table to read, and to add a line to."""

from __future__ import annotations

import re

_HOST, _AGENT = True, False
_TABLE = (
    (
        "rate limit",
        _HOST,
        r"hit your (\w+ )?limit|ratelimiterror|request rejected \(\d+\)|resource.?exhausted|^rate limited",
    ),
    ("credentials", _HOST, r"authenticationerror|permissiondeniederror|not logged in|api key not valid"),
    (
        "network",
        _HOST,
        r"unable to connect|cannot connect to api|econn(reset|refused|aborted)|apiconnectionerror|fetch failed|"
        r"stream disconnected|socket hang up|connection error\b|error sending request",
    ),
    (
        "prompt too long",
        _AGENT,
        r"(prompt|input|context) is too long|maximum context length|model's context window|contextwindowexceeded|"
        r"context.length.exceeded|exceeds the maximum number of (input )?tokens",
    ),
    (
        "turn limit",
        _AGENT,
        r"^turn limit reached|reached max(imum)? (\w+ )?turns|^step or cost limit reached|^time limit reached|"
        r"^budget reached|max.?turns.?(reached|exceeded)",
    ),
    ("tool calls denied", _AGENT, r"^tool calls were denied"),
    (
        "stopped by hand",
        _AGENT,
        r"^stopped by |^interrupted\b|^operation cancell?ed|request was aborted|userinterruption",
    ),
    ("ended without a result", _AGENT, r"^ended without a result$"),
)
"""A cause, whether it is the host's, and what the programs say of it, whatever the case; the first that fits counts."""

_CAUSES = tuple((cause, host, re.compile(pattern, re.IGNORECASE)) for cause, host, pattern in _TABLE)


def cause_said(text: str, *, of_host: bool) -> str:
    """What such a message says is the matter, with the host or with the agent; "" when it is none of these."""
    fits = (cause for cause, host, pattern in _CAUSES if host == of_host and pattern.search(text))
    return next(fits, "")
