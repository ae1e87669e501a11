"""Unchanged to stat is not always unchanged: another layout reads other files, a coarse clock hides a change, and a
root has more than one spelling."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support import Host, Workspace, make, run

from agentic_watch.workspace import files

FINISHED_LATER = {"status": "completed", "updated_at": "2026-04-15T10:00:00Z"}
SECOND = 1_000_000_000


def once(host: Host, layout: str) -> dict[str, int]:
    """One pass with this layout of the root; its counts."""
    config = host.base / "config.toml"
    config.write_text(f'[[roots]]\npath = "{host.root}"\nlayout = "{layout}"\n', "utf-8")
    result = run(["--config", str(config), "--history", str(host.history), "--once", "--json"], host.base)
    document = json.loads(result.stdout)
    return {key: document[key] for key in ("committed", "skipped", "unfinished")}


@pytest.mark.parametrize(("before", "after"), [("auto", "meta"), ("auto", "root"), ("root", "meta"), ("meta", "root")])
def test_a_finish_is_seen_after_a_change_of_layout(host: Host, before: str, after: str) -> None:
    """What stands in the file that counts now is committed, whatever was judged by the other one before."""
    made = Workspace(host.root, "acme/billing/task")
    (made.path / "repo").mkdir(parents=True)
    other = {"meta": "root", "root": "meta"}[after]
    made.write_status(other, status="completed", updated_at="2026-04-14T10:00:00Z")
    once(host, before)
    made.write_status(after, **FINISHED_LATER)
    assert once(host, after)["committed"] == 1
    assert max(line["updated_at"] for line in made.lines()) == FINISHED_LATER["updated_at"]
    assert once(host, after) == {"committed": 0, "skipped": 1, "unfinished": 0}


@pytest.mark.parametrize(("before", "after"), [("root", "meta"), ("meta", "root")])
def test_both_files_stand_there_while_the_layout_changes(host: Host, before: str, after: str) -> None:
    """Neither file is touched: only the configuration says that the other one counts."""
    made = Workspace(host.root, "acme/billing/task")
    (made.path / "repo").mkdir(parents=True)
    made.write_status(before, status="running", updated_at="2026-04-14T10:00:00Z")
    made.write_status(after, **FINISHED_LATER)
    assert once(host, before)["unfinished"] == 1
    assert once(host, after)["committed"] == 1


def _with_seconds_only(info: os.stat_result) -> os.stat_result:
    """What a file system says that keeps whole seconds (ext4 with inodes of 128 bytes)."""
    fields = {name: getattr(info, name) for name in dir(info) if name.startswith("st_")}
    for name in ("st_atime", "st_mtime", "st_ctime"):
        fields[name] = float(int(fields[name]))
        fields[f"{name}_ns"] = fields[f"{name}_ns"] // SECOND * SECOND
    return os.stat_result(tuple(info), fields)


@pytest.mark.parametrize(("age", "trusted"), [(0.5, False), (1.9, False), (2.2, True)])
def test_a_clock_of_whole_seconds_is_told_by_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, trusted: bool
) -> None:
    """A reading is taken for good only when no second change can have the same time, however coarse that is kept."""
    (tmp_path / "status.json").write_text("{}")
    real = os.fstat
    monkeypatch.setattr(files.os, "fstat", lambda descriptor: _with_seconds_only(real(descriptor)))
    changed = _with_seconds_only((tmp_path / "status.json").stat()).st_ctime_ns
    monkeypatch.setattr(files.time, "time_ns", lambda: changed + int(age * SECOND))
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        content = files.read(directory, "status.json", "status.json", 100)
    finally:
        os.close(directory)
    assert bool(content.signature) is trusted


def test_a_fine_clock_costs_no_second_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times with a fraction are those of the kernel's own clock, which ticks every few milliseconds."""
    path = tmp_path / "status.json"
    path.write_text("{}")
    while path.stat().st_ctime_ns % SECOND == 0:
        path.write_text("{}")
    monkeypatch.setattr(files.time, "time_ns", lambda: path.stat().st_ctime_ns + 21_000_000)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert files.read(directory, "status.json", "status.json", 100).signature
    finally:
        os.close(directory)


def test_a_root_under_another_spelling_is_the_root_that_is_configured(host: Host) -> None:
    """`--root .` in a root that the configuration names by a symlink records nothing twice."""
    make(host.root)
    link = host.base / "link"
    link.symlink_to(host.root)
    config = host.base / "config.toml"
    config.write_text(f'[[roots]]\npath = "{link}"\nname = "agents"\n', "utf-8")
    options = ["--config", str(config), "--history", str(host.history), "--once"]
    assert run(options, host.base).returncode == 0
    for root in (".", str(host.root), f"{link}/."):
        assert run([*options, "--root", root], host.root).returncode == 0
    assert [r["root"] for r in host.query("SELECT root FROM dispatch_history")] == ["agents"]
