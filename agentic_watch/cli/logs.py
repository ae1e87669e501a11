"""Log lines on stderr: one line each, clean of whatever an agent put into a name or a message."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from agentic_watch.cli.output import clean
from agentic_watch.cli.standard_streams import stderr_is_journal
from agentic_watch.config import Config
from agentic_watch.workspace.instant import now_text

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_FIELDS = ("root", "workspace", "status", "run", "error", "committed_at")
"""What a line may carry beside its text (docs/reference.md)."""
_LONGEST_VALUE = 16 * 1024


class _Text(logging.Formatter):
    """`2026-04-14T11:17:08Z INFO message`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return f"{stamp} {record.levelname} {_message(self, record)}"


class _Journal(logging.Formatter):
    """`<6>message`: the journal adds the time and reads the priority from the prefix (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{_message(self, record)}"


class JournalFields(logging.Formatter):
    """An entry of the journal's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): `journalctl WORKSPACE=…` finds it by
    what it carries beside its text.

    No value holds a newline. One datagram takes an entry (net.core.wmem_default), so longer values are cut.
    """

    def format(self, record: logging.LogRecord) -> str:
        values = {"MESSAGE": _message(self, record), "PRIORITY": _PRIORITIES.get(record.levelno, 6)}
        values |= {"SYSLOG_IDENTIFIER": "agentic-watch"}
        values |= {name.upper(): value for name, value in _fields(record).items()}
        return "\n".join(f"{name}={str(value)[:_LONGEST_VALUE]}" for name, value in values.items())


class _Json(logging.Formatter):
    """One object a line: time (UTC, in milliseconds), level, message, and the fields that are known.

    `prefixed` puts the priority before it, which the journal takes off and keeps (sd-daemon(3)).
    """

    def __init__(self, *, prefixed: bool) -> None:
        super().__init__()
        self._prefixed = prefixed

    def format(self, record: logging.LogRecord) -> str:
        when = f"{now_text(record.created).removesuffix('Z')}.{int(record.msecs):03}Z"
        document = {"time": when, "level": record.levelname.lower()}
        document["message"] = _message(self, record)
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>" if self._prefixed else ""
        return prefix + json.dumps(document | _fields(record), ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What is known of a record beside its text."""
    known = {name: getattr(record, name, None) for name in _FIELDS}
    return {
        name: clean(value) if isinstance(value, str) else value for name, value in known.items() if value is not None
    }


def _message(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    message = clean(record.getMessage())
    if record.exc_info:
        message += f" | {clean(formatter.formatException(record.exc_info))}"
    return message


def set_up(config: Config, verbosity: int, *, quieter: bool = False, never_block: bool = False) -> None:
    """Send the package's log to stderr in the configured form; `quieter` starts at warnings, for one-shot commands;
    `never_block` rather drops lines than waits for who reads them."""
    handler = _never_blocking(config.log.format) if never_block else logging.StreamHandler(sys.stderr)
    if handler.formatter is None:
        handler.setFormatter(_formatter(config.log.format))
    logging.captureWarnings(capture=True)
    logging.basicConfig(handlers=[handler], force=True)
    set_level(config, verbosity, quieter=quieter)
    # What no formatter here shows need not be found out (logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001  which frame it was
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # watchdog says each lost event in words of its own; ours name the root and what follows.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)


def set_level(config: Config, verbosity: int, *, quieter: bool = False) -> None:
    """Say as much as the configuration and the flags want; `quieter` as in `set_up`."""
    level = _LEVELS[config.log.level]
    if quieter:
        level = max(level, logging.WARNING)
    logging.getLogger().setLevel(max(logging.DEBUG, min(logging.ERROR, level - 10 * verbosity)))


def _never_blocking(form: str) -> logging.Handler:
    """For a daemon: straight to the journal where stderr is the journal's, so that fields come along."""
    from agentic_watch.cli.log_stream import NeverBlocking, connect  # socket and select: 2 ms

    journal = connect() if form == "auto" and stderr_is_journal() else None
    handler = NeverBlocking(journal)
    if journal is not None:
        handler.setFormatter(JournalFields())
    return handler


def _formatter(form: str) -> logging.Formatter:
    return machine_formatter(form) or _Text()


def machine_formatter(form: str) -> logging.Formatter | None:
    """The formatter of a log format that programs read (JSON lines, the journal), None for people's."""
    if form == "json":
        return _Json(prefixed=stderr_is_journal())
    return _Journal() if form == "auto" and stderr_is_journal() else None
