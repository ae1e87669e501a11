#!/usr/bin/env python3
"""Hooks of Claude Code and Codex as dispatches: a run from each prompt to the end of its turn, a workspace a session.

Copy it to ~/.claude/hooks/agentic_watch.py and put settings.json's hooks into ~/.claude/settings.json; for Codex to
~/.codex/agentic_watch.py, with ../codex/hooks.json as ~/.codex/hooks.json. A hook gets one JSON object on stdin.
Whatever goes wrong here must not disturb the session: it is said on stderr, and the exit status is 0.
"""

import json
import os
import subprocess
import sys


def run(*words: str) -> None:
    """Run `agentic-watch dispatch`; what it cannot do is said."""
    command = ["agentic-watch", "-q", "dispatch", *words]
    done = subprocess.run(command, cwd=event.get("cwd"), capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)


def fail(question: str, *options: str) -> None:
    """The turn has failed."""
    run("finish", workspace, "--status", "failed", "--question", question[:500], *options)


if "AGENTIC_WATCH_WORKSPACE" in os.environ:
    sys.exit(0)  # `agentic-watch dispatch -- claude …` records this session already
event = json.load(sys.stdin)
agent = sys.argv[1] if len(sys.argv) > 1 else "claude"
workspace = f"sessions/{agent}-{event['session_id']}"
turn = ("--process-id", event.get("prompt_id") or event.get("turn_id") or "")
name = event["hook_event_name"]
if name == "UserPromptSubmit":
    # Esc ends a turn without a hook: `begin` with another turn fails the one before.
    model = f":{event['model']}" if event.get("model") else ""
    run("begin", "--workspace", workspace, "--agent", agent + model, "--task", event.get("prompt", "")[:200], *turn)
elif name == "Stop":
    run("finish", workspace, "--status", "ready-for-review", "--unless-finished", *turn)
elif name == "StopFailure":
    # It may come after SessionEnd, and knows why: it has the last word.
    fail(event.get("last_assistant_message") or event.get("error") or "the turn failed", *turn)
elif name == "Interrupt":
    fail("stopped by hand", "--unless-finished", *turn)
elif name == "SessionEnd":
    fail(f"the session ended in the middle of the turn: {event.get('reason', '?')}", "--unless-finished")
