"""What is the same about two failures? Their words without paths, numbers, hashes and quotes.

Which failures are the host's fault, not the agent's: the table to read, and to add a line to.

A test's name, a path and a line number are no cause, whatever words and numbers they are made of: files and URLs are
left out, a word counts as a word of an error, and a number beside HTTP, status, code or error.

What agents' programs say of their ends, each in words of its own: the table to read, and to add a line to.
"""

from __future__ import annotations

import functools
import re

_READ = 400
_SHOWN = 120
_DIGITS = bytes.maketrans(b"23456789", b"11111111")

_HASH = r"(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,}(?:-[0-9a-f]+)*"
"""Seven hexadecimal digits or more, of both kinds: a word or a number alone is none."""

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'`“”<>]*", re.IGNORECASE)
"""Up to a quote: what stands around it belongs to the message."""

_TAKEN_OUT = (
    (_URL, "URL"),
    (re.compile(r'"[^"\n]*"|“[^”\n]*”|`[^`\n]*`|(?<!\w)\'[^\'\n]*\'(?!\w)'), "…"),
    (re.compile(r"(?<![\w/])(?:[\w.~-]*/)+[\w.@-]+(?::\d+)*"), "PATH"),
    (re.compile(r"\b[\w-]+\.(?:go|py|ts|js|rs|java|rb|c|h|cpp|md|json|yaml|yml|toml|sql|sh)\b(?::\d+)*"), "PATH"),
    (re.compile(rf"\b(?:0x[0-9a-f]+|{_HASH})\b", re.IGNORECASE), "HASH"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "N"),
    (re.compile(r"\s+"), " "),
)
"""What differs from one failure to the next, and what stands in its place; in this order."""

_PLACE = re.compile(r"(?<![\w.~/-])[\w.~/-]*\w\.[a-z]\w{0,4}\b(?![\w./-])(?::\d+)*", re.IGNORECASE)
"""A file with its suffix, and perhaps a line and a column of it: `src/menu.go:429:3`."""


def failure_class(question: str, verdicts: tuple[int | None, int | None, int | None, int | None]) -> str:
    """The class of a failure: what agents' programs are known to mean by its question, else the words of that, else
    the verdicts that failed; "" when there is neither.

    `verdicts` are the report's: passed, build, test and lint, in this order; 0 is false, None unknown.
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
    """The words of a message that are the same each time it comes; its first line says what is the matter."""
    return _normalised(digits_alike(text.strip().partition("\n")[0][:_READ]))


def without_places(text: str) -> str:
    """The text without URLs and the names of files: their words and numbers say nothing of what is the matter."""
    return _PLACE.sub(" ", _URL.sub(" ", text))


def digits_alike(text: str) -> str:
    """The text with all digits but 0 as one: a hundred thousand messages are a few then, and 0x is still 0x."""
    # As bytes: a text's own `translate` takes four times as long.
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
"""A cause, whether it is the host's, and what the programs say of it, whatever the case; the first that fits counts."""

_AGENT_CAUSES = tuple((cause, host, re.compile(pattern, re.IGNORECASE)) for cause, host, pattern in _AGENT_TABLE)


def cause_said(text: str, *, of_host: bool) -> str:
    """What such a message says is the matter, with the host or with the agent; "" when it is none of these."""
    fits = (cause for cause, host, pattern in _AGENT_CAUSES if host == of_host and pattern.search(text))
    return next(fits, "")
