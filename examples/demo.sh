#!/usr/bin/env bash
# The main job on the example workspaces: the daemon commits what is finished, an unfinished dispatch is
# finished while it runs, a script is dispatched on a git clone of its own, and a second pass finds nothing
# left to do. Touches only a temporary directory.
set -euo pipefail

agentic_watch=$(realpath -s "${1:?usage: demo.sh AGENTIC_WATCH_COMMAND}")
examples=$(cd "$(dirname "$0")" && pwd)
place=$(mktemp -d)
daemon=
trap '[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true; rm -rf "$place"' EXIT
cp -r "$examples/workspaces" "$place/workspaces"
cat > "$place/config.toml" <<TOML
[[roots]]
path = "$place/workspaces"
name = "demo"
[commit]
settle_seconds = 0.5
[history]
path = "$place/history.db"
TOML
export AGENTIC_WATCH_CONFIG="$place/config.toml"

say() { printf '\n== %s\n' "$*"; }
wait_for() { # a line of the daemon's log; the marker is written before it
    for _ in $(seq 200); do grep -q "$1" "$place/log" && return; sleep 0.05; done
    echo "demo: the daemon did not say \"$1\" within 10 s" >&2; exit 1
}

say "six workspaces: four finished, one running, one queued"
"$agentic_watch" status

say "the daemon starts and commits the four"
: > "$place/log"
"$agentic_watch" 2> >(tee "$place/log" >&2) &
daemon=$!
wait_for "ready: demo"

say "task-102 finishes while the daemon runs"
task="$place/workspaces/acme/billing/task-102"
sed 's/"running"/"completed"/; s/"updated_at":"[^"]*"/"updated_at":"2026-04-14T10:31:07.123456789+01:00"/' \
    "$task/status.json" > "$task/status.json.new"
mv "$task/status.json.new" "$task/status.json"
wait_for "acme/billing/task-102: committed"

say "an agent of your own: a script that edits a file in a git clone, run by dispatch"
git init --quiet --initial-branch main "$place/website"
cd "$place/website"
git config user.name demo
git config user.email demo@example.org
echo "Welcom" > index.txt
git add index.txt
git commit --quiet --message "The page"
git clone --quiet "$place/website" "$place/clone"
cd "$place/clone"
git config user.name demo
git config user.email demo@example.org
"$agentic_watch" dispatch --task "Mend the spelling" --agent script --org oss --workspace oss/website/spelling -- \
    sh -c 'git checkout --quiet -b agent/spelling && sed -i s/Welcom$/Welcome/ index.txt && git commit --quiet -am Spelling'
cat "$place/workspaces/oss/website/spelling/.meta/status.json" && echo
wait_for "oss/website/spelling: committed"

say "SIGTERM: the daemon ends with status 0"
kill "$daemon"
wait "$daemon" && echo "exit 0"
daemon=

say "one pass over everything: nothing left to do"
"$agentic_watch" --once

say "the journal line and the marker of task-102"
cat "$task/.meta/journal.jsonl" "$task/.meta/commit.json"
echo

say "the history"
"$agentic_watch" history
