"""The table in markdown, the raw numbers in JSON, and the marked block of the manual."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Line

BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"
_HEAD = ("case", "agentic-watch", "alternatives", "ratio", "target", "met?")
_LIBRARIES = ("agentic-watch", "watchdog", "watchfiles", "click")


def machine(work: str) -> dict[str, Any]:
    """What it was measured on."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "kernel": platform.release(),
        "filesystem": _filesystem(work),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(path: str) -> str:
    """The type of the file system that `path` lies on: that of the longest mount point above it (proc(5))."""
    real = os.path.realpath(path)
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, found, *_ = line.split()
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, found
    return kind


def table(lines: list[Line]) -> str:
    """The lines as a markdown table."""
    rows = [_HEAD, ("---",) * len(_HEAD)]
    for line in lines:
        met = {None: "", True: "yes", False: "**no**"}[line.met]
        rows.append((line.case, line.ours, line.alternatives, line.ratio, line.target, met))
    return "".join(f"| {' | '.join(_cell(text) for text in row)} |\n" for row in rows)


def goals(bench: Bench, about: dict[str, Any], partial: str) -> str:
    """The lines that are goals, each beside what it is compared with, and how many are met."""
    return block(replace(bench, lines=[line for line in bench.lines if line.goal]), about, partial)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def block(bench: Bench, about: dict[str, Any], partial: str) -> str:
    """The table with the sentence that says where its numbers come from. `partial` says what was left out."""
    where = (
        f"Measured {about['date']} on {about['cores']} cores ({about['processor']}), {about['filesystem']}, "
        f"Linux {about['kernel']}, Python {about['python']}, SQLite {about['sqlite']}, watchdog {about['watchdog']}, "
        f"watchfiles {about['watchfiles']}; load before the start {about['load_before']}. Medians, in brackets the "
        "smallest and the largest sample (for one finish: the 99th percentile)."
    )
    missed = sum(line.met is False for line in bench.lines)
    counted = sum(line.met is not None for line in bench.lines)
    return f"{where}{partial}\n\n{table(bench.lines)}\n{counted - missed} of {counted} targets met.\n"


def write(out: Path, bench: Bench, about: dict[str, Any], partial: str) -> None:
    """`table.md`, of it the goals in `goals.md`, and `results.json`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(block(bench, about, partial), "utf-8")
    (out / "goals.md").write_text(goals(bench, about, partial), "utf-8")
    lines = [{name: getattr(line, name) for name in Line.__slots__} for line in bench.lines]
    document = {"machine": about, "partial": partial.strip(), "table": lines, "raw": bench.raw}
    (out / "results.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def write_docs(page: Path, text: str) -> None:
    """Put the table into the manual's marked block. Raises ValueError when the marks are not there."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no block between {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}", "utf-8")
