#!/bin/sh
# Many tasks, a few at a time: fan-out.sh TASKS [AT_ONCE], one task a line, run in the repository to work on.
# Each gets a branch and a git worktree of its own, so that none sees the other's half-done work; a tree with work that
# is not committed stays. The agent is claude-code/headless.sh, or the words in $AGENT with the task behind them.
# With GNU parallel: parallel --jobs 4 fan-out.sh --one {} < TASKS
set -eu
recipes=$(cd "$(dirname "$0")" && pwd)

worktree() { # one at a time: git itself stumbles over a tree that is half made or half removed
    flock "$(git rev-parse --git-common-dir)" git worktree "$@"
}

dispatched() { # TASK
    if [ -n "${AGENT:-}" ]; then
        # shellcheck disable=SC2086  # the agent may be several words
        agentic-watch -q dispatch --task "$1" -- $AGENT "$1"
    else
        "$recipes/claude-code/headless.sh" "$1"
    fi
}

one() { # TASK
    name=agent/$(date +%Y%m%dT%H%M%S)-$$
    tree=$(mktemp -d)
    worktree add --quiet -b "$name" "$tree"
    code=0
    (cd "$tree" && dispatched "$1") || code=$?
    worktree remove "$tree" || echo "$1: its work stays in $tree" >&2
    return "$code"
}

if [ "$1" = --one ]; then
    one "$2"
else
    tr '\n' '\0' < "$1" | xargs -0 -n 1 -P "${2:-4}" "$0" --one
fi
