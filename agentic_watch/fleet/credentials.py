"""The secret of a target: read on use, never stored or shown."""

from __future__ import annotations

import os
import stat

from agentic_watch.config import Target
from agentic_watch.fleet.target_interface import Unusable

_MAX_BYTES = 64 * 1024
_KINDS = {"postgres": "DSN", "http": "TOKEN"}


def credential_name(target: Target) -> str:
    """Name of the secret in $CREDENTIALS_DIRECTORY of the service's unit."""
    return f"push-{target.name}"


def variable(target: Target) -> str:
    """The environment variable that may hold the secret."""
    return f"AGENTIC_WATCH_PUSH_{target.name.upper().replace('-', '_')}_{_KINDS[target.kind]}"


def secret(target: Target) -> str | None:
    """The connection string or token; None when not set. Raises Unusable, which names the file and never its content.

    A credential of the service takes precedence over the file, and the file over the environment.
    """
    for path in _files(target):
        if path is not None:
            return _read(path, target)
    return os.environ.get(variable(target)) or None


def connection_string(target: Target) -> str:
    """The secret of a PostgreSQL target. Raises Unusable, also when none is set."""
    dsn = secret(target)
    if dsn is None:
        raise Unusable(f"has no connection string; set dsn_file or ${variable(target)}")
    return dsn


def is_public(target: Target) -> bool:
    """Whether everybody on this host may read the secret's file."""
    path = target.secret_file
    try:
        return path is not None and "/" in path and bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:
        return False


def _files(target: Target) -> tuple[str | None, ...]:
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    passed = os.path.join(directory, credential_name(target)) if directory else ""
    named = target.secret_file
    if named is not None and "/" not in named:
        if not directory:
            raise Unusable(f"{named} is a credential's name, and $CREDENTIALS_DIRECTORY is not set; write a whole path")
        named = os.path.join(directory, named)
    return (passed if passed and os.path.exists(passed) else None, named)


def _read(path: str, target: Target) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        text = data.decode("utf-8").strip()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}; or set ${variable(target)}") from error
    except UnicodeDecodeError:
        text = ""
    # One line: further ones would become part of the secret, or another header.
    if not text or len(data) > _MAX_BYTES or not text.isprintable():
        raise Unusable(f"{path}: does not hold one line of text")
    return text
