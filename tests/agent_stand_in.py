"""A stand-in for an agent's program: it takes the options of one version, and refuses all others.

`agent_stand_in.py PROGRAM WORDS…`: prints what was recorded ($RECORDED, a file; else the program's success), ends with
$RECORDED_STATUS, and does its work in the current directory only where its options allow it to write.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

AGENTS = Path(__file__).parent / "fixtures" / "agents"
SUCCESS = {
    "claude": "claude-2.1.197-result-success.json",
    "codex": "codex-0.171.0-exec-json.jsonl",
    "gemini": "gemini-0.61.0-stream.jsonl",
    "qwen": "qwen-0.15.10-json.json",
    "opencode": "opencode-1.18.33-run-json.jsonl",
    "mini": "mini-swe-agent-2.4.6-traj.json",
}
DENIED = {"claude": "claude-2.1.197-result-denied.json"}


def parsed(program: str, words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The options with their values, and the other words; ends with 2 at an option that is not known."""
    known = json.loads((AGENTS / "options.json").read_text("utf-8"))[program]
    takes = {option: count for count, options in known["options"].items() for option in options.split()}
    if "subcommand" in known and words[:1] == [known["subcommand"]]:
        words = words[1:]
    given: dict[str, list[str]] = {}
    others: list[str] = []
    while words:
        word, *words = words
        if not word.startswith("-"):
            others.append(word)
            continue
        option, has_value, value = word.partition("=")
        if option not in takes:
            sys.exit(f"error: unexpected argument '{option}' found\n\nUsage: {program} {known['version']}")
        values = given.setdefault(option, [])
        if has_value:
            values.append(value)
        elif takes[option] != "none":
            if not words:
                sys.exit(f"error: a value is required for '{option}'")
            values.append(words.pop(0))
            while takes[option] == "many" and words and not words[0].startswith("-"):
                values.append(words.pop(0))
    return given, others


def may_write(program: str, given: dict[str, list[str]]) -> bool:
    """Whether a program without a terminal is allowed to change files and to run commands by these options."""
    if program == "claude":
        mode = given.get("--permission-mode", ["default"])[-1]
        allowed = given.get("--allowedTools", []) + given.get("--allowed-tools", [])
        edits = mode in ("acceptEdits", "bypassPermissions") or {"Edit", "Write"} <= set(allowed)
        runs = mode == "bypassPermissions" or "Bash" in allowed
        return (edits and runs) or "--dangerously-skip-permissions" in given
    if program == "codex":
        return (given.get("-s") or given.get("--sandbox") or ["read-only"])[-1] != "read-only"
    if program in ("gemini", "qwen"):
        return given.get("--approval-mode") == ["yolo"] or "-y" in given or "--yolo" in given
    if program == "aider":
        return "--yes-always" in given
    return program == "opencode" or "-y" in given


def prompt_of(program: str, given: dict[str, list[str]], others: list[str]) -> str:
    """What the program is asked to do; "" when it would wait for somebody to type it."""
    if program == "claude":
        return others[0] if others and ("-p" in given or "--print" in given) else ""
    for option in ("-p", "--prompt", "-t", "--task", "--message"):
        if given.get(option) and program not in ("codex", "opencode"):
            return given[option][-1]
    return others[0] if others else ""


def main(program: str, words: list[str]) -> int:
    """Be the program."""
    given, others = parsed(program, words)
    prompt = prompt_of(program, given, others)
    if not prompt:
        sys.exit("error: no prompt was given")
    status = int(os.environ.get("RECORDED_STATUS", "0"))
    writes = may_write(program, given)
    recorded = os.environ.get("RECORDED", "")
    if not recorded and program in SUCCESS:
        recorded = str(AGENTS / (SUCCESS if writes else {**SUCCESS, **DENIED})[program])
    text = Path(recorded).read_text("utf-8") if recorded else "Tokens: 4.5k sent, 210 received.\n"
    if writes and not status and "RECORDED" not in os.environ:
        with Path("kept.txt").open("a", encoding="utf-8") as file:
            file.write(f"done: {prompt}\n")
    if program == "mini":
        Path(given["-o"][-1]).write_text(text, "utf-8")
    elif program == "aider" and "--test-cmd" in given and writes:
        Path(".aider.chat.history.md").write_text("history\n", "utf-8")
        os.system(given["--test-cmd"][-1])
        print(text, end="")
    else:
        print(text, end="")
    if program == "codex" and "-o" in given and not status:
        Path(given["-o"][-1]).write_text("CANNED FINAL", "utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
