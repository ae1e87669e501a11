"""`agentic-watch digest`: half a page of Markdown, and nothing that an agent wrote is Markdown."""

import json
import time

import generated
from support import Host, run


def filled(host: Host) -> None:
    """Yesterday's dispatches: thirty passed, three failed for the same reason, one waits; before it all had failed."""
    now = int(time.time()) - 60
    finding = {"tool": "gosec", "code": "G304", "file": "a.go"}

    def commit(number: int, status: str, question: str = "", ago: int = 0, found: bool = False) -> generated.Record:
        return generated.record(
            workspace=f"acme/api/{status}-{number}",
            org="acme",
            repo="api",
            agent="codex",
            status=status,
            question=question,
            started_at=generated.at(now - ago - number - 90),
            updated_at=generated.at(now - ago - number),
            report={"passed": True, **({"findings": [finding]} if found else {})},
        )

    commits = [commit(number, "completed", found=number == 0) for number in range(30)]
    commits += [commit(number, "failed", f"exit status {number} <b>") for number in range(30, 33)]
    commits += [commit(33, "blocked", "Which *database*?")]
    commits += [commit(number, "failed", ago=3 * 86_400) for number in range(34, 54)]
    generated.fill(host.history, commits)


def test_digest(host: Host) -> None:
    """Counts, the rate beside the one before, why, who waits and what is new, in half a page."""
    filled(host)
    result = run([*host.arguments(), "digest", "--since", "2d"], host.base)
    assert (result.returncode, result.stderr) == (0, "")
    text = result.stdout
    assert "**34 ended**: 30 passed, 3 failed, 1 waits, 0 not judged." in text
    assert "91 % (30 of 33, 76–97 %), before 0 %" in text
    assert "- codex: 91 % (30 of 33, 76–97 %), median 1m30s" in text
    assert "- 3 × exit status N \\<b\\>, such as acme/api/failed-30" in text
    assert "- acme/api/blocked-33 (codex): Which \\*database\\*?" in text
    assert "### New findings: 1\n\n- acme/api: gosec G304 in a.go\n" in text
    assert len(text.splitlines()) <= 40


def test_digest_as_json_and_of_nothing(host: Host) -> None:
    """The same as a document; a span in which nothing ended is said in a line."""
    filled(host)
    document = json.loads(run([*host.arguments(), "digest", "--since", "2d", "--json"], host.base).stdout)
    assert (document["schema"], document["total"]["dispatches_count"], document["before"]["passed_count"]) == (2, 34, 0)
    assert [one["question"] for one in document["waiting"]] == ["Which *database*?"]
    nothing = run([*host.arguments(), "digest", "--since", "2999-01-01"], host.base).stdout
    assert "None ended; history starts at " in nothing
