#!/bin/sh
# opencode without a terminal: opencode.sh PROMPT, run in the clone to work in. Its configuration says what it may do.
set -eu

if [ -z "${AGENTIC_WATCH_WORKSPACE:-}" ]; then
    exec agentic-watch dispatch --task "$1" --agent "opencode${OPENCODE_MODEL:+:$OPENCODE_MODEL}" \
        --usage opencode.jsonl -- "$0" "$1"
fi

exec opencode run --format json ${OPENCODE_MODEL:+-m "$OPENCODE_MODEL"} "$1" > "$AGENTIC_WATCH_WORKSPACE/opencode.jsonl"
