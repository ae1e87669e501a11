"""The plots: cost against the number of workspaces, the length of a journal, the size of the history."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

_BLUE, _GREY, _RED = "#1f5fa8", "#808080", "#b03a2e"


def draw(out: Path, raw: dict[str, Any]) -> list[Path]:
    """Draw what was measured. Raises ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    panels = {
        name: panel
        for name, panel in (("warm", _workspaces), ("journals", _journals), ("history", _inserts), ("history ", _asked))
        if name.strip() in raw
    }
    if not panels:
        return []
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.4), squeeze=False)
    for axis, (name, panel) in zip(axes[0], panels.items(), strict=True):
        panel(axis, raw[name.strip()])
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.grid(visible=True, alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    path = out / "growth.png"
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return [path]


def _workspaces(axis: Any, raw: dict[int, dict[str, Any]]) -> None:
    counts = sorted(raw)
    for name, colour in (("agentic-watch", _BLUE), ("plain loop", _RED), ("bare walk", _GREY)):
        medians = [statistics.median(raw[count]["seconds"][name]) / count * 1e6 for count in counts]
        axis.plot(counts, medians, "o-", color=colour, label=name)
    axis.set(title="--once, nothing to do", xlabel="workspaces", ylabel="µs a workspace, start included")


def _journals(axis: Any, raw: dict[str, Any]) -> None:
    lengths = sorted(raw["seconds"])
    samples = [[second * 1e3 for second in raw["seconds"][length]] for length in lengths]
    axis.plot(lengths, [statistics.median(one) for one in samples], "o-", color=_BLUE, label="median")
    axis.fill_between(lengths, *_quartiles(samples), color=_BLUE, alpha=0.15, label="middle half")
    axis.set(title="one finish, settle 0", xlabel="runs in the journal", ylabel="ms to the durable marker")


def _quartiles(samples: list[list[float]]) -> tuple[list[float], list[float]]:
    cuts = [statistics.quantiles(one, n=4, method="inclusive") for one in samples]
    return [low for low, _, _ in cuts], [high for _, _, high in cuts]


def _inserts(axis: Any, raw: list[dict[str, Any]]) -> None:
    axis.plot([one["rows"] for one in raw], [one["rows_per_second"] for one in raw], "o-", color=_BLUE, label="insert")
    axis.set(title="history: inserts of 256", xlabel="rows in the history", ylabel="rows a second")


def _asked(axis: Any, raw: list[dict[str, Any]]) -> None:
    for name in raw[0]["query_seconds"]:
        medians = [statistics.median(one["query_seconds"][name]) * 1e3 for one in raw]
        axis.plot([one["rows"] for one in raw], medians, "o-", label=name)
    axis.set(title="history: 20 rows", xlabel="rows in the history", ylabel="ms a question")
