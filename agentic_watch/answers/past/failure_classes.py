"""Classifies failures: groups messages that are equal without paths, numbers, hashes and quotes, and recognises their
causes.

Two tables define the causes; add a line to extend them: faults of the host, and messages of agents' programs. Names of
tests, paths and line numbers are not causes, whatever words they contain: files and URLs are removed, words must belong
to an error, and numbers must follow HTTP, status, code or error.
"""

from __future__ import annotations

import functools
import re

_READ = 400
_SHOWN = 120
_DIGITS = bytes.maketrans(b"23456789", b"11111111")

_HASH = r"(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,}(?:-[0-9a-f]+)*"
"""Seven or more hexadecimal digits, with both letters and digits, so that words and numbers do not match."""

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'`“”<>]*", re.IGNORECASE)
"""Ends at a quote, which belongs to the message."""

_TAKEN_OUT = (
    (_URL, "URL"),
    (re.compile(r'"[^"\n]*"|“[^”\n]*”|`[^`\n]*`|(?<!\w)\'[^\'\n]*\'(?!\w)'), "…"),
    (re.compile(r"(?<![\w/])(?:[\w.~-]*/)+[\w.@-]+(?::\d+)*"), "PATH"),
    (re.compile(r"\b[\w-]+\.(?:go|py|ts|js|rs|java|rb|c|h|cpp|md|json|yaml|yml|toml|sql|sh)\b(?::\d+)*"), "PATH"),
    (re.compile(rf"\b(?:0x[0-9a-f]+|{_HASH})\b", re.IGNORECASE), "HASH"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "N"),
    (re.compile(r"\s+"), " "),
)
"""Variable parts of messages and their placeholders, in this order."""

_PLACE = re.compile(r"(?<![\w.~/-])[\w.~/-]*\w\.[a-z]\w{0,4}\b(?![\w./-])(?::\d+)*", re.IGNORECASE)
"""A file name with a suffix, optionally with line and column: `src/menu.go:429:3`."""


def failure_class(question: str, verdicts: tuple[int | None, int | None, int | None, int | None]) -> str:
    """The class of a failure: a known message of an agent's program, else the normalised question, else the failed
    verdicts; "" when there is neither.

    `verdicts` are those of the report: passed, build, test and lint, in this order; 0 is false, None unknown.
    """
    if question.strip():
        first = question.strip().partition("\n")[0][:_READ]
        return cause_said(first, of_host=False) or normalised(question)
    passed, build, test, lint = verdicts
    failed = [name for name, value in (("build", build), ("tests", test), ("lint", lint)) if value == 0]
    if failed:
        return f"failing: {', '.join(failed)}"
    return "failing: the report's verdict" if passed == 0 else ""


def normalised(text: str) -> str:
    """The constant words of a message; its first line states the problem."""
    return _normalised(digits_alike(text.strip().partition("\n")[0][:_READ]))


def without_places(text: str) -> str:
    """The text without URLs and file names, whose words and numbers are not about the problem."""
    return _PLACE.sub(" ", _URL.sub(" ", text))


def digits_alike(text: str) -> str:
    """The text with all digits except 0 replaced by one: a hundred thousand messages become few, and 0x stays 0x."""
    # On bytes, because `str.translate` takes four times as long.
    return text.encode(errors="surrogatepass").translate(_DIGITS).decode(errors="surrogatepass")


@functools.lru_cache(maxsize=10_000)
def _normalised(words: str) -> str:
    for pattern, stands in _TAKEN_OUT:
        words = pattern.sub(stands, words)
    return words.strip()[:_SHOWN]


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
"""Causes, with the numbers and words of their messages (case-insensitive); the first match counts."""

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
"""All numbers in the table; in a message without one of them, digits are irrelevant."""


def alike(text: str) -> str:
    """A canonical text for messages of the same class and cause."""
    return text if _NUMBERS.search(text) else digits_alike(text)


def host_cause(text: str) -> str:
    """The fault of the host that a message reports; "" when it is none."""
    words = without_places(text)
    found = next((cause for cause, pattern in _CAUSES if pattern.search(words)), "")
    return found or cause_said(text, of_host=True)


_HOST, _AGENT = True, False
_AGENT_TABLE = (
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
"""Causes, whether they are the host's, and the programs' messages (case-insensitive); the first match counts."""

_AGENT_CAUSES = tuple((cause, host, re.compile(pattern, re.IGNORECASE)) for cause, host, pattern in _AGENT_TABLE)


def cause_said(text: str, *, of_host: bool) -> str:
    """The cause that such a message reports, of the host or of the agent; "" when it is none of these."""
    fits = (cause for cause, host, pattern in _AGENT_CAUSES if host == of_host and pattern.search(text))
    return next(fits, "")
