#!/bin/sh
# mini-swe-agent without a terminal: mini-swe-agent.sh TASK, run in the clone to work in. Its result is its trajectory.
set -eu

if [ -z "${AGENTIC_WATCH_WORKSPACE:-}" ]; then
    exec agentic-watch dispatch --task "$1" --agent "mini${MSWEA_MODEL_NAME:+:$MSWEA_MODEL_NAME}" \
        --usage trajectory.json -- "$0" "$1"
fi

exec mini -y --exit-immediately -t "$1" -o "$AGENTIC_WATCH_WORKSPACE/trajectory.json"
