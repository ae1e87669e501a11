#!/bin/sh
# A script of your own as a dispatch: shell.sh TASK, run in the clone to work in.
# What it says itself by `finish` stands; else its exit status decides.
set -eu

if [ -z "${AGENTIC_WATCH_WORKSPACE:-}" ]; then
    exec agentic-watch dispatch --task "$1" --agent shell --report junit.xml -- "$0" "$1"
fi

# From here on the dispatch runs, and $AGENTIC_WATCH_WORKSPACE is its directory.
if [ ! -w . ]; then
    agentic-watch dispatch finish --status blocked --question "May I write to $PWD?"
    exit 1
fi
printf '%s\n' "$1" >> TODO.md
make test
