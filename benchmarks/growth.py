"""How cost grows with the length of a journal and with the size of the history."""

from __future__ import annotations

import json
import random
import statistics
from collections import defaultdict
from typing import Any

from benchmarks import trees
from benchmarks.bench import Bench, Line, percentile, say, spread
from benchmarks.finishing import finish_each
from benchmarks.processes import Failed, bare, once, ours, run, watcher

_FLAT = 2
"""What still counts as flat when a journal grows a thousandfold and the history a hundredfold or more."""
_ROWS_A_SECOND = {300_000: 18_000, 3_000_000: 9_000}
"""What inserts in groups must keep to, by the size of the history."""
_PAGES_SIZE, _PAGES = 300_000, {"0": 14, "2": 18}
"""How many pages of log one commit may write into a history of this size, by its number of findings."""
_LIST_SECONDS = 0.1
"""What a list must keep to however large the history is."""


def journals(bench: Bench) -> None:
    """A finish in a workspace that had 1 … 1,000 runs before.

    The past is in the journals only, so the history is rebuilt from them first, which is timed too.
    """
    lengths, of_each = bench.sizes.journal_lengths, bench.sizes.journals_of_each
    planned = [length for length in lengths for _ in range(of_each)]
    with bench.tree(len(planned)) as (root, history):
        for number, length in enumerate(planned):
            _write_past(root, number, length)
        bench.sync()
        rebuilt = once(root, history)
        if (rows := rebuilt.said()["recovered_rows"]) != sum(planned):
            raise Failed(f"--once recovered {rows} of {sum(planned)} rows from the journals")
        seconds = _finish_in_any_order(root, history, planned)
    bench.raw["journals"] = {"seconds": seconds, "rebuilt_rows": rows, "rebuilt_seconds": rebuilt.seconds}
    _report_journals(bench, seconds)
    case = f"history lost: rebuilt from journals, {rows:,} rows"
    bench.add(Line(case, f"{rebuilt.seconds:.2f} s", f"{rows / rebuilt.seconds:,.0f} rows a second"))


def _write_past(root: str, number: int, length: int) -> None:
    """A journal of `length` runs, the last of them as the status and the marker have it."""
    meta = f"{root}/{trees.name_of(number)}/.meta"
    trees.write(f"{meta}/journal.jsonl", b"".join(trees.journal_line(number, run) for run in range(1, length + 1)))
    trees.write(f"{meta}/commit.json", trees.marker(number, length))
    trees.write(f"{meta}/status.json", json.dumps(trees.fields(number, run=length)).encode())


def _finish_in_any_order(root: str, history: str, planned: list[int]) -> dict[int, list[float]]:
    """Seconds of one more finish in each workspace, by the length of its journal."""
    order = list(range(len(planned)))
    random.Random(0).shuffle(order)
    seconds: dict[int, list[float]] = defaultdict(list)
    with watcher(root, history) as daemon:
        for number in order:
            (sample,) = finish_each(daemon, root, [number], run=planned[number] + 1)
            seconds[planned[number]].append(sample.durable)
    return seconds


def _report_journals(bench: Bench, seconds: dict[int, list[float]]) -> None:
    short, long = min(seconds), max(seconds)
    first, last = (percentile(seconds[length], 50) * 1e3 for length in (short, long))
    ratio = last / first
    case = f"one finish after {long:,} runs, against {short:,}, p50"
    bench.add(Line(case, f"{last:.2f} ms", f"{first:.2f} ms", f"{ratio:.2f} ×", f"flat (≤ {_FLAT} ×)", ratio <= _FLAT))


def history(bench: Bench) -> None:
    """The history filled to 1,000,000 rows, or as many as --rows says: inserts, queries, the command at each size."""
    sizes = [str(size) for size in bench.sizes.history_rows]
    with bench.place() as place, bench.place() as root:
        measured = []
        for size in sizes:
            (one,) = run(bare("filling", f"{place}/history.db", size)).said()["sizes"]
            command = run(ours("--root", root, "--history", f"{place}/history.db", "history", "-n", "20"))
            measured.append({**one, "command_seconds": command.seconds})
            say(f"  history, {int(size):,} rows: {one['rows_per_second']:,.0f} rows a second")
    bench.raw["history"] = measured
    _report_history(bench, measured)


def _report_history(bench: Bench, measured: list[dict[str, Any]]) -> None:
    first, last = measured[0], measured[-1]
    against = f"{last['rows']:,} rows against {first['rows']:,}"
    for one in measured:
        _report_inserts(bench, one)
    size, first_size = (f"{one['bytes'] / one['rows']:,.0f}" for one in (last, first))
    bench.add(Line(f"history, bytes a row, {against}", size, first_size))
    for name in last["query_seconds"]:
        now, then = (spread(one["query_seconds"][name]) for one in (last, first))
        ratio = now.median / then.median
        case = f"history query, {name}, {against}"
        flat = f"flat (≤ {_FLAT} ×)"
        bench.add(Line(case, now.text(1e3, "ms"), then.text(1e3, "ms"), f"{ratio:.2f} ×", flat, ratio <= _FLAT))
    ratio = last["command_seconds"] / first["command_seconds"]
    text, others = (f"{one['command_seconds'] * 1e3:.0f} ms" for one in (last, first))
    case, met = f"`agentic-watch history -n 20`, {against}", last["command_seconds"] <= _LIST_SECONDS
    bench.add(Line(case, text, others, f"{ratio:.2f} ×", f"≤ {_LIST_SECONDS} s", met))


def _report_inserts(bench: Bench, one: dict[str, Any]) -> None:
    rate, processor, size = one["rows_per_second"], one["rows_per_processor_second"], one["rows"]
    least = next((least for rows, least in _ROWS_A_SECOND.items() if size // 1_000 == rows // 1_000), 0)
    target, met = (f"≥ {least:,} a second", rate >= least) if least else ("", None)
    text = f"{rate:,.0f} rows a second, {processor:,.0f} a processor second"
    case = f"history insert, groups of 256, {size:,} rows"
    bench.add(Line(case, text, "", target=target, met=met, goal=met is not None))
    for findings, pages in sorted(one["pages"].items()):
        most = _PAGES[findings] if size // 1_000 == _PAGES_SIZE // 1_000 else 0
        target, met = (f"≤ {most}", statistics.fmean(pages) <= most) if most else ("", None)
        text = f"{statistics.fmean(pages):.1f} pages of log, median {statistics.median(pages):.0f}"
        case = f"one commit, {findings} findings, {size:,} rows"
        bench.add(Line(case, text, "", target=target, met=met, goal=met is not None))
