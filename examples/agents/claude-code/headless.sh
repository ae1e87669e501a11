#!/bin/sh
# Claude Code without a terminal: headless.sh PROMPT, run in the clone to work in.
# It may edit files and run commands: without both options each write is denied, and it ends with 0 all the same.
set -eu

if [ -z "${AGENTIC_WATCH_WORKSPACE:-}" ]; then
    exec agentic-watch dispatch --task "$1" --agent "claude${CLAUDE_MODEL:+:$CLAUDE_MODEL}" --usage claude.json -- "$0" "$1"
fi

result=$AGENTIC_WATCH_WORKSPACE/claude.json
code=0
claude -p "$1" --output-format json --permission-mode acceptEdits --allowedTools Bash \
    ${CLAUDE_MODEL:+--model "$CLAUDE_MODEL"} > "$result" || code=$?
python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["result"])' "$result" 2> /dev/null || cat "$result"
exit "$code"
