#!/bin/sh
# aider with one message: aider.sh MESSAGE, run in the clone to work in. The tests it runs leave the report.
# It ends with 0 whatever the API said: what it printed decides. (Its own options are variables too, all of AIDER_*.)
set -eu

if [ -z "${AGENTIC_WATCH_WORKSPACE:-}" ]; then
    exec agentic-watch dispatch --task "$1" --agent "aider${AIDER_MODEL:+:$AIDER_MODEL}" \
        --usage aider.json --report junit.xml -- "$0" "$1"
fi

# Its histories and its cache are no work of its.
exclude=$(git rev-parse --git-path info/exclude)
mkdir -p "$(dirname "$exclude")"
grep -qxF '.aider*' "$exclude" 2> /dev/null || echo '.aider*' >> "$exclude"

log=$AGENTIC_WATCH_WORKSPACE/aider.log
code=0
aider --yes-always --no-stream --no-pretty --no-gitignore --no-check-update --auto-test \
    --test-cmd "${TEST_COMMAND:-pytest -q --junit-xml $AGENTIC_WATCH_WORKSPACE/junit.xml}" \
    --message "$1" > "$log" 2>&1 || code=$?
cat "$log"
python3 - "$log" > "$AGENTIC_WATCH_WORKSPACE/aider.json" <<'PYTHON'
import json, re, sys

text = open(sys.argv[1], encoding="utf-8", errors="replace").read()
errors = list(re.finditer(r"^litellm\.\w+: .*", text, re.MULTILINE))
costs = re.findall(r"\$([0-9.]+) session", text)
models = re.findall(r"^(?:Main model|Model): (\S+)", text, re.MULTILINE)
result = {"usage": {"models": models[:1], **({"cost_usd": float(costs[-1].rstrip("."))} if costs else {})}}
if errors and text.rfind("Tokens: ") < errors[-1].start():  # else another try went well
    result["error"] = errors[-1][0]
print(json.dumps(result))
PYTHON
exit "$code"
