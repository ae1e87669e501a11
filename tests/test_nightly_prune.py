"""`[history] keep`: what is older is archived and removed at night, by the daemon."""

from __future__ import annotations

import json
import logging
import sys
import time

import pytest
import tomli_w
from daemon_support import Service
from support import Host, make, patched, run, wait_for

from agentic_watch.daemon.nightly_prune import NightlyPrune, next_night

OLD, YOUNG = "2026-01-02T03:04:05Z", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
NIGHT_SECONDS = 3600.0


@pytest.fixture
def kept(host: Host) -> Host:
    """A host with an old and a young dispatch in its history."""
    make(host.root, "org/repo/old", updated_at=OLD)
    make(host.root, "org/repo/young", updated_at=YOUNG)
    assert host.once().counts["committed"] == 2
    return host


def nightly_prune(host: Host, now: float) -> NightlyPrune:
    """The daemon's, over a host's history and root, at a time."""
    made = NightlyPrune([sys.executable, "-m", "agentic_watch", *map(str, host.arguments())], now)
    made.keep = "100d"
    return made


def pass_night(made: NightlyPrune, night: float) -> None:
    """Turn through a night until what was begun in it has ended."""
    made.turn(night)
    wait_for(lambda: made.turn(night + 1) is None and not made.is_running, 30.0)


def names(host: Host) -> list[str]:
    """The workspaces that the history has dispatches of."""
    return [row["workspace"] for row in host.query("SELECT workspace FROM dispatch_history ORDER BY 1")]


def test_what_is_older_goes_at_night_into_an_archive(kept: Host, caplog: pytest.LogCaptureFixture) -> None:
    """Not before; the log says how much of when, and where it is."""
    caplog.set_level(logging.INFO)
    now = time.time()
    made = nightly_prune(kept, now)
    made.turn(next_night(now) - 1)
    assert not made.is_running
    pass_night(made, next_night(now))
    assert names(kept) == ["org/repo/young"]
    (archive,) = kept.history.parent.glob("history.db.pruned-*.jsonl")
    assert [json.loads(line)["workspace"] for line in archive.read_text().splitlines()] == ["org/repo/old"]
    said = f"pruned 1 commit of 2026-01-02 to 2026-01-02, archived in {archive} (history.keep: 100d)"
    assert [record.message for record in caplog.records] == [said]


def test_a_night_in_which_nothing_is_older_is_not_spoken_of(kept: Host, caplog: pytest.LogCaptureFixture) -> None:
    """No line, no archive; the next night is another one."""
    caplog.set_level(logging.INFO)
    now = time.time()
    made = nightly_prune(kept, now)
    for _ in range(2):
        pass_night(made, now := next_night(now))
    caplog.clear()
    pass_night(made, next_night(now))
    assert caplog.records == []
    assert len(list(kept.history.parent.glob("history.db.pruned-*"))) == 1


def test_what_a_prune_refuses_stays_and_is_warned_of(kept: Host, caplog: pytest.LogCaptureFixture) -> None:
    """A root is away: it is named, nothing goes, and the next night, when it is back, it does."""
    now = time.time()
    made = nightly_prune(kept, now)
    kept.root.rename(kept.base / "away")
    pass_night(made, now := next_night(now))
    assert names(kept) == ["org/repo/old", "org/repo/young"]
    assert f"{kept.root}: is not available" in caplog.text
    assert "history.keep 100d: " in caplog.text
    (kept.base / "away").rename(kept.root)
    pass_night(made, next_night(now))
    assert names(kept) == ["org/repo/young"]


def test_who_slept_through_the_night_waits_for_the_next_one(kept: Host) -> None:
    """A laptop that is opened at nine does not prune then."""
    now = time.time()
    made = nightly_prune(kept, now)
    made.turn(next_night(now) + 6 * NIGHT_SECONDS)
    assert not made.is_running
    pass_night(made, next_night(next_night(now)))
    assert names(kept) == ["org/repo/young"]


def test_without_it_nothing_goes(kept: Host) -> None:
    """Nothing is pruned unasked, whatever its age."""
    now = time.time()
    made = nightly_prune(kept, now)
    made.keep = None
    pass_night(made, next_night(now))
    assert names(kept) == ["org/repo/old", "org/repo/young"]


def test_a_daemon_that_ends_ends_its_prune(kept: Host, caplog: pytest.LogCaptureFixture) -> None:
    """It is interrupted, and said to be."""
    made = NightlyPrune([sys.executable, "-c", "import time; time.sleep(60)"], 0.0)
    made.keep = "100d"
    made.turn(next_night(0.0))
    assert made.is_running
    began = time.monotonic()
    made.stop()
    assert time.monotonic() - began < 10
    assert not made.is_running
    assert "history.keep 100d: " in caplog.text


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "night"),
    [
        ("2026-03-28T12:00:00", "2026-03-29T01:00:00"),  # the night in which 02:00 becomes 03:00
        ("2026-10-24T12:00:00", "2026-10-25T02:00:00"),
        ("2026-06-30T01:00:00", "2026-07-01T01:00:00"),
        ("2026-12-31T23:59:59", "2027-01-01T02:00:00"),
    ],
)
def test_the_night_begins_at_three_of_the_hosts_time(now: str, night: str) -> None:
    """Summer time or not."""
    began = next_night(time.mktime(time.strptime(f"{now} UTC", "%Y-%m-%dT%H:%M:%S %Z")) - time.timezone)
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began)) == night


ABOUT_THREE = """
import os, time
from agentic_watch.daemon.nightly_prune import NightlyPrune
begin = NightlyPrune.__init__
def about_three(self, command, now):
    ahead = (int(now) - 3 * 3600 + 1) % 86_400
    os.environ["TZ"] = f"NIGHT{ahead // 3600:+03}:{ahead % 3600 // 60:02}:{ahead % 60:02}"
    time.tzset()
    begin(self, command, now)
NightlyPrune.__init__ = about_three
"""
"""A patch of the program: it starts where the clock strikes three a second later."""


def test_a_daemon_prunes_at_night_and_goes_on_committing(kept: Host) -> None:
    """Its host's clock is about to strike three."""
    service = Service(kept, environ=patched(kept.base, ABOUT_THREE))
    document = {
        "roots": [{"path": str(kept.root)}],
        "history": {"path": str(kept.history), "keep": "100d"},
        "commit": {"settle_seconds": 0.1},
    }
    service.config_file.write_text(tomli_w.dumps(document))
    with service:
        service.wait(lambda: bool(service.lines("pruned 1 commit")), 30.0)
        make(kept.root, "org/repo/new", updated_at=YOUNG)
        service.wait(lambda: names(kept) == ["org/repo/new", "org/repo/young"])
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("keep", "problem"),
    [
        ("12h", "must be a day or more, not '12h'"),
        ("180", "must be a span, not '180'"),
        (180, "must be a string in quotes, not 180"),
    ],
)
def test_a_span_that_cannot_be_meant_is_refused(host: Host, keep: object, problem: str) -> None:
    """`config check` names the key and what to write."""
    file = host.base / "config.toml"
    file.write_text(tomli_w.dumps({"roots": [{"path": str(host.root)}], "history": {"keep": keep}}))
    result = run(["--config", str(file), "config", "check"], host.base)
    assert result.returncode == 78
    assert f"history.keep: {problem}" in result.stderr
