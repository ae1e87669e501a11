"""Default places of configuration and history, and the expansion of paths."""

import os
import re
import threading
from collections.abc import Mapping

from .model import ConfigError, Overrides

ETC_FILE = "/etc/agentic-watch/config.toml"
VAR_HISTORY = "/var/lib/agentic-watch/history.db"
FILE_VARIABLE = "AGENTIC_WATCH_CONFIG"

_VARIABLE = re.compile(r"\$(?:(\$)|(\w+)|\{([^}]*)\})", re.ASCII)
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
_SURROGATE = r"[\ud800-\udfff]"


_ANSWER_SECONDS = 1.0
"""How long to wait for a file system that may hang."""
_asking: dict[str, threading.Thread] = {}


class BadValueError(ValueError):
    """An invalid value; the text is the rest of a problem line, after the key path."""


def find_file(overrides: Overrides, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the configuration file and its origin: `--config`, `$AGENTIC_WATCH_CONFIG` or `default`.

    None when no file was given and none exists in the default places. A given file that is missing or unreadable raises
    ConfigError.
    """
    named = _named_file(overrides, environ)
    if named is not None:
        path, why = named
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read ({why}): {error.strerror}"]) from error
        return named
    places = (_user_file(environ), ETC_FILE)
    return next(((place, "default") for place in places if place is not None and _exists(place)), None)


def new_file_path(overrides: Overrides, environ: Mapping[str, str], uid: int) -> str:
    """Return the file that `config init` writes for this user: the given one, /etc for root, or XDG's."""
    named = _named_file(overrides, environ)
    if named is not None:
        return named[0]
    path = ETC_FILE if uid == 0 else _user_file(environ)
    if path is None:
        raise ConfigError(["no home directory: set HOME, or name the file with --config FILE"])
    return path


def history_default(environ: Mapping[str, str], file: str | None) -> tuple[str, str]:
    """Return the default path of the history, and its origin.

    `file` is the configuration file in use: with the one in /etc, it is the service's history. $STATE_DIRECTORY may
    hold several paths, separated by colons (systemd.exec(5)): the first counts.
    """
    state = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if os.path.isabs(state):
        return normalised(os.path.join(state, "history.db")), "$STATE_DIRECTORY"
    if file == ETC_FILE:
        return VAR_HISTORY, "default"
    base = _xdg(environ, "XDG_STATE_HOME", ".local/state")
    if base is None:
        raise ConfigError(["history.path: no home directory: set HOME, or give --history FILE"])
    origin = "$XDG_STATE_HOME" if base == environ.get("XDG_STATE_HOME") else "default"
    return normalised(os.path.join(base, "agentic-watch", "history.db")), origin


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """Expand `~`, `~user`, `$VAR` and `${VAR}` (`$$` is a dollar sign); else BadValueError."""
    if not text.strip():
        raise BadValueError("the path is empty")
    if text.startswith("~"):
        head, slash, rest = text.partition("/")
        # A dollar sign in the home directory's path does not begin a variable.
        path = (_home_of(head, environ) + slash + _substituted(rest, environ)) or "/"
    else:
        path = _substituted(text, environ)
    if not path.strip():
        raise BadValueError(f"{shown(text)} expands to an empty path")
    return clean(path)


def absolute(text: str, environ: Mapping[str, str]) -> str:
    """Expand a path of the command line; relative paths start at the working directory."""
    path = expanded(text, environ)
    try:
        return normalised(os.path.abspath(path))
    except FileNotFoundError:
        raise BadValueError(f"{shown(text)} is relative, and the current directory was removed") from None


def normalised(path: str) -> str:
    """Normalise an absolute path by its text alone; unlike normpath, keep no leading `//`."""
    path = os.path.normpath(path)
    return path[1:] if path.startswith("//") else path


def clean(text: str) -> str:
    """Return `text` if it is valid in a log line and in the history, else raise BadValueError."""
    if text.isascii() and text.isprintable():
        return text  # the usual case, without compiling the patterns below
    if re.search(_CONTROL, text):
        raise BadValueError(f"{text!r} contains control characters")
    if re.search(_SURROGATE, text):
        raise BadValueError(f"{text!r} is not UTF-8, and the history holds text")
    return text


def shown(value: object) -> str:
    """Return any value as a short text without newlines."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    if not isinstance(value, (str, int, float)):
        return "a date or time"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a huge number"  # Python refuses to write thousands of digits.
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _substituted(text: str, environ: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        dollar, bare, braced = match.groups()
        name = bare or braced
        if dollar:
            return "$"
        if not name or name not in environ:
            raise BadValueError(f"${name or '{}'} is not set (in {shown(text)}); set it, or write the path out")
        return environ[name]

    return _VARIABLE.sub(value, text)


def _home_of(head: str, environ: Mapping[str, str]) -> str:
    home = _home(environ) if head == "~" else os.path.expanduser(head)
    if home is None or home == head:
        raise BadValueError(f"{shown(head)} has no home directory; write the path out")
    return home.rstrip("/")


def _home(environ: Mapping[str, str]) -> str | None:
    if os.path.isabs(environ.get("HOME", "")):
        return environ["HOME"]
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None


def _xdg(environ: Mapping[str, str], variable: str, below_home: str) -> str | None:
    # "All paths must be absolute ... a relative path [is] invalid and [to be] ignored": XDG Base Directory.
    if os.path.isabs(environ.get(variable, "")):
        return environ[variable]
    home = _home(environ)
    return None if home is None else os.path.join(home, below_home)


def _user_file(environ: Mapping[str, str]) -> str | None:
    base = _xdg(environ, "XDG_CONFIG_HOME", ".config")
    return None if base is None else normalised(os.path.join(base, "agentic-watch", "config.toml"))


def _named_file(overrides: Overrides, environ: Mapping[str, str]) -> tuple[str, str] | None:
    text, why = overrides.config, "--config"
    if text is None:
        text, why = environ.get(FILE_VARIABLE) or None, f"${FILE_VARIABLE}"
    if text is None:
        return None
    try:
        return absolute(text, environ), why
    except BadValueError as error:
        raise ConfigError([f"{why}: {error}"]) from error


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # It may exist; reading it will report the error.
    return True


def real_path(path: str) -> str:
    """The path with symlinks resolved; unchanged when its file system does not answer, which is waited for only
    once."""
    found: list[str] = []
    if path not in _asking or not _asking[path].is_alive():
        thread = _asking[path] = threading.Thread(target=lambda: found.append(os.path.realpath(path)), daemon=True)
        thread.start()
        thread.join(_ANSWER_SECONDS)
    return found[0] if found else path
