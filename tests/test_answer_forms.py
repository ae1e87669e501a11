"""Each answer in each form: JSON, CSV and a table say the same, `-n` cuts them all, nothing found has a form, too."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from typing import Any

import pytest
from support import Host, make, run

ANSWERS: dict[str, list[str]] = {
    "history": [],
    "stats": ["--by", "repo"],
    "stats --compare": ["--by", "agent"],
    "failures": [],
    "findings": [],
    "findings --new": [],
}
"""Every command whose answer has rows, with the options that give it at least two here."""
SINGLE = ("status", "show", "digest", "check")
"""Those whose answer is one document, not rows."""
AGENTS = ("a", "b")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A history with at least two rows for every answer: two agents that got worse, failures, new findings."""
    host = Host.make(tmp_path_factory.mktemp("asked"))
    for agent in AGENTS:
        for number in range(50):
            day, ended = (5, "completed") if number < 25 else (15, "failed")
            make(
                host.root, f"acme/{agent}/task-{number}", agent=agent, org="acme", repo=f"repo-{agent}",
                status=ended, question="" if ended == "completed" else f"cause {agent}: =cmd", runs=1,
                updated_at=f"2026-04-{day:02}T10:{number:02}:00Z",
                report={"findings": [{"tool": f"tool-{agent}", "rule_id": f"{day}-{number == 49}", "file": "f"}]},
            )  # fmt: skip
    assert host.once().counts["committed"] == 100
    return host


def ask(host: Host, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """The answer over the days in which all of it lies."""
    words = name.split()
    if "--compare" in words:
        words += ["10d", "--until", "2026-04-20"]
    return run([*host.arguments(), *words, *ANSWERS.get(name, []), *options], host.base)


def rows_of_json(name: str, text: str) -> list[Any]:
    """The rows of an answer: those of its document, or one a line."""
    rows: list[Any] = (
        [json.loads(line) for line in text.splitlines()] if name == "history" else json.loads(text)["rows"]
    )
    return rows


def rows_of_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("name", ANSWERS)
def test_json_and_csv_have_the_same_rows(asked: Host, name: str) -> None:
    """As many rows, in the same order, under the same names where a value is plain."""
    as_json = rows_of_json(name, ask(asked, name, "--json", "-n", "0").stdout)
    as_csv = rows_of_csv(ask(asked, name, "--csv", "-n", "0").stdout)
    assert len(as_json) == len(as_csv) >= 2
    plain = [key for key, value in as_json[0].items() if isinstance(value, (str, int)) and key in as_csv[0]]
    assert plain
    for one, other in zip(as_json, as_csv, strict=True):
        for key in plain:
            value = one[key]
            assert other[key] == (
                "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            )


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("form", ["--json", "--csv", ""])
def test_n_cuts_every_form_alike(asked: Host, name: str, form: str) -> None:
    """`-n 1` leaves one row of two in JSON and CSV, says so on stderr, and JSON still says how many there are."""
    result = ask(asked, name, "-n", "1", *filter(None, [form]))
    assert (result.returncode, "-n 0 shows all" in result.stderr) == (0, True), result.stderr
    if form == "--json":
        assert len(rows_of_json(name, result.stdout)) == 1
        if name != "history":
            assert json.loads(result.stdout)["rows_count"] >= 2
    elif form == "--csv":
        assert len(rows_of_csv(result.stdout)) == 1
    whole = ask(asked, name, "-n", "0", *filter(None, [form]))
    assert len(whole.stdout) > len(result.stdout)
    assert "-n 0" not in whole.stderr


@pytest.mark.parametrize("name", ANSWERS)
def test_nothing_found_is_an_answer_in_every_form(asked: Host, name: str) -> None:
    """JSON has no rows, CSV has its header and nothing below, and the exit status is 0."""
    none = ["--repo", "no-such-repository"]
    as_json = ask(asked, name, "--json", *none)
    assert (as_json.returncode, rows_of_json(name, as_json.stdout)) == (0, [])
    as_csv = ask(asked, name, "--csv", *none)
    header, *below = as_csv.stdout.splitlines()
    assert (as_csv.returncode, below) == (0, [])
    whole = ask(asked, name, "--csv").stdout.splitlines()[0]
    assert header == whole
    assert ask(asked, name, *none).returncode == 0


@pytest.mark.parametrize("name", ANSWERS)
def test_two_forms_at_once_are_refused(asked: Host, name: str) -> None:
    """`--json` and `--csv` exclude each other everywhere."""
    result = ask(asked, name, "--json", "--csv")
    assert (result.returncode, result.stdout) == (2, "")
    assert "--json and --csv exclude each other" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["findings", "--new", "--by", "file"], "--by"),
        (["findings", "--new", "--gone"], "exclude each other"),
        (["stats", "--compare", "7d", "--since", "2026-04-01"], "--compare excludes --since"),
        (["stats", "--html", "page.html"], "No such option"),
        (["status", "--watch"], "No such option"),
    ],
)
def test_what_cannot_be_honoured_is_refused(asked: Host, options: list[str], words: str) -> None:
    """No option is ignored in silence."""
    result = run([*asked.arguments(), *options], asked.base)
    assert (result.returncode, result.stdout, words in result.stderr) == (2, "", True), result.stderr


@pytest.mark.parametrize("name", [*ANSWERS, *SINGLE])
def test_one_form_of_keys(asked: Host, name: str) -> None:
    """Counts end in _count, absent is null and never "", rows stand under `rows`, a cause is `error`."""
    words = ["acme/a/task-1"] if name == "show" else ["--since", "2026-04-01"] if name == "digest" else []
    text = ask(asked, name, *words, "--json").stdout
    documents = [json.loads(line) for line in text.splitlines()] if name == "history" else [json.loads(text)]
    for document in documents:
        assert document["schema"] == 2
        document.pop("counts", None)  # by what a status is called
        for key, value in leaves(document):
            assert value != "" or key == "says", key
            assert key not in ("last_error", "looked_at", "count", "problems", "faults", "outcome"), key
            if key in ("findings", "dispatches", "commits", "repositories", "passed_of", "waiting", "failed"):
                assert not isinstance(value, int) or isinstance(value, bool), key


def leaves(value: Any, key: str = "") -> list[tuple[str, Any]]:
    """Every key whose value is plain, with it."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, name)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner, key)]
    return [(key, value)]


def test_columns_are_those_of_json(asked: Host) -> None:
    """Whatever key a line of `history --json` has can be asked for with --columns, `moved_to` too."""
    (line,) = ask(asked, "history", "--json", "-n", "1").stdout.splitlines()
    names = [name for name in json.loads(line) if name != "schema"]
    assert "moved_to" in names
    result = ask(asked, "history", "--csv", "-n", "1", "--columns", ",".join(names))
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, ",".join(names))


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "history"])
def test_filters_are_those_of_history(asked: Host, name: str) -> None:
    """`--workspace` and `--committed-since` narrow every answer."""
    for options in (["--workspace", "acme/a/no-such-task"], ["--committed-since", "2999-01-01"]):
        assert rows_of_json(name, ask(asked, name, "--json", *options).stdout) == []


@pytest.mark.parametrize(
    "command",
    [
        ["history", "-n", "9" * 20],
        ["history", "--json", "-n", str(2**63 - 1)],
        ["findings", "--persistent", "9" * 20],
        ["dispatch", "begin", "--workspace", "o/r/t", "--issue", "9" * 20],
    ],
)
def test_a_number_that_nothing_can_count_to_is_a_usage_error(host: Host, command: list[str]) -> None:
    """And none is written into a status, which could never be committed."""
    make(host.root)
    host.once()
    done = run([*host.arguments(), *command], host.base)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("is too large\n")
    assert not (host.root / "o").exists()
