"""The page over the history: the numbers and charts that a browser shows, and what nobody can do with it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support import Host, make, run, start

PULL = "https://git.example/acme/billing/pull/7"
HOSTILE = "<img src=x onerror=alert(1)>"
_CHROMIUM = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


_NOW = datetime.now(UTC)
"""One for all tests, that midnight may not come between them."""


def _ago(**span: int) -> str:
    return (_NOW - timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fill(host: Host) -> None:
    """Eight dispatches of the last days: five passed, two failed, one waits; one is older than a month."""
    for number in range(5):
        report: dict[str, Any] = {
            "findings": [{"tool": "gosec", "rule_id": "G304", "severity": "high", "title": "Path"}],
            "usage": {"cost_usd": 0.25},
        }
        make(
            host.root,
            f"acme/billing/task-{number}",
            agent="codex",
            runs=1,
            updated_at=_ago(minutes=number),
            report=report,
        )
    for number in range(2):
        make(
            host.root, f"acme/gateway/task-{number}", status="failed", question=HOSTILE, updated_at=_ago(seconds=number)
        )
    make(host.root, "acme/search/task-1", status="blocked", updated_at=_ago(days=1))
    make(host.root, "acme/search/task-2", updated_at=_ago(days=400))
    assert host.once().counts["committed"] == 9


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The host of `page`, which nobody writes to."""
    made = Host.make(tmp_path_factory.mktemp("filled"))
    _fill(made)
    return made


@pytest.fixture(scope="module")
def page(filled: Host) -> Iterator[str]:
    """The address of a page over a filled history."""
    process = start([*filled.arguments(), "dashboard", "--port", "0"], filled.base)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert "Traceback" not in errors, errors
        assert process.returncode == 130


def _get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=20) as answer:
        return str(answer.read().decode())


def _rows(page: str, query: str) -> list[dict[str, Any]]:
    base = page.partition("/-/")[0]
    rows: list[dict[str, Any]] = json.loads(_get(f"{base}/history/{query}.json?_shape=array&since="))
    return rows


def test_each_question_is_answered_from_the_history(page: str) -> None:
    """The canned queries find what was committed in the last thirty days, and leave out what is older."""
    assert {row["workspace"] for row in _rows(page, "failed_today")} <= {"acme/gateway/task-0", "acme/gateway/task-1"}
    why = {row["question"]: row["dispatches"] for row in _rows(page, "why")}
    assert why[HOSTILE] == 2
    (rule,) = _rows(page, "recurring_findings")
    assert (rule["tool"], rule["rule"], rule["dispatches"], rule["findings"]) == ("gosec", "G304", 5, 5)
    agents = {row["agent"]: row for row in _rows(page, "agents")}
    assert (agents["codex"]["passed"], agents["codex"]["failed"], agents["codex"]["passed_percent"]) == (5, 0, 100.0)
    repositories = {row["dispatches"] for row in _rows(page, "first_try")}
    assert sum(repositories) <= 8


@pytest.fixture(scope="module")
def own_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page of a dispatcher with statuses of its own, which [answers] names."""
    host = Host.make(tmp_path_factory.mktemp("own"))
    file = host.base / "config.toml"
    file.write_text(f'[[roots]]\npath = "{host.root}"\n[commit]\nfinished = ["shipped", "broke"]\n'
                    '[answers]\npassed = ["shipped"]\nfailed = ["broke"]\n')  # fmt: skip
    for number, status in enumerate(["shipped", "shipped", "shipped", "broke"]):
        fields = {"agent": "a&b#c", "status": status, "updated_at": _ago(minutes=number), "pr_url": PULL}
        make(host.root, f"acme/billing/task-{number}", report={"usage": {"cost_usd": 0.75}}, **fields)
    make(host.root, "acme/billing/silent", agent="b", status="shipped", updated_at=_ago(minutes=9))
    huge = {"usage": {"cost_usd": 9e12}}
    for number in range(2):
        make(host.root, f"acme/billing/huge-{number}", agent="c", status="broke", updated_at=_ago(days=9), report=huge)
    arguments = ["--config", str(file), "--history", str(host.history)]
    assert run([*arguments, "--once"], host.base).returncode == 0
    process = start([*arguments, "dashboard", "--port", "0"], host.base)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def _chart(page: str, name: str) -> list[dict[str, Any]]:
    """The rows that a chart of the page draws."""
    base, _, slug = page.partition("/-/dashboards/")
    shown = _get(f"{base}/-/dashboards/{slug}/{name}")
    chart, _ = json.JSONDecoder().raw_decode(shown, shown.index("{", shown.index("renderChart('")))
    query = urllib.parse.urlencode({"sql": chart["query"], "days": "30", "_shape": "array"})
    rows: list[dict[str, Any]] = json.loads(_get(f"{base}/history.json?{query}"))
    return rows


def test_the_page_knows_statuses_of_the_configuration(own_page: str) -> None:
    """`[answers]` counts on the page as it does in `stats`: three of four passed."""
    agent = next(row for row in _rows(own_page, "agents") if row["agent"] == "a&b#c")
    assert (agent["passed"], agent["failed"], agent["passed_percent"]) == (3, 1, 75.0)
    assert [row["value"] for row in _chart(own_page, "passed")] == [57.1]
    found = {row["outcome"]: row["dispatches"] for row in _chart(own_page, "agents") if row["agent"] == "a&b#c"}
    assert found == {"passed": 3, "failed": 1}


def test_the_page_tells_what_dispatches_cost(own_page: str) -> None:
    """A day's cost, by agent what one that passed cost, and what a pull request did; huge numbers end no question."""
    month = _ago(days=9)[:10]
    costs = {row["day"]: row["dollars"] for row in _chart(own_page, "costs")}
    assert sum(dollars for when, dollars in costs.items() if when != month) == 3.0
    assert costs[month] == 1.8e13
    assert {row["agent"]: row["dollars"] for row in _chart(own_page, "costpassed")} == {"a&b#c": 1.0}
    assert [row["value"] for row in _chart(own_page, "cost")] == ["$18000000000003.00, 6 of 7 known"]
    assert [row["value"] for row in _chart(own_page, "perpassed")] == ["–"]
    columns = ("dollars", "cost_known_of", "dollars_per_passed")
    agents = {row["agent"]: tuple(row[name] for name in columns) for row in _rows(own_page, "agents")}
    assert agents == {"a&b#c": (3.0, 4, 1.0), "b": (None, 0, None), "c": (1.8e13, 2, None)}
    (pull,) = _rows(own_page, "pull_requests")
    assert (pull["pr_url"], pull["dollars"], pull["dispatches"], pull["merged"]) == (PULL, 3.0, 4, 0)
    assert [row["dollars"] for row in _rows(own_page, "dearest")] == [9e12, 9e12, 0.75, 0.75, 0.75, 0.75]


@pytest.mark.parametrize("chart", ["outcomes", "agents", "statuses", "rate", "costs", "costpassed"])
def test_a_mark_of_a_chart_leads_to_its_dispatches(own_page: str, chart: str) -> None:
    """The address behind each mark lists as many dispatches as the mark stands for, whatever an agent is called."""
    base = own_page.partition("/-/")[0]
    for row in _chart(own_page, chart):
        path, _, query = row["link"].partition("?")
        listed = json.loads(_get(f"{base}{path}.json?_shape=array&_size=100&{query}"))
        if "dispatches" in row:
            assert len(listed) == row["dispatches"]
        assert listed


def test_what_an_agent_wrote_is_text_on_the_page(page: str) -> None:
    """A question that holds HTML is shown as it was written and does nothing."""
    base = page.partition("/-/")[0]
    shown = _get(f"{base}/history/why?since=")
    assert HOSTILE not in shown
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in shown


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    """Every script, style and picture of the page comes from this server."""
    content = _get(page)
    sources = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]+)\"", content)
    assert sources
    assert [source for source in sources if source.startswith(("http:", "https:", "//"))] == []


def test_the_page_cannot_write(page: str, filled: Host) -> None:
    """A statement that would change the history is refused, and the rows stay."""
    base = page.partition("/-/")[0]
    with pytest.raises(urllib.error.HTTPError, match="400"):
        _get(f"{base}/history.json?sql=delete+from+dispatch_history")
    assert len(filled.query("SELECT id FROM dispatch_history")) == 9


def test_only_this_host_is_served(page: str) -> None:
    """The page listens on the loopback address and on no other."""
    assert page.startswith("http://127.0.0.1:")
    port = int(page.split(":")[2].split("/")[0])
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as other:
        assert other.connect_ex(("127.0.0.2", port)) != 0


def test_a_taken_port_is_one_line(host: Host) -> None:
    """The message names the port, the cause and the way out."""
    _fill(host)
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run([*host.arguments(), "dashboard", "--port", str(port)], host.base)
    assert result.returncode == 1
    assert "--port" in result.stderr
    assert str(port) in result.stderr


def test_without_a_history_there_is_no_server(host: Host) -> None:
    """It says that there is no history, and how to make one."""
    result = run([*host.arguments(), "dashboard", "--port", "0"], host.base)
    assert result.returncode == 1
    assert "no history" in result.stderr


@pytest.mark.browser
def test_a_browser_shows_the_numbers_and_draws_the_charts(page: str, tmp_path: Path) -> None:
    """Headless Chromium finds the four numbers and a drawing in each chart."""
    chromium = shutil.which("chromium")
    assert chromium, "install Debian's package chromium"
    address = f"{page}?days=30"
    result = subprocess.run(
        [
            *(chromium, *_CHROMIUM, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000"),
            *("--dump-dom", address),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    dom = result.stdout
    numbers = dict(re.findall(r'id="chart-(\w+)"[^>]*>\s*<div style[^>]*><p[^>]*>([^<]*)</p>', dom))
    assert numbers["dispatches"] == "8"
    assert numbers["passed"] == "71.4 %"
    assert numbers["waiting"] == "1"
    charts = re.findall(r'id="chart-(\w+)" class="[^"]*vega-embed', dom)
    assert set(charts) == {"outcomes", "rate", "agents", "duration", "costs", "costpassed", "severities", "statuses"}
    assert len(re.findall(r'<svg[^>]* class="marks"', dom)) == len(charts)
