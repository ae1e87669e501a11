"""Which failures are the host's fault, not the agent's: the table to read, and to add a line to.

A test's name, a path and a line number are no cause, whatever words and numbers they are made of: files and URLs are
left out, a word counts as a word of an error, and a number beside HTTP, status, code or error.
"""

from __future__ import annotations

import re

from agentic_watch.answers.agent_causes import cause_said
from agentic_watch.answers.failure_classes import digits_alike, without_places

_TABLE: tuple[tuple[str, str, str], ...] = (
    (
        "rate limit",
        "429|529",
        r"rate.?limit(s|ed|ing)?(.?(error|exceeded|reached|hit))?|too many requests|usage limit|insufficient.quota|"
        r"(?<!disk )quota (was |is |has been )?(exceeded|reached|exhausted)|(exceeded|over|out of) (\w+ ){0,3}quota|"
        r"overloaded.error|(is|are|currently|temporarily|model|server|api|service)( is)? overloaded|overloaded$",
    ),
    (
        "credentials",
        "401|403",
        r"unauthori[sz]ed|(access |is |error\W{1,3})forbidden|forbidden(:|.?error|$)|permission denied \(publickey|"
        r"authentication.?(error|failed|failure|required|expired|is required)|(un|not |failed to |cannot |could not |"
        r"unable to )authenticated?|(invalid|bad|missing|expired|no|wrong|load|find|read) (\w+ )?credentials?|"
        r"credentials? (are |is |has |have |were )?(invalid|missing|expired|not|could not|required|rejected)|"
        r"(invalid|incorrect|missing|no|expired|wrong|bad) (x.)?api.?key|"
        r"api.?key (is |was |has )?(not|invalid|missing|expired|required|incorrect|revoked)|token (has |is )?expired",
    ),
    (
        "disk",
        "",
        r"no space left|disk (is )?full|enospc|read-only file system|disk quota( exceeded)?|edquot|input/output error",
    ),
    (
        "out of memory",
        "",
        r"out of memory|oom|oom.?kill(ed|er)?|cannot allocate memory|enomem|exit(ed)? ((with )?(status|code) )?137",
    ),
    (
        "network",
        "",
        r"network (is |was )?(unreachable|down|unavailable|lost)|network.?(error|failure|timeout|timed out|problem)|"
        r"connection (was )?(refused|reset|timed out)|econn(refused|reset|aborted)|etimedout|enetunreach|eai_again|"
        r"could not resolve (host|proxy|hostname)|name resolution|no such host|name or service not known|"
        r"deadline exceeded|tls handshake\w*",
    ),
    (
        "killed",
        "",
        r"^process \w+ ended without a final status|^removed while it ran|"
        r"(was |been |got |process |by signal\W{1,3}|signal\W{1,3}|error\W{1,3})killed|killed (by|after|with)|^killed|"
        r"line \d+: +\d+ killed|sigkill|sigterm|terminated by signal|signal: terminated|"
        r"exit(ed)? ((with )?(status|code) )?143",
    ),
    ("clock", "", r"certificate (is not yet valid|has expired)|clock skew"),
)
"""A cause, the numbers and the words by which its messages tell it, whatever the case; the first that fits counts."""

_BEFORE = (
    r"(\b|_|status|response|http|api.?)(https?(/\d(\.\d)?)?|status|code|error)[\s:=(\[\"']{1,3}"
    r"(code[\s:=\"']{1,3})?"
)
_AFTER = r"(?<![\w.:/-])({0}) ((client|server) )?(error|status)\b"


def _pattern(numbers: str, words: str) -> re.Pattern[str]:
    beside = f"|{_BEFORE}({numbers})\\b|{_AFTER.format(numbers)}" if numbers else ""
    return re.compile(rf"(?<![\w/])({words})(?![\w/])(?!\.\w){beside}", re.IGNORECASE | re.MULTILINE)


_CAUSES = tuple((cause, _pattern(numbers, words)) for cause, numbers, words in _TABLE)


_NUMBERS = re.compile(r"\b(?:" + "|".join(sorted(set(re.findall(r"\d{3}", str(_TABLE))))) + r")\b")
"""The numbers that the table knows: in a message without one of them digits say nothing."""


def alike(text: str) -> str:
    """A text of the same class and the same cause, which many messages share."""
    return text if _NUMBERS.search(text) else digits_alike(text)


def host_cause(text: str) -> str:
    """What of the host such a message complains about; "" when it does not."""
    words = without_places(text)
    found = next((cause for cause, pattern in _CAUSES if pattern.search(words)), "")
    return found or cause_said(text, of_host=True)
