"""Goals whose cases are scripts of their own, minutes long: a thousand hosts and one server; work on a million rows."""

from __future__ import annotations

import json

from benchmarks.bench import Bench, Line, spread
from benchmarks.processes import bare, run

_LATER_SECONDS, _HOST_US = 2.0, 90
"""How much later than its interval a commit may reach the server, and microseconds of the host's processor for each."""

_DISPATCHES, _FEW_DISPATCHES = 1_000_000, 2_000
_WORK_SECONDS = {"prune": 60, "import": 120, "rename-root": 60, "export": 60}
_BESIDE_MS = 1_000
"""How long each may take over a million dispatches, and the slowest but one in a hundred of the commits beside it."""


def long_work(bench: Bench) -> None:
    """`python -m benchmarks.long_work`: a history exported, pruned, imported again, renamed."""
    dispatches = _DISPATCHES if bench.sizes.sync else _FEW_DISPATCHES
    with bench.place() as place:
        output = run(bare("long_work", place, str(dispatches))).output
    measured = [json.loads(line) for line in output.splitlines()]
    bench.raw["long-work"] = measured
    for one in measured:
        case, most = f"`{one['command']}`, {one['rows']:,} rows", _WORK_SECONDS[one["command"]]
        bench.add(Line(case, f"{one['seconds']} s", "", "", f"≤ {most} s", one["seconds"] <= most, goal=True))
        text, others = f"{one['p99_ms']} ms", f"p50 {one['p50_ms']} ms, longest {one['longest_ms']} ms"
        target, met = f"≤ {_BESIDE_MS:,} ms", one["p99_ms"] <= _BESIDE_MS and not one["failed"]
        bench.add(Line(f"… p99 of {one['commits']:,} commits beside it", text, others, "", target, met, goal=True))


def fleet(bench: Bench) -> None:
    """`python -m benchmarks.fleet`: the lag of hosts that follow, and what a push costs the host."""
    quick = () if bench.sizes.sync else ("--quick",)
    said = run(bare("fleet", *quick)).said()
    bench.raw["fleet"] = said
    interval, steady = said["sizes"]["interval"], said["steady"]
    most = interval + _LATER_SECONDS
    case = f"fleet: {said['sizes']['hosts']:,} hosts, one server, pushing each {interval:.0f} s: lag p99"
    text, others = f"{steady['lag_p99_s']} s", f"p50 {steady['lag_p50_s']} s; {steady['rows_s']} rows a second"
    bench.add(Line(case, text, others, "", f"≤ {most:.0f} s", steady["lag_p99_s"] <= most, goal=True))
    cost, usual = (spread(said["backlog"]["cpu_us_a_row_host"][way]) for way in ("push", "executemany"))
    others = f"executemany of the same rows {usual.text(1, 'µs', 0)}"
    met = cost.median <= _HOST_US
    case = "fleet: the host's processor for each commit that it pushes"
    bench.add(Line(case, cost.text(1, "µs", 0), others, "", f"≤ {_HOST_US} µs", met, goal=True))
