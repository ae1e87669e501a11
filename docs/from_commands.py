"""The manual page, the reference's list of commands and the tables of exit statuses, made from the program itself:
`make reference`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from agentic_watch import __version__
from agentic_watch.cli import exit_status
from agentic_watch.cli.command_line import root

DOCS = Path(__file__).parent
REFERENCE, MANUAL, README = DOCS / "reference.md", DOCS / "agentic-watch.1", DOCS.parent / "README.md"
EXITS_BEGIN, EXITS_END = "<!-- exit statuses: make reference -->\n", "<!-- end of the exit statuses -->\n"
BEGIN, END = "<!-- from the commands: make reference -->\n", "<!-- end of what is made from the commands -->\n"

VARIABLES = (
    ("AGENTIC_WATCH_CONFIG", "The configuration file, when --config names none."),
    ("CORE_WORKSPACE", "Without any configuration and --root, $CORE_WORKSPACE/workspace is the root."),
    ("XDG_CONFIG_HOME", "Where agentic-watch/config.toml is looked for; ~/.config."),
    ("XDG_STATE_HOME", "Where agentic-watch/history.db lies; ~/.local/state."),
    ("HOME", "Stands for ~ in paths, and for the two above."),
    ("STATE_DIRECTORY", "Set by systemd: the history lies there."),
    ("COLUMNS", "How wide tables may be; else the terminal tells."),
    ("TZ", "The time zone of times on a terminal."),
)


NOT_YET: frozenset[str] = frozenset()
"""Commands that are being made and are not described yet; empty it when they are there."""


def commands() -> Iterator[tuple[str, click.Context]]:
    """Every command with a context to ask it in, groups before what is in them."""
    top = click.Context(root, info_name="agentic-watch", **root.context_settings)
    yield "agentic-watch", top
    yield from _below(top)


def _below(above: click.Context) -> Iterator[tuple[str, click.Context]]:
    group = above.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(above):
        if name in NOT_YET:
            continue
        command = group.get_command(above, name)
        assert command is not None
        ctx = click.Context(command, info_name=name, parent=above)
        yield ctx.command_path, ctx
        if isinstance(command, click.Group):
            yield from _below(ctx)


def options(ctx: click.Context) -> list[tuple[str, str]]:
    """(how it is written, what it means) of each option that is shown; --help, which all have, only once."""
    shown = [p for p in ctx.command.get_params(ctx) if isinstance(p, click.Option)]
    found = [option.get_help_record(ctx) for option in shown if "--help" not in option.opts or ctx.parent is None]
    return [record for record in found if record is not None]


def paragraphs(ctx: click.Context) -> list[str]:
    """The help's paragraphs; an example's begins with \\b."""
    text = (ctx.command.help or "").split("\f")[0].strip()
    return re.split(r"\n\s*\n", re.sub(r"\n[ ]{4}", "\n", text))


def name(ctx: click.Context) -> str:
    """The command's name without the program's: `config check`; "" is the program itself."""
    return ctx.command_path.removeprefix("agentic-watch").strip()


def own_statuses(ctx: click.Context) -> list[tuple[int, str]]:
    """The exit statuses of a command that mean something of its own."""
    return [
        (code, text) for code, text in exit_status.meanings(name(ctx)).items() if exit_status.MEANINGS.get(code) != text
    ]


def usage(ctx: click.Context) -> str:
    """The command with its arguments."""
    return " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])


def markdown() -> str:
    """The list of commands for the reference."""
    lines: list[str] = []
    for path, ctx in commands():
        lines += [f"### {path}", "", f"    {usage(ctx)}", ""]
        for paragraph in paragraphs(ctx):
            head, _, rest = paragraph.partition("\n")
            lines += (
                [*(f"    {line.strip()}" for line in rest.splitlines()[1:]), ""] if head == "\b" else [paragraph, ""]
            )
        if listed := options(ctx):
            lines += ["| option | |", "|---|---|"]
            lines += [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in listed]
            lines.append("")
        if own := own_statuses(ctx):
            lines += ["| exit status | |", "|---|---|"]
            lines += [f"| {code} | {_cell(text)} |" for code, text in own]
            lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def manual() -> str:
    """The manual page, in man(7) macros."""
    lines = [
        f'.TH AGENTIC-WATCH 1 "" "agentic-watch {__version__}" "User Commands"',
        ".SH NAME",
        r"agentic-watch \- commits each finished coding-agent dispatch exactly once",
        ".SH SYNOPSIS",
        r".B agentic-watch",
        r"[\fIOPTIONS\fR] [\fICOMMAND\fR [\fIARGUMENTS\fR]]",
        ".SH DESCRIPTION",
    ]
    for path, ctx in commands():
        if path == "agentic-watch":
            lines += [*_roff_text(ctx), ".SH OPTIONS", *_roff_options(ctx), ".SH COMMANDS"]
        else:
            lines += [f".SS {_roff(usage(ctx))}", *_roff_text(ctx), *_roff_options(ctx), *_roff_statuses(ctx)]
    lines.append(".SH EXIT STATUS")
    for code, text in exit_status.MEANINGS.items():
        lines += [".TP", f".B {code}", _roff(text)]
    lines.append(".SH ENVIRONMENT")
    lines += [line for name, text in VARIABLES for line in (".TP", f".B {name}", _roff(text))]
    lines += [".SH FILES", ".TP", ".I /etc/agentic-watch/config.toml", "The service's configuration.", ".TP"]
    lines += [".I /var/lib/agentic-watch/history.db", "Its history, a SQLite file."]
    lines += [".SH SEE ALSO", ".BR sqlite3 (1),", ".BR systemctl (1),", ".BR inotify (7)"]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """A text on one line, with nothing in it that is a request or an escape."""
    line = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{line}" if line[:1] in (".", "'") else line


def _roff_text(ctx: click.Context) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs(ctx)):
        head, _, rest = paragraph.partition("\n")
        if head == "\b":
            yield from (".PP", ".RS", ".nf", *map(_roff, rest.splitlines()[1:]), ".fi", ".RE")
        else:
            yield from (*([".PP"] if number else []), _roff(paragraph))


def _roff_options(ctx: click.Context) -> Iterator[str]:
    for names, text in options(ctx):
        yield from (".TP", f".B {_roff(names)}", _roff(text))


def _roff_statuses(ctx: click.Context) -> Iterator[str]:
    if own := own_statuses(ctx):
        yield from (".PP", "Exit status:")
        for code, text in own:
            yield from (".TP", f".B {code}", _roff(text))


def with_statuses(text: str) -> str:
    """The reference or the README with its table of exit statuses as it should be."""
    before, _, rest = text.partition(EXITS_BEGIN)
    after = rest.partition(EXITS_END)[2]
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in exit_status.MEANINGS.items())
    return f"{before}{EXITS_BEGIN}\n| exit status | |\n|---|---|\n{rows}\n{EXITS_END}{after}"


def with_commands(reference: str) -> str:
    """The reference with its list of commands as it should be."""
    before, _, rest = reference.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{markdown()}\n{END}{after}"


def main() -> None:
    """Write all three."""
    REFERENCE.write_text(with_statuses(with_commands(REFERENCE.read_text("utf-8"))), "utf-8")
    README.write_text(with_statuses(README.read_text("utf-8")), "utf-8")
    MANUAL.write_text(manual(), "utf-8")
    sys.stderr.write(f"{REFERENCE}, {README} and {MANUAL} match the commands\n")


if __name__ == "__main__":
    main()
