"""Determines the agent's name from a command line: the program that is finally run, behind launchers and shells."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from agentic_watch.host.processes import ancestors

_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "zsh"})
_TAKE_A_VALUE = {
    "command": "",
    "env": "-u --unset -C --chdir",
    "exec": "-a",
    "ionice": "-c --class -n --classdata",
    "nice": "-n --adjustment",
    "nohup": "",
    "npx": "-p --package -w --workspace",
    "setsid": "",
    "stdbuf": "-i --input -o --output -e --error",
    "sudo": "-C -D --chdir -g --group -h --host -p --prompt -R --chroot -r --role -T -t --type -U -u --user",
    "timeout": "-k --kill-after -s --signal",
    "uvx": "--from --with --with-editable --with-requirements -p --python --index --index-url --default-index",
}
"""Launchers, which run the program after their options, with the options that take a separate value."""
_PACKAGED = frozenset({"npx", "uvx"})
_OF_PACKAGES = {
    "aider-chat": "aider",
    "claude-code": "claude",
    "gemini-cli": "gemini",
    "opencode-ai": "opencode",
    "qwen-code": "qwen",
}
"""Packages of agents whose program has another name."""
# Compiled on first use: every dispatch loads this module, and few command lines need the patterns.
_PACKAGE = r"(?:@[^/]+/)?([^@=<>~!\[]+)"
_ASSIGNMENT = r"[A-Za-z_]\w*="
_SCRIPT = r"\.(?:c?js|mjs|py|sh)$"
_BUILTINS = frozenset(
    (
        *(".", ":", "[", "cd", "echo", "eval", "exit", "export", "false", "printf", "pwd", "read", "return", "set"),
        *("shift", "source", "test", "trap", "true", "umask", "unset", "wait"),
    )
)
_KEYWORDS = frozenset(("!", "case", "for", "function", "if", "until", "while", "{"))


def agent_of(words: Sequence[str]) -> str:
    """The name of the program that a command line runs in the end: `timeout 60 npx @openai/codex` runs `codex`."""
    *_, (launcher, words) = _steps(words)
    if launcher in _PACKAGED and (package := re.match(_PACKAGE, words[0])):
        return _OF_PACKAGES.get(package[1], package[1])
    return os.path.basename(words[0])


def runs_under(launcher: str, words: Sequence[str]) -> bool:
    """Whether a command line uses this launcher (`timeout`)."""
    return any(name == launcher for name, _ in _steps(words))


def process_of(agent: str) -> int:
    """The nearest ancestor process that is this agent (`base[:model]`), 0 when there is none.

    A hook of an agent finds the agent this way, through any number of shells.
    """
    name = agent.partition(":")[0]
    if not name or name in _SHELLS:
        return 0
    return next((pid for pid, words in ancestors() if name in map(_plain, words[:2])), 0)


def _plain(word: str) -> str:
    """A program's name, also for a script run by an interpreter."""
    return re.sub(_SCRIPT, "", os.path.basename(word))


def _steps(words: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each nested command line, the whole one first, with its launcher ("" for the first)."""
    launcher = ""
    while words:
        yield launcher, words
        launcher = os.path.basename(words[0])
        words = _of_shell(words) if launcher in _SHELLS else _behind(launcher, words)


def _behind(launcher: str, words: Sequence[str]) -> Sequence[str]:
    """The command line that a launcher runs; empty when it is not a launcher."""
    if launcher not in _TAKE_A_VALUE:
        return ()
    with_value = _TAKE_A_VALUE[launcher].split()
    at = 1
    while at < len(words) and words[at].startswith("-") and words[at] != "--":
        at += 2 if words[at] in with_value else 1
    rest = words[at + (words[at : at + 1] == ["--"]) :]
    if launcher == "timeout":
        return rest[1:]
    while rest and launcher in ("env", "sudo") and re.match(_ASSIGNMENT, rest[0]):
        rest = rest[1:]
    return rest


def _of_shell(words: Sequence[str]) -> Sequence[str]:
    """The first command that `sh -c TEXT` runs; empty when the text is too complex."""
    import shlex

    at = 1
    while at < len(words) and words[at].startswith(("-", "+")):
        option = words[at]
        at += 2 if option.endswith(("o", "O")) and not option.startswith("--") else 1
        if "c" in option and not option.startswith("--") and at < len(words):
            break
    else:
        return ()
    lexer = shlex.shlex(words[at], posix=True, punctuation_chars="();&|<>\n")
    lexer.whitespace, lexer.whitespace_split = " \t\r", True
    try:
        pieces = list(lexer)
    except ValueError:
        return ()
    return next((line for line in _simple_commands(pieces) if line[0] not in _BUILTINS), ())


def _simple_commands(pieces: Sequence[str]) -> Iterator[list[str]]:
    """The simple commands of a shell line, without assignments, up to the first construct that is more complex."""
    line: list[str] = []
    for piece in [*pieces, "\n"]:
        if piece and set(piece) <= set(";&|\n"):
            if line:
                yield line
            line = []
        elif line or not re.match(_ASSIGNMENT, piece):
            if not line and (piece in _KEYWORDS or any(sign in piece for sign in "()`$")):
                return
            line.append(piece)
