#!/bin/sh
# Qwen Code without a terminal: qwen.sh PROMPT, run in the clone to work in. It ends with 0 also where the API refused it.
set -eu

if [ -z "${AGENTIC_WATCH_WORKSPACE:-}" ]; then
    exec agentic-watch dispatch --task "$1" --agent "qwen${QWEN_MODEL:+:$QWEN_MODEL}" --usage qwen.json -- "$0" "$1"
fi

exec qwen -p "$1" -o json --approval-mode yolo ${QWEN_MODEL:+-m "$QWEN_MODEL"} > "$AGENTIC_WATCH_WORKSPACE/qwen.json"
