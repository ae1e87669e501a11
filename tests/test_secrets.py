"""Secrets are taken out of texts: each documented form, hardly anything else, always the same, in linear time."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import sysconfig
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from agentic_watch.workspace.redactor import Redactor, mark
from agentic_watch.workspace.secret_forms import FORMS

REDACTOR = Redactor()
CHANCE = random.Random(20261130)
LETTERS, ALNUM, HEX = string.ascii_letters, string.ascii_letters + string.digits, "0123456789abcdef"
URLSAFE, BASE64, BASE32 = ALNUM + "_-", ALNUM + "+/", string.ascii_uppercase + "234567"


def some(alphabet: str, count: int) -> str:
    """So many random characters, with a digit where the alphabet has one."""
    made = "".join(CHANCE.choice(alphabet) for _ in range(count))
    return made[: count - 1] + "7" if "7" in alphabet else made


def part(value: dict[str, object]) -> str:
    """A part of a JSON Web Token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def private_key(kind: str, end: str = "\n") -> str:
    """A block as openssl and ssh-keygen write it."""
    lines = [some(BASE64, 64) for _ in range(12)]
    return end.join([f"-----BEGIN {kind}-----", *lines, some(BASE64, 40) + "==", f"-----END {kind}-----"])


# Nothing here is a key: they are made of chance when the tests run.
MADE_UP: dict[str, list[tuple[str, str]]] = {
    "private-key": [
        ("", private_key("RSA PRIVATE KEY")),
        ("", private_key("OPENSSH PRIVATE KEY")),
        ("", private_key("PRIVATE KEY", "\\n")),
        ("", private_key("PGP PRIVATE KEY BLOCK", "\n+")),
    ],
    "jwt": [
        ("", f"{part({'alg': 'HS256'})}.{part({'sub': 'me'})}.{some(URLSAFE, 43)}"),
        (
            "",
            ".".join([part({"alg": "RSA-OAEP"}), *(some(URLSAFE, count) for count in (80, 16, 60, 22))]),
        ),
    ],
    "anthropic-key": [("", f"sk-ant-api03-{some(URLSAFE, 93)}AA"), ("", f"sk-ant-oat01-{some(URLSAFE, 93)}AA")],
    "openrouter-key": [("", f"sk-or-v1-{some(HEX, 64)}")],
    "openai-key": [
        ("", f"sk-{some(ALNUM, 20)}T3BlbkFJ{some(ALNUM, 20)}"),
        ("", f"sk-proj-{some(URLSAFE, 74)}T3BlbkFJ{some(URLSAFE, 74)}"),
        ("", f"sk-svcacct-{some(URLSAFE, 74)}"),
    ],
    "google-api-key": [("", f"AIza{some(URLSAFE, 35)}")],
    "google-oauth": [("", f"ya29.{some(URLSAFE, 150)}"), ("", f"GOCSPX-{some(URLSAFE, 28)}")],
    "github-token": [
        *(("", f"gh{letter}_{some(ALNUM, 36)}") for letter in "pousr"),
        ("", f"github_pat_{some(ALNUM, 22)}_{some(ALNUM, 59)}"),
    ],
    "gitlab-token": [("", f"glpat-{some(URLSAFE, 20)}"), ("", f"glpat-{some(URLSAFE, 27)}.01.{some('0123abc', 9)}")],
    "aws-access-key": [
        ("", f"AKIA{some(BASE32, 16)}"),
        ("", f"ASIA{some(BASE32, 16)}:{some(BASE64, 40)}"),
    ],
    "aws-secret-key": [
        ("aws_secret_access_key = ", some(BASE64, 40)),
        ('"SecretAccessKey": "', some(BASE64, 40)),
        ("AWS_SESSION_TOKEN=", some(BASE64, 300) + "=="),
    ],
    "aws-bedrock-key": [("", f"ABSK{some(BASE64, 128)}")],
    "slack-token": [
        ("", f"xoxb-{some(string.digits, 12)}-{some(string.digits, 12)}-{some(ALNUM, 24)}"),
        ("", f"xapp-1-A{some(string.digits, 10)}-{some(string.digits, 13)}-{some(HEX, 64)}"),
    ],
    "slack-webhook": [("https://hooks.slack.com/services/", f"T{some(ALNUM, 8)}/B{some(ALNUM, 8)}/{some(ALNUM, 24)}")],
    "stripe-key": [
        ("", f"sk_live_{some(ALNUM, 24)}"),
        ("", f"rk_test_{some(ALNUM, 99)}"),
        ("", f"whsec_{some(ALNUM, 32)}"),
    ],
    "npm-token": [("", f"npm_{some(ALNUM, 36)}"), ("//registry.npmjs.org/:_authToken=", str(uuid.UUID(int=7 << 99)))],
    "pypi-token": [("", f"pypi-AgEIcHlwaS5vcmc{some(URLSAFE, 80)}")],
    "huggingface-token": [("", f"hf_{some(LETTERS, 34)}")],
    "groq-key": [("", f"gsk_{some(ALNUM, 52)}")],
    "xai-key": [("", f"xai-{some(ALNUM, 80)}")],
    "perplexity-key": [("", f"pplx-{some(ALNUM, 48)}")],
    "replicate-token": [("", f"r8_{some(ALNUM, 37)}")],
    "langsmith-key": [("", f"lsv2_pt_{some(HEX, 32)}_{some(HEX, 10)}")],
    "databricks-token": [("", f"dapi{some(HEX, 32)}")],
    "azure-key": [("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=", f"{some(BASE64, 86)}==")],
    "digitalocean-token": [("", f"dop_v1_{some(HEX, 64)}")],
    "docker-token": [("", f"dckr_pat_{some(URLSAFE, 27)}")],
    "vault-token": [("", f"hvs.{some(URLSAFE, 90)}")],
    "terraform-token": [("", f"{some(ALNUM, 14)}.atlasv1.{some(URLSAFE, 67)}")],
    "grafana-token": [("", f"glsa_{some(ALNUM, 32)}_{some(HEX, 8)}")],
    "atlassian-token": [("", f"ATATT3xFfGF0{some(URLSAFE, 160)}=1A2B3C4D")],
    "sentry-token": [("", f"sntrys_{some(BASE64, 150)}")],
    "linear-key": [("", f"lin_api_{some(ALNUM, 40)}")],
    "sendgrid-key": [("", f"SG.{some(URLSAFE, 22)}.{some(URLSAFE, 43)}")],
    "telegram-token": [("", f"{some(string.digits, 9)}:AA{some(URLSAFE, 33)}")],
    "discord-webhook": [(f"https://discord.com/api/webhooks/{some(string.digits, 18)}/", some(URLSAFE, 68))],
    "rubygems-key": [("", f"rubygems_{some(HEX, 48)}")],
    "tailscale-key": [("", f"tskey-auth-{some(ALNUM, 12)}-{some(ALNUM, 32)}")],
    "age-key": [("", f"AGE-SECRET-KEY-1{some(string.ascii_uppercase + string.digits, 58)}")],
    "authorization": [
        ("Authorization: Bearer ", some(URLSAFE, 40)),
        ('"authorization": "token ', some(HEX, 40)),
        ("Proxy-Authorization: Basic ", base64.b64encode(b"deploy:" + some(ALNUM, 12).encode()).decode()),
    ],
    "api-key-header": [("x-api-key: ", some(ALNUM, 32)), ("PRIVATE-TOKEN: ", some(ALNUM, 20))],
    "url-userinfo": [
        ("postgresql://", f"app:{some(ALNUM, 12)}@"),
        ("https://", f"{some(HEX, 40)}@"),
        ("redis://", f":{some(ALNUM, 9)}@"),
    ],
}
ALL = [(kind, before, secret) for kind, cases in MADE_UP.items() for before, secret in cases]


def test_each_form_has_a_made_up_secret() -> None:
    """No form of the table goes untested, and each names the document that has it."""
    assert {form.kind for form in FORMS} == MADE_UP.keys()
    assert all(form.source and form.literals for form in FORMS)


@pytest.mark.parametrize(("kind", "before", "secret"), ALL, ids=[f"{kind}-{n}" for n, (kind, _, _) in enumerate(ALL)])
def test_a_secret_is_taken_out(kind: str, before: str, secret: str) -> None:
    """What stands around it stays, wherever it stands; doing so once more changes nothing."""
    for start, end in (("", ""), ("see ", " and go on"), ('{"a": "', '"}'), ("line\n", "\nline")):
        text = f"{start}{before}{secret}{end}"
        redacted = REDACTOR.text(text)
        assert secret.rstrip("@") not in redacted
        assert redacted.startswith(start + before)
        assert redacted.endswith(end)
        assert mark(kind) in redacted
        assert len(redacted) < len(start + before + end) + len(mark(kind)) + 2  # the @ of a URL
        assert REDACTOR.text(redacted) == redacted


def test_the_end_of_a_private_key_is_one() -> None:
    """A log that is kept from some line on may begin inside of a key."""
    rest = private_key("EC PRIVATE KEY").partition("\n")[2]
    assert REDACTOR.text(f"{rest}\nok") == "[redacted:private-key]\nok"
    assert REDACTOR.text(f"a log\n{rest}") == "a log\n[redacted:private-key]"
    assert REDACTOR.text("ok\n-----END EC PRIVATE KEY-----") == "ok\n-----END EC PRIVATE KEY-----"


def test_many_secrets_beside_each_other() -> None:
    """However they stand side by side, what is left holds none, and stays as it is."""
    for _ in range(300):
        chosen = CHANCE.sample(ALL, 4)
        text = CHANCE.choice(["", " ", "\n", "_", "-", ":", "/", "="]).join(
            before + secret for _, before, secret in chosen
        )
        once = REDACTOR.text(text)
        assert "[redacted:" in once
        assert REDACTOR.text(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "git@github.com:acme/billing.git and ssh://git@github.com/acme/billing",
        "postgres://user:password@localhost/db, https://${USER}:${TOKEN}@host, http://%s:%s@%s/",
        "Authorization: Bearer $TOKEN; Authorization: Bearer <token>; Authorization: Basic realm",
        'headers["Authorization"] = f"Bearer {token}"',
        "AKIAIOSFODNN7EXAMPLE",
        "if line.startswith('-----BEGIN RSA PRIVATE KEY-----'): return True",
        "task-0123456789abcdef0123456789abcdef desk-0123456789abcdef0123456789abcdefghijkl",
        "commit 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "[redacted:github-token] and [redacted:url-userinfo]@host",
        "x-api-key: ${ANTHROPIC_API_KEY}",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Examples, variables, hashes and what was redacted before."""
    assert REDACTOR.text(text) == text


def _sources() -> list[str]:
    """The standard library but for its tests, which hold real private keys."""
    library = Path(sysconfig.get_paths()["stdlib"])
    return [
        file.read_text("utf-8", "replace")
        for file in sorted(library.rglob("*.py"))
        if not {"test", "tests", "site-packages"} & set(file.relative_to(library).parts)
    ]


def _made() -> list[str]:
    """Hashes, UUIDs, pictures, lock files and diffs."""
    bytes_at_once = [CHANCE.randbytes(3_000) for _ in range(400)]
    digests = [hashlib.sha256(data).hexdigest() for data in bytes_at_once]
    pictures = [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in bytes_at_once]
    wrapped = [base64.encodebytes(data).decode() for data in bytes_at_once]
    urlsafe = [base64.urlsafe_b64encode(data).decode() for data in bytes_at_once]
    uuids = [str(uuid.UUID(int=CHANCE.getrandbits(128))) for _ in range(20_000)]
    locks = [f'"integrity": "sha512-{base64.b64encode(CHANCE.randbytes(64)).decode()}"' for _ in range(10_000)]
    diffs = [f"index {digest[:7]}..{digest[7:14]} 100644\n-{digest}\n+{digest[::-1]}" for digest in digests]
    return [*pictures, *wrapped, *urlsafe, "\n".join(digests), "\n".join(uuids), "\n".join(locks), "\n".join(diffs)]


@pytest.mark.parametrize("texts", [_sources, _made])
def test_false_alarms_are_rare(texts: Callable[[], list[str]]) -> None:
    """At most one in 10 MB of what agents write about all day."""
    corpus = texts()
    size = sum(map(len, corpus))
    found = sum(REDACTOR.text(text).count("[redacted:") - text.count("[redacted:") for text in corpus)
    assert size > 4_000_000
    assert found <= max(1, size // 10_000_000)


HOSTILE = {
    "a": "a",
    "spaces": " ",
    "begins": "-----BEGIN RSA PRIVATE KEY-----",
    "ends": "-----END RSA PRIVATE KEY-----\n",
    "key lines": "A" * 64 + "\n",
    "half keys": "-----BEGIN RSA PRIVATE KEY-----" + "\nA" * 40,
    "tokens' beginnings": "ghp_sk-ant-sk-proj-glpat-xoxb-AKIAeyJ",
    "halves of tokens": "eyJ" + "a" * 20 + ".",
    "schemes": "://",
    "users": "://a:",
    "no host": "://" + "a:b" * 40,
    "headers": "Authorization: Bearer ",
    "api keys": "x-api-key: a",
    "secrets": "SecretAccessKey = 'AKIA",
    "marks": "[redacted:",
    "webhooks": "hooks.slack.com/services/",
    "equal signs": "AccountKey=:_authToken=",
    "words": "PRIVATE KEY-----aaaaaaaaaaaaaaaaaaaaaaaaa\n",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_grows_with_the_text_only(piece: str) -> None:
    """Eight times as much takes about eight times as long, never its square, whatever it holds (CPU time)."""

    def seconds(size: int) -> float:
        text = "ghp_ eyJ PRIVATE KEY----- :// sk- " + piece * (size // len(piece))
        started = time.process_time()
        REDACTOR.text(text)
        return time.process_time() - started

    seconds(10_000)  # compiles
    small, large = max(seconds(1 << 18), 0.005), seconds(1 << 21)
    assert large < 40 * small


def test_a_json_value_keeps_its_shape() -> None:
    """Texts at any depth and keys are redacted; numbers, order and plain keys stay; what holds none is the same."""
    token = f"ghp_{some(ALNUM, 36)}"
    value = {"findings": [{"message": f"leaks {token}", "line": 3}], "env": {token: 1, f"x{token} ": 2}, "ok": True}
    redacted = REDACTOR.value(value)
    assert list(redacted) == ["findings", "env", "ok"]
    assert redacted["findings"] == [{"message": "leaks [redacted:github-token]", "line": 3}]
    assert redacted["ok"] is True
    assert redacted["env"]["[redacted:github-token]"] == 1
    assert REDACTOR.value(redacted) == redacted
    plain = {"tools": ["ruff"], "n": [1, None]}
    assert REDACTOR.value(plain) is plain


def test_a_value_is_redacted_as_its_texts_are() -> None:
    """What is looked for in all texts at once is what is looked for in each."""
    for _ in range(200):
        chosen = [before + secret for _, before, secret in CHANCE.sample(ALL, 3)]
        texts = ["task-1 at https://github.com/a/b", *chosen, "nothing"]
        assert REDACTOR.value(texts) == [REDACTOR.text(text) for text in texts]


def test_a_key_tells_what_its_value_is() -> None:
    """A header or a variable, as a report may hold it."""
    secret = some(BASE64, 40)
    value = {"AWS_SECRET_ACCESS_KEY": secret, "authorization": f"Bearer {some(ALNUM, 30)}", "sha": some(HEX, 40)}
    redacted = REDACTOR.value({"env": value})["env"]
    assert redacted["AWS_SECRET_ACCESS_KEY"] == "[redacted:aws-secret-key]"
    assert redacted["authorization"] == "Bearer [redacted:authorization]"
    assert redacted["sha"] == value["sha"]
    assert REDACTOR.value(redacted) == redacted


def test_two_keys_of_one_kind_stay_two() -> None:
    """No value is lost when two secret keys become the same mark."""
    made = {f"ghp_{some(ALNUM, 36)}": number for number in range(3)}
    redacted = REDACTOR.value(made)
    assert sorted(redacted.values()) == [0, 1, 2]
    assert REDACTOR.value(redacted) == redacted


def test_patterns_of_the_operator() -> None:
    """They are looked for beside what is built in, and never in a mark; a plain key is no text of theirs."""
    own = Redactor([("word", r"[a-z]{4,}"), ("number", r"\d{4}")])
    once = own.text(f"abcde 1234 ghp_{some(ALNUM, 36)}")
    assert once == "[redacted:word] [redacted:number] [redacted:github-token]"
    assert own.text(once) == once
    assert own.value({"findings": ["abcde"]}) == {"findings": ["[redacted:word]"]}


def test_what_was_redacted_is_the_same_text() -> None:
    """A record agrees with its status, however much was taken out of the one or the other."""
    token = f"ghp_{some(ALNUM, 36)}"
    now = REDACTOR.text(f"use {token} for this")
    assert REDACTOR.is_same(f"use {token} for this", now)  # recorded before secrets were looked for
    assert REDACTOR.is_same("use [redacted:github-token] for [redacted:text]", now)  # by hand, afterwards
    assert REDACTOR.is_same("[redacted:text]", "all of it")
    assert not REDACTOR.is_same("use [redacted:github-token] for that", now)
    assert not REDACTOR.is_same("use", now)
