#!/bin/sh
# Codex without a terminal: exec.sh PROMPT, run in the clone to work in. Its exit status decides.
set -eu
exec agentic-watch dispatch --task "$1" --agent "codex:${CODEX_MODEL:-default}" -- \
    codex exec --full-auto ${CODEX_MODEL:+--model "$CODEX_MODEL"} "$1"
