#!/bin/sh
# Codex without a terminal: exec.sh PROMPT, run in the clone to work in.
# Without a sandbox that may write it is read-only, and ends with 0 all the same.
set -eu

if [ -z "${AGENTIC_WATCH_WORKSPACE:-}" ]; then
    exec agentic-watch dispatch --task "$1" --agent "codex${CODEX_MODEL:+:$CODEX_MODEL}" --usage codex.jsonl -- "$0" "$1"
fi

answer=$AGENTIC_WATCH_WORKSPACE/answer.txt
code=0
codex exec --json -s workspace-write -o "$answer" ${CODEX_MODEL:+--model "$CODEX_MODEL"} "$1" \
    > "$AGENTIC_WATCH_WORKSPACE/codex.jsonl" || code=$?
cat "$answer" 2> /dev/null || echo "codex: no answer" >&2
exit "$code"
