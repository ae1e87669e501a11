"""The writing side killed at each of its system calls: the status is the old one or the new one, and life goes on."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest
from support import Host, Workspace, query

from agentic_watch.dispatch import End, Work, begin, finish
from agentic_watch.workspace import status

CALLS = ("mkdir", "open", "write", "fsync", "rename", "unlink")
KILLED = 77


def killed_at(number: int, life: Callable[[], None]) -> bool:
    """Run `life` in a child that ends at once at its call `number` of CALLS; whether it came so far."""
    child = os.fork()
    if child == 0:
        left = iter(range(number, -1, -1))

        def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any, **options: Any) -> Any:
                if next(left) == 0:
                    os._exit(KILLED)
                return call(*arguments, **options)

            return called

        for name in CALLS:
            setattr(os, name, mortal(getattr(os, name)))
        try:
            life()
            os._exit(0)
        finally:
            os._exit(1)
    _, ended = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(ended)
    assert code in (0, KILLED)
    return code == KILLED


def said(workspace: Workspace) -> str:
    """What the status says, "" when there is none; half a status would raise."""
    try:
        return status.parse((workspace.meta / "status.json").read_bytes(), "status.json").status
    except FileNotFoundError:
        return ""


@pytest.mark.parametrize("step", ["begin", "finish"])
def test_killed_at_each_call(host: Host, step: str) -> None:
    """Whatever stands there is whole; the same step again brings it to its end, and no temporary file stays."""
    root = str(host.root)
    points = 0
    for number in itertools.count():
        workspace = Workspace(host.root, f"org/repo/{number}")
        steps: dict[str, Callable[[], Any]] = {
            "begin": lambda name=workspace.name: begin(root, Work(task="t", pid=os.getpid()), name),
            "finish": lambda name=workspace.name: finish(
                begin(root, Work(), name), End("failed", report={"passed": False})
            ),
        }
        if step == "finish":
            begin(root, Work(), workspace.name)
        if not killed_at(number, steps[step]):
            break
        points += 1
        assert said(workspace) in {"begin": ("", "running"), "finish": ("running", "failed")}[step]
        if said(workspace) != "failed":
            assert finish(begin(root, Work(), workspace.name), End("failed", report={"passed": False}))
        assert said(workspace) == "failed"
        assert [path for path in host.root.rglob("*.tmp") if path.parent == workspace.meta] == []
    assert points >= 10
    host.once()
    assert len(host.rows()) >= points


def test_a_killed_run_is_never_recorded_twice(host: Host) -> None:
    """A finish that was killed after its rename is finished: the next one writes nothing, and one row is made."""
    root = str(host.root)
    run = begin(root, Work(), "w")
    assert not killed_at(10_000, lambda: finish(run, End("failed")) and None)
    assert not finish(run, End("failed"))
    host.once()
    host.once()
    assert query(host.history, "SELECT count(*) FROM dispatch_history")[0][0] == 1
