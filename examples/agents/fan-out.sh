#!/bin/sh
# Many tasks, a few at a time: fan-out.sh TASKS [AT_ONCE], one task a line, run in the repository to work on.
# Each gets a branch and a git worktree of its own, so that none sees the other's half-done work; a tree with work that
# is not committed stays. With GNU parallel: parallel --jobs 4 fan-out.sh --one {} < TASKS
set -eu
agent=${AGENT:-claude -p}

worktree() { # one at a time: git itself stumbles over a tree that is half made or half removed
    flock "$(git rev-parse --git-common-dir)" git worktree "$@"
}

one() { # TASK
    name=agent/$(date +%Y%m%dT%H%M%S)-$$
    tree=$(mktemp -d)
    worktree add --quiet -b "$name" "$tree"
    code=0
    # shellcheck disable=SC2086  # the agent may be several words
    (cd "$tree" && agentic-watch -q dispatch --task "$1" -- $agent "$1") || code=$?
    worktree remove "$tree" || echo "$1: its work stays in $tree" >&2
    return "$code"
}

if [ "$1" = --one ]; then
    one "$2"
else
    tr '\n' '\0' < "$1" | xargs -0 -n 1 -P "${2:-4}" "$0" --one
fi
