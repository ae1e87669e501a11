"""`stats --html`: one self-contained page to send to somebody; its pictures are inline SVG, nothing is loaded."""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Sequence

import click

from agentic_watch.answers import documents
from agentic_watch.answers.source import Source
from agentic_watch.answers.stats import Group, Stats
from agentic_watch.answers.stats_cells import Question
from agentic_watch.cli.exit_status import Refused
from agentic_watch.cli.output import clean, human_duration
from agentic_watch.cli.rate_text import interval, percent

_WIDTH, _HEIGHT, _LEAST_BAR = 920, 160, 2
_ROW = 22
_BLUE, _GREY, _PALE, _RED, _FAINT = "#2a7de1", "#b4bdc8", "#8fb8ee", "#d1495b", "#7a8594"
_NAMES = 260
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1b2430; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #e3e7ec; }
th:first-child, td:first-child { text-align: left; }
tr.all td { font-weight: 600; } tr.few td { color: #7a8594; }
svg { width: 100%; height: auto; } p.note { color: #5a6675; }
@media (prefers-color-scheme: dark) { body { background: #14181d; color: #dfe5ec; } th, td { border-color: #2b333d; } }
"""
_HEADERS = (
    "dispatches",
    "passed / judged",
    "rate",
    "95 %",
    "first try",
    "waiting",
    "median",
    "p90",
    "findings",
    "lines",
)


def write(path: str, source: Source, question: Question, found: Stats, days: Stats) -> None:
    """Write the page for `found`, with the course over `days`; whole or not at all."""
    text = page(question, found, days, documents.speaks_from(source))
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=os.path.dirname(os.path.abspath(path)), delete=False
        ) as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}; name another file with --html") from error
    click.echo(f"wrote {path}", err=True)


def page(question: Question, found: Stats, days: Stats, first: str) -> str:
    """The page as text. Pure."""
    about = f"{found.total.dispatches:,} dispatches"
    about += f" from {question.wanted.since[:19]}Z" if question.wanted.since else ""
    about += f" until {question.wanted.until[:19]}Z" if question.wanted.until else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Dispatches by {question.by}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>Dispatches by {question.by}</h1>\n"
        f'<p class="note">{about}; the history speaks from {first[:19]}Z on. Passed of those judged, with the range '
        "in which the true rate lies in 95 of 100 cases; grey ones have too few to be compared.</p>\n"
        f"<h2>Rates</h2>\n{_rates(found.groups)}\n<h2>Dispatches a day, failed ones on top</h2>\n{_days(days.groups)}\n"
        f"<h2>Numbers</h2>\n{_table(question.by, found)}\n</body></html>\n"
    )


def _table(by: str, found: Stats) -> str:
    header = "".join(f"<th>{name}</th>" for name in (by, *_HEADERS))
    rows = [_row(group, group.key or "(none)", "" if group.rate.ranked else "few") for group in found.groups]
    return f"<table><tr>{header}</tr>\n{''.join(rows)}{_row(found.total, 'all', 'all')}</table>"


def _row(group: Group, name: str, kind: str) -> str:
    cells = (
        clean(name),
        f"{group.dispatches:,}",
        f"{group.rate.passed:,} / {group.rate.judged:,}",
        percent(group.rate.value),
        interval(group.rate),
        percent(group.first_try.value),
        f"{group.outcomes['waiting']:,}",
        human_duration(group.median_ms),
        human_duration(group.p90_ms),
        f"{group.findings:.1f}",
        "" if group.lines is None else f"{group.lines:.0f}",
    )
    return f'<tr class="{kind}">{"".join(f"<td>{html.escape(cell)}</td>" for cell in cells)}</tr>\n'


def _rates(groups: Sequence[Group]) -> str:
    """A line for each group: its interval as a bar, its rate as a dot."""
    wide = _WIDTH - _NAMES - 20
    parts = []
    for index, group in enumerate(groups):
        bounds, y = group.rate.interval(), index * _ROW + _ROW // 2
        colour = _BLUE if group.rate.ranked else _GREY
        parts.append(_label(_NAMES - 8, y + 5, "end", clean(group.key or "(none)"), "currentColor"))
        if bounds and group.rate.value is not None:
            low, high = (_NAMES + bound * wide for bound in bounds)
            parts.append(_rect((low, y - 3, high - low, 6), f"{colour}66"))
            parts.append(f'<circle cx="{_NAMES + group.rate.value * wide:.1f}" cy="{y}" r="5" fill="{colour}"/>')
    bottom = len(groups) * _ROW
    marks = (_label(_NAMES + tenth / 10 * wide, bottom + 14, "middle", f"{tenth * 10} %") for tenth in range(0, 11, 2))
    return _svg(bottom + 20, [*parts, *marks])


def _days(groups: Sequence[Group]) -> str:
    """A column for each day: failed ones on top of all others."""
    most = max((group.dispatches for group in groups), default=1)
    step = _WIDTH / max(len(groups), 1)
    parts = []
    for index, group in enumerate(groups):
        failed = group.outcomes["failed"] / most * _HEIGHT
        rest = group.dispatches / most * _HEIGHT - failed
        x, width = index * step, max(step - 1, _LEAST_BAR)
        title = f"{group.key}: {group.dispatches:,}, {group.outcomes['failed']:,} failed"
        parts.append(_rect((x, _HEIGHT - rest, width, rest), _PALE, title))
        parts.append(_rect((x, _HEIGHT - rest - failed, width, failed), _RED, title))
    if groups:
        parts.append(_label(0, _HEIGHT + 16, "start", groups[0].key))
        parts.append(_label(_WIDTH, _HEIGHT + 16, "end", groups[-1].key))
    return _svg(_HEIGHT + 20, parts)


def _label(x: float, y: float, anchor: str, text: str, colour: str = _FAINT) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{html.escape(text)}</text>'


def _rect(place: tuple[float, float, float, float], colour: str, title: str = "") -> str:
    """A rectangle at (x, y) so wide and high; a title is shown under the mouse."""
    x, y, width, height = place
    inner = f"<title>{html.escape(title)}</title>" if title else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">{inner}</rect>'


def _svg(height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" font-size="13" font-family="system-ui, sans-serif" role="img">'
        f"{''.join(parts)}</svg>"
    )
