#!/usr/bin/env python3
"""Codex' `notify` as dispatches: each turn that ended is a run of its thread's workspace.

Codex tells of the end of a turn only, with one JSON argument: type, thread-id, turn-id, cwd, input-messages,
last-assistant-message. So the run is begun and finished in one go, and its duration is not known.
"""

import json
import os
import subprocess
import sys

if "AGENTIC_WATCH_WORKSPACE" in os.environ:
    sys.exit(0)  # `agentic-watch dispatch -- codex …` records this already
event = json.loads(sys.argv[1])
if event.get("type") != "agent-turn-complete":
    sys.exit(0)
thread = event.get("thread-id") or event["turn-id"]
workspace = f"sessions/codex-{thread}"
task = " ".join(event.get("input-messages", []))[:200]
for step in (
    ["begin", "--workspace", workspace, "--agent", "codex", "--task", task, "--process-id", event["turn-id"]],
    ["finish", workspace, "--status", "ready-for-review", "--unless-finished"],
):
    subprocess.run(
        ["agentic-watch", "-q", "dispatch", *step], cwd=event.get("cwd"), stdout=subprocess.DEVNULL, check=True
    )
