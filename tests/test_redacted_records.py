"""Secrets never get into the record: line, row, findings, search, log or answer; and that changes nothing else."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Service
from support import Host, make, run

TOKEN = "ghp_" + "Ab3" * 12
BEARER = "Authorization: Bearer " + "0a1b2c3d" * 5
LOOKED_FOR = (TOKEN, "0a1b2c3d0a1b2c3d", "hunter2hunter2")
SECRETS: dict[str, Any] = {
    "agent": f"codex:{TOKEN}",
    "repo": f"billing-{TOKEN}",
    "org": f"acme-{TOKEN}",
    "branch": f"agent/{TOKEN}",
    "process_id": TOKEN,
    "pr_url": "https://bot:hunter2hunter2@github.com/acme/billing/pull/7",
    "task": f"Use {TOKEN} to push",
    "question": f"curl -H '{BEARER}' was refused; is it still good?",
    "status": "blocked",
}
REPORT = {
    "passed": False,
    "findings": [{"tool": "gitleaks", "title": "leak", "message": f"found {TOKEN}", "file": "a.py", "line": 3}],
    "changes": {"files_changed": 1, "note": TOKEN},
    "log": [{"deep": [f"git clone https://bot:hunter2hunter2@github.com/acme/billing {BEARER}"]}],
    "env": {TOKEN: "as a key"},
}


def everything(host: Host) -> bytes:
    """All bytes of the journals, markers, and of the history with its log."""
    files = [
        *host.root.rglob(".meta/journal.jsonl"),
        *host.root.rglob(".meta/commit.json"),
        *host.history.parent.iterdir(),
    ]
    return b"\0".join(file.read_bytes() for file in files if file.is_file())


def configured(host: Host, table: str) -> list[str]:
    """Options that name a configuration with this [redact]."""
    file = host.base / "config.toml"
    file.write_text(f"[[roots]]\npath = '{host.root}'\n[history]\npath = '{host.history}'\n{table}\n")
    return ["--config", str(file)]


def test_no_record_has_a_secret(tmp_path: Path) -> None:
    """Marks stand in line, row, findings and search, and no byte of a secret is in any file or answer."""
    host = Host.make(tmp_path)
    workspace = make(host.root, report=REPORT, **SECRETS)
    once = host.once()
    assert once.counts == {"scanned": 1, "committed": 1}
    assert not any(text.encode() in everything(host) for text in LOOKED_FOR)
    line = workspace.line()
    assert line["task"] == "Use [redacted:github-token] to push"
    assert line["pr_url"] == "https://[redacted:url-userinfo]@github.com/acme/billing/pull/7"
    assert line["agent"] == "codex:[redacted:github-token]"
    assert line["report"]["env"] == {"[redacted:github-token]": "as a key"}
    assert line["findings"] == line["report"]["findings"]
    row = host.rows()["org/repo/task"]
    assert {name: row[name] for name in ("task", "question", "branch")} == {
        name: line[name] for name in ("task", "question", "branch")
    }
    assert host.query("SELECT message FROM findings")[0]["message"] == "found [redacted:github-token]"
    for arguments in (
        ["history", "-n", "0", "--json"],
        ["show", "org/repo/task", "--json"],
        ["status", "--json"],
        ["export"],
    ):
        shown = run([*host.arguments(), *arguments], host.base)
        assert shown.returncode == 0
        assert not any(text in shown.stdout + shown.stderr for text in LOOKED_FOR)


def test_redaction_alone_is_no_difference(tmp_path: Path) -> None:
    """A second look finds it committed; `show` and `check` see no difference, though the secrets are still there."""
    host = Host.make(tmp_path)
    make(host.root, report=REPORT, **SECRETS)
    host.once()
    again = host.once()
    assert (again.counts, again.stderr) == ({"scanned": 1, "skipped": 1}, "")
    (host.root / "org/repo/task/.meta/commit.json").unlink()
    without_marker = host.once()
    assert (without_marker.counts, without_marker.stderr) == ({"scanned": 1, "skipped": 1}, "")
    shown = json.loads(run([*host.arguments(), "show", "org/repo/task", "--json"], host.base).stdout)
    assert shown["on_disk"]["committed"] is True
    assert shown["on_disk"]["differences"] == []
    assert "differ" not in run([*host.arguments(), "check"], host.base).stdout


def test_another_question_is_a_difference_all_the_same(tmp_path: Path) -> None:
    """What says otherwise beside the secret is told."""
    host = Host.make(tmp_path)
    workspace = make(host.root, **SECRETS)
    host.once()
    workspace.write_status(**{**SECRETS, "question": f"something else, {TOKEN}"})
    assert "differs from what was recorded" in host.once().stderr


def test_a_rebuilt_history_is_the_same(tmp_path: Path) -> None:
    """From the journal come the same rows, findings and search."""
    host = Host.make(tmp_path)
    make(host.root, report=REPORT, **SECRETS)
    host.once()
    columns = "task, question, agent, model, pr_url, report, committed_at, commit_id, findings_count"
    sql = f"SELECT {columns} FROM dispatch_history"
    before = [tuple(row) for row in host.query(sql)]
    host.forget_history()
    assert host.once().counts == {"scanned": 1, "skipped": 1, "recovered_rows": 1}
    assert [tuple(row) for row in host.query(sql)] == before
    assert not any(text.encode() in everything(host) for text in LOOKED_FOR)


def test_a_line_of_another_program_becomes_a_row_without_its_secrets(tmp_path: Path) -> None:
    """Its line stays as it was written, and nothing is appended beside it."""
    host = Host.make(tmp_path)
    workspace = make(host.root, report=REPORT, **SECRETS)
    host.once(*configured(host, "[redact]\nenabled = false"))
    # JSON has more than one way to write a character.
    written = workspace.journal.read_bytes().replace(b"ghp_", b"\\u0067hp_").replace(b"://", b":\\/\\/")
    workspace.journal.write_bytes(written)
    host.forget_history()
    once = host.once()
    assert once.counts == {"scanned": 1, "skipped": 1, "recovered_rows": 1}
    assert once.stderr == ""
    assert workspace.journal.read_bytes() == written
    assert not any(text in str(tuple(host.rows()["org/repo/task"])) for text in LOOKED_FOR)


@pytest.mark.parametrize("before", ["\n", "\t", '"', "\\"])
def test_what_is_escaped_before_a_secret_hides_none(tmp_path: Path, before: str) -> None:
    """In a line a newline is two characters, of which the second is a letter; a rebuild and an import see that."""
    host = Host.make(tmp_path)
    secret = f"push with{before}{TOKEN}"
    make(host.root, status="failed", task=secret, question=secret, report={"log": [secret]})
    host.once(*configured(host, "[redact]\nenabled = false"))
    archive, other = tmp_path / "archive.jsonl", tmp_path / "other.db"
    archive.write_text(run([*host.arguments(), "export"], host.base).stdout)
    host.forget_history()
    assert host.once().counts["recovered_rows"] == 1
    assert TOKEN not in str(tuple(host.rows()["org/repo/task"]))
    assert run(["--history", str(other), "import", str(archive)], host.base).returncode == 0
    assert TOKEN.encode() not in other.read_bytes()


def test_what_was_recorded_before_is_not_recorded_again(tmp_path: Path) -> None:
    """A row and a line from before secrets were looked for are of the same dispatch, moved or not."""
    host = Host.make(tmp_path)
    make(host.root, report=REPORT, **SECRETS)
    host.once(*configured(host, "[redact]\nenabled = false"))
    first = host.once()
    assert (first.counts, first.stderr) == ({"scanned": 1, "skipped": 1}, "")
    (host.root / "org/repo/task").rename(host.root / "org/repo/elsewhere")
    moved = host.once()
    assert (moved.counts, moved.stderr) == ({"scanned": 1, "skipped": 1}, "")
    assert host.rows()["org/repo/task"]["moved_to"] == "org/repo/elsewhere"


def test_own_patterns_and_none(tmp_path: Path) -> None:
    """[redact] adds patterns, and can leave all as it is."""
    host = Host.make(tmp_path)
    make(host.root, "own", task=f"ticket ABC-1234 {TOKEN}")
    host.once(*configured(host, "[redact.patterns]\nticket = 'ABC-[0-9]+'"))
    assert host.rows()["own"]["task"] == "ticket [redacted:ticket] [redacted:github-token]"
    make(host.root, "none", task=f"ticket ABC-1234 {TOKEN}")
    host.once(*configured(host, "[redact]\nenabled = false"))
    assert host.rows()["none"]["task"] == f"ticket ABC-1234 {TOKEN}"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("[redact]\nenabled = 'no'", "redact.enabled: must be true or false"),
        ("[redact]\npatterns = ['a']", "redact.patterns: must be a table"),
        ("[redact.patterns]\nx = '('", "is not a valid regular expression: missing )"),
        ("[redact.patterns]\nx = 'a*'", "matches the empty text"),
        ("[redact.patterns]\nx = '(?:[a-z]+-)+x'", "repeats a repetition"),
        ("[redact.patterns]\nx = 7", "must be a regular expression in quotes"),
        ("[redact.patterns]\n'a b' = 'x'", "is not a valid name of a pattern"),
        ("[redact]\nenable = true", "did you mean enabled?"),
    ],
)
def test_a_bad_pattern_is_told(tmp_path: Path, table: str, problem: str) -> None:
    """Each with its key path, and exit status 78."""
    host = Host.make(tmp_path)
    checked = run([*configured(host, table), "config", "check"], host.base)
    assert checked.returncode == 78
    assert problem in checked.stderr
    assert "redact" in checked.stderr


def test_a_reload_takes_new_patterns(tmp_path: Path) -> None:
    """After SIGHUP the daemon looks for what the file says now."""
    host = Host.make(tmp_path)
    with Service(host) as service:
        service.wait_committed(make(host.root, "first", task="ABC-1"))
        with service.config_file.open("a") as file:
            file.write("\n[redact.patterns]\nticket = 'ABC-[0-9]+'\n")
        service.signal(signal.SIGHUP)
        service.wait_log("reloaded")
        service.wait_committed(make(host.root, "second", task="ABC-2"))
    assert {name: row["task"] for name, row in host.rows().items()} == {"first": "ABC-1", "second": "[redacted:ticket]"}


def test_an_import_leaves_secrets_out(tmp_path: Path) -> None:
    """An archive from before secrets were looked for brings none back."""
    host = Host.make(tmp_path)
    make(host.root, report=REPORT, **SECRETS)
    host.once(*configured(host, "[redact]\nenabled = false"))
    archive = tmp_path / "archive.jsonl"
    exported = run([*host.arguments(), "export"], host.base).stdout
    assert TOKEN in exported
    archive.write_text(exported)
    for file in (archive, host.history):
        other = tmp_path / "other" / f"{file.name}.db"
        assert run(["--history", str(other), "import", str(file)], host.base).returncode == 0
        assert host.query("SELECT count(*) FROM dispatch_history", history=other)[0][0] == 1
        assert not any(text.encode() in other.read_bytes() for text in LOOKED_FOR)
