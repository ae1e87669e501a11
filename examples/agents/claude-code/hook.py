#!/usr/bin/env python3
"""Claude Code's hooks as dispatches: a run from each prompt to the end of its turn, all in one workspace a session.

Copy it to ~/.claude/hooks/agentic_watch.py and put settings.json's hooks into ~/.claude/settings.json. A hook gets one
JSON object on stdin: hook_event_name, session_id, cwd, and prompt or reason with some. Whatever goes wrong here must
not disturb the session: it is said on stderr, and the exit status is 0.
"""

import json
import os
import subprocess
import sys

if "AGENTIC_WATCH_WORKSPACE" in os.environ:
    sys.exit(0)  # `agentic-watch dispatch -- claude …` records this session already
event = json.load(sys.stdin)
workspace = f"sessions/claude-{event['session_id']}"
begin = ["begin", "--workspace", workspace, "--agent", "claude"]
finish = ["finish", workspace]
steps = {
    "UserPromptSubmit": [*begin, "--task", event.get("prompt", "")[:200]],
    "Stop": [*finish, "--status", "ready-for-review", "--unless-finished"],
    "SessionEnd": [
        *finish,
        "--status",
        "failed",
        "--unless-finished",
        "--question",
        f"ended by {event.get('reason', '?')}",
    ],
}
step = steps.get(event["hook_event_name"])
if step:
    done = subprocess.run(
        ["agentic-watch", "-q", "dispatch", *step], cwd=event.get("cwd"), capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
