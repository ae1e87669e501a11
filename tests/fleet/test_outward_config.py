"""`[[push]]` and `[[hooks]]` in the configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest
import support

from agentic_watch.config import Config, ConfigError, Hook, Overrides, Target, effective_values, parse

ROOT = '[[roots]]\npath = "/r"\n[history]\npath = "/h/history.db"\n'


def read(text: str, tmp_path: Path) -> Config:
    return parse(ROOT + text, "file", Overrides(), {"HOME": str(tmp_path), "SECRETS": "/run/secrets"})


def problems(text: str, tmp_path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, tmp_path)
    return [problem.removeprefix("file: ") for problem in caught.value.problems]


def test_targets_and_hooks_are_read(tmp_path: Path) -> None:
    """Every key of both tables arrives, with the defaults for what is not written."""
    config = read(
        """
        [[push]]
        name = "fleet"
        kind = "postgres"
        dsn_file = "$SECRETS/fleet.dsn"
        [[push]]
        name = "lead"
        kind = "http"
        url = "https://lead.example.org/"
        token_file = "lead-token"
        interval_seconds = 5
        statuses = ["failed", "blocked"]
        [[hooks]]
        on = ["failed"]
        command = ["/usr/bin/logger", "-t", "agents"]
        """,
        tmp_path,
    )
    assert config.push == (
        Target("fleet", "postgres", dsn_file="/run/secrets/fleet.dsn"),
        Target(
            "lead",
            "http",
            url="https://lead.example.org",
            token_file="lead-token",
            interval_seconds=5.0,
            statuses=frozenset({"failed", "blocked"}),
        ),
    )
    assert config.hooks == (Hook(frozenset({"failed"}), ("/usr/bin/logger", "-t", "agents")),)
    assert effective_values(config)["push[1].statuses"] == ["blocked", "failed"]
    assert config.origins["push[0].dsn_file"] == "file"
    assert config.origins["push[0].interval_seconds"] == "default"


def test_all_that_is_wrong_with_them_is_said_at_once(tmp_path: Path) -> None:
    """Each problem names its key and what to write instead, and none hides another."""
    found = problems(
        """
        [[push]]
        kind = "postgers"
        [[push]]
        name = "a b"
        kind = "http"
        dns_file = "x"
        [[push]]
        name = "fleet"
        kind = "http"
        dsn_file = "/x"
        [[push]]
        name = "fleet"
        kind = "postgres"
        url = "ftp://x"
        interval_seconds = 0
        [[hooks]]
        on = []
        command = "rm -rf /"
        [[hooks]]
        command = []
        """,
        tmp_path,
    )
    expected = [
        "push[0].kind: must be one of postgres, http, not 'postgers'; did you mean postgres?",
        'push[0].name: missing; write name = "fleet"',
        "push[1].name: 'a b' is not a valid name",
        "push[1].dns_file: unknown key; did you mean dsn_file?",
        "push[3].url: 'ftp://x' is not an address",
        "push[3].interval_seconds: must be from 1 to 86400 seconds, not 0",
        "hooks[0].on: is empty",
        'hooks[0].command: must be a list of strings; write ["rm -rf /"]',
        "hooks[1].command: is empty",
        'hooks[1].on: missing; write on = ["failed", "blocked"]',
        'push[1].url: missing; write url = "https://..."',
        'push[2].url: missing; write url = "https://..."',
        'push[2].dsn_file: goes with kind = "postgres" only; remove it',
        'push[3].url: goes with kind = "http" only; remove it',
        "push[3].name: 'fleet' is the name of another one already; choose another",
    ]
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


def test_what_is_wrong_with_one_key_hides_nothing_of_another(tmp_path: Path) -> None:
    """A second one of a name is told of also when the first cannot be used; what is there and wrong is not missing."""
    found = problems(
        """
        [[push]]
        name = "x"
        kind = "mysql"
        [[push]]
        name = "x"
        kind = "http"
        url = "ftp://x"
        """,
        tmp_path,
    )
    assert [problem.partition(";")[0] for problem in found] == [
        "push[0].kind: must be one of postgres, http, not 'mysql'",
        "push[1].url: 'ftp://x' is not an address",
        "push[1].name: 'x' is the name of another one already",
    ]


@pytest.mark.parametrize(
    "line",
    [
        'kind = "postgres"\ndsn_file = "postgresql://u:s3cret@host/db"',
        'kind = "postgres"\ndsn_file = "host=db password=s3cret"',
        'kind = "http"\nurl = "https://u:s3cret@host"',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(line: str, tmp_path: Path) -> None:
    """Where the secret itself was written instead of its file, the message does not show it."""
    (problem,) = [line for line in problems(f'[[push]]\nname = "fleet"\n{line}\n', tmp_path) if "missing" not in line]
    assert "file" in problem
    assert "s3cret" not in problem


def test_config_show_prints_them(host: support.Host) -> None:
    """`config show` prints where the secrets lie, not what they are."""
    secret = host.base / "dsn"
    secret.write_text("host=db password=s3cret", "utf-8")
    file = host.base / "config.toml"
    file.write_text(
        f'[[roots]]\npath = "{host.root}"\n[[push]]\nname = "fleet"\nkind = "postgres"\ndsn_file = "{secret}"\n',
        "utf-8",
    )
    result = support.run(["--config", str(file), "config", "show"], host.base)
    assert f'"{secret}"' in result.stdout
    assert "s3cret" not in result.stdout + result.stderr
