#!/bin/sh
# aider with one message: aider.sh MESSAGE, run in the clone to work in. The tests it runs leave the report.
set -eu
exec agentic-watch dispatch --task "$1" --agent "aider:${AIDER_MODEL:-default}" --report junit.xml -- \
    aider --yes-always --no-stream ${AIDER_MODEL:+--model "$AIDER_MODEL"} \
    --test-cmd "${AIDER_TEST:-pytest -q --junit-xml junit.xml}" --auto-test --message "$1"
