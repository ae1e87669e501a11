"""What the daemon tells Prometheus of tokens and money: each run once, whatever number an agent makes up."""

from __future__ import annotations

import contextlib
import sqlite3

import generated
import pytest
from daemon_support import Service
from prometheus_client.parser import text_string_to_metric_families
from support import Host, make, run

from agentic_watch.history import commit_lookup
from agentic_watch.history.columns import COST_COLUMN, TOKEN_COLUMNS

USAGE = {"input_tokens": 33, "cache_read_tokens": 15_000, "cache_write_tokens": 6_000, "output_tokens": 170}


def used(host: Host) -> dict[str, float]:
    """The counters, tokens by kind and `cost`, as `metrics` prints them."""
    text = run([*host.arguments(), "metrics"], host.base).stdout
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {one.labels["kind"]: one.value for one in samples if one.name == "agentic_watch_usage_tokens_total"}
    (cost,) = (one.value for one in samples if one.name == "agentic_watch_cost_dollars_total")
    return {**found, "cost": cost}


def kinds(*numbers: float) -> dict[str, float]:
    return dict(zip(("input", "cache_read", "cache_write", "output", "cost"), numbers, strict=True))


def test_a_run_counts_once(host: Host) -> None:
    """Completed and later merged it adds nothing, another run of the workspace does; before it all is 0."""
    with Service(host) as service:
        assert used(host) == kinds(0, 0, 0, 0, 0)
        report = {"usage": {**USAGE, "cost_usd": 0.25}}
        workspace = make(host.root, "org/repo/1", started_at="2026-04-14T11:00:00Z", runs=1, report=report)
        service.wait(lambda: service.state().committed == 1)
        assert used(host) == kinds(33, 15_000, 6_000, 170, 0.25)
        times = {"started_at": "2026-04-14T11:00:00Z", "updated_at": "2026-04-14T12:00:00Z"}
        workspace.write_status(status="merged", runs=1, **times)
        service.wait(lambda: service.state().committed == 2)
        assert used(host) == kinds(33, 15_000, 6_000, 170, 0.25)
        workspace.write_report({"usage": {"output_tokens": 30, "cost_usd": 0.5}})
        times = {"started_at": "2026-04-14T13:00:00Z", "updated_at": "2026-04-14T14:00:00Z"}
        workspace.write_status(runs=2, **times)
        service.wait(lambda: service.state().committed == 3)
        assert used(host) == kinds(33, 15_000, 6_000, 200, 0.75)


def test_what_nobody_can_have_used_counts_up_to_a_bound(host: Host) -> None:
    """A run counts for 10^12 tokens of a kind and a million dollars at most; honest ones beside it still show."""
    hostile = {**dict.fromkeys(TOKEN_COLUMNS, 2**63 - 1), "cost_usd": 9.2e12, "evil{}": 7}
    with Service(host) as service:
        for number in range(3):
            make(host.root, f"org/repo/{number}", agent='evil"}', report={"usage": hostile})
        make(host.root, "org/repo/honest", report={"usage": {"input_tokens": 1, "cost_usd": 0.5}})
        make(
            host.root, "org/repo/broken", report={"usage": {"input_tokens": -5, "output_tokens": True, "cost_usd": "9"}}
        )
        service.wait(lambda: service.state().committed == 5)
        most = 3e12
        assert used(host) == kinds(most + 1, most, most, most, 3e6 + 0.5)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([(2, 7)], [7]),
        ([(2, 7), (3, 7)], [7, 0]),
        ([(2, 7), (3, 9)], [7, 2]),
        ([(2, 7), (3, None)], [7, 0]),
        ([(2, None), (3, 7)], [0, 7]),
        ([(3, 7), (2, 9)], [7, 0]),
        ([(2, 200), (3, 300)], [100, 0]),
    ],
)
def test_commits_of_a_run_add_what_the_newest_says(
    host: Host, said: list[tuple[int, int | None]], expected: list[int]
) -> None:
    """(When it was updated, tokens) of each commit; all come in one transaction, and 100 is the bound here."""
    generated.fill(
        host.history,
        [
            generated.record(
                workspace="w",
                status="completed",
                updated_at=generated.at(at),
                report={} if tokens is None else {"usage": {"input_tokens": tokens}},
            )
            for at, tokens in said
        ],
    )
    with contextlib.closing(sqlite3.connect(host.history)) as connection:
        place, times = (generated.ROOT, "w"), [generated.at(at).utc() for at, _ in said]
        found = [commit_lookup.added_usage(connection, place, (1, None), updated, 100) for updated in times]
        assert commit_lookup.added_usage(connection, (generated.ROOT, "elsewhere"), (1, None), times[0], 100) == {}
    assert [one.get("input_tokens", 0) for one in found] == expected
    assert not any(one.get(COST_COLUMN) for one in found)
