"""Goals whose cases are scripts of their own, minutes long: a thousand hosts and one server."""

from __future__ import annotations

from benchmarks.bench import Bench, Line, spread
from benchmarks.processes import bare, run

_LATER_SECONDS, _HOST_US = 2.0, 90
"""How much later than its interval a commit may reach the server, and microseconds of the host's processor for each."""


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
