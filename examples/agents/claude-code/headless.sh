#!/bin/sh
# Claude Code without a terminal: headless.sh PROMPT, run in the clone to work in.
# It prints one JSON object at its end; an error there is a failed dispatch, also where its exit status is 0.
set -eu

if [ -z "${AGENTIC_WATCH_WORKSPACE:-}" ]; then
    exec agentic-watch dispatch --task "$1" --agent "claude:${CLAUDE_MODEL:-default}" -- "$0" "$1"
fi

claude -p "$1" --output-format json ${CLAUDE_MODEL:+--model "$CLAUDE_MODEL"} > "$AGENTIC_WATCH_WORKSPACE/claude.json"
python3 - "$AGENTIC_WATCH_WORKSPACE/claude.json" <<'PYTHON'
import json, sys
answer = json.load(open(sys.argv[1], encoding="utf-8"))
print(answer.get("result", ""))
sys.exit(1 if answer.get("is_error") else 0)
PYTHON
