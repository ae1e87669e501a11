#!/bin/sh
# Gemini CLI without a terminal: gemini.sh PROMPT, run in the clone to work in. Of its formats only stream-json has
# errors on stdout. It ignores SIGTERM: what stops it sends SIGINT.
set -eu

if [ -z "${AGENTIC_WATCH_WORKSPACE:-}" ]; then
    exec agentic-watch dispatch --task "$1" --agent "gemini${GEMINI_MODEL:+:$GEMINI_MODEL}" --usage gemini.jsonl -- "$0" "$1"
fi

exec gemini -p "$1" -o stream-json --approval-mode yolo ${GEMINI_MODEL:+-m "$GEMINI_MODEL"} > "$AGENTIC_WATCH_WORKSPACE/gemini.jsonl"
