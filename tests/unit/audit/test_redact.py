"""Secrets do not get into records; everything else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.audit.log import AuditLog
from luminaguard.audit.redact import REDACTED, is_secret_name, redacted, redacted_text
from luminaguard.domain.calls import JsonValue

SECRET = "hunter2-Zx9"


@pytest.mark.parametrize("name", [
    "password", "DB_PASSWORD", "dbPassword", "Authorization", "X-Api-Key", "apiKey", "api_key",
    "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "Cookie", "Set-Cookie", "clientSecret", "PRIVATE_KEY",
    "--token", "client-key", "MYSQL_PWD", "credentials",
])  # fmt: skip
def test_the_value_of_anything_named_like_a_secret_is_left_out(name: str) -> None:
    assert is_secret_name(name)
    bodies: list[dict[str, JsonValue]] = [
        {"env": {name: SECRET}},
        {"headers": [{"name": name, "value": SECRET}]},
        {"deep": [{"x": {name: {"inner": [SECRET]}}}]},
        {"text": f"{name}={SECRET} other"},
        {"text": f'"{name}": "{SECRET}"'},
    ]
    for body in bodies:
        assert SECRET not in str(redacted(body))


@pytest.mark.parametrize("name", [
    "author", "authority", "monkey", "keyboard", "path", "PWD", "HOME", "secretary", "tokenizer",
    "call_digest", "nonce", "hash", "public_key", "key", "bypass", "cookiecutter",
])  # fmt: skip
def test_harmless_names_keep_their_values(name: str) -> None:
    body = {name: "some value", "text": f"{name}=value"}
    assert redacted(body) == body


@pytest.mark.parametrize("argv", [
    ["curl", "--token", SECRET, "x"],
    ["curl", f"--password={SECRET}"],
    ["curl", "-H", f"Authorization: Token {SECRET}"],
    ["env", f"API_KEY={SECRET}", "make"],
    ["psql", f"postgres://user:{SECRET}@host/db"],
])  # fmt: skip
def test_secrets_in_argument_vectors_are_left_out(argv: list[str]) -> None:
    arguments: dict[str, JsonValue] = {"argv": [*argv], "command": " ".join(argv)}
    clean = redacted({"call": {"arguments": arguments}})
    assert SECRET not in str(clean)
    assert argv[0] in str(clean)


@pytest.mark.parametrize("token", [
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2" * 8,
    "glpat-" + "a1B2" * 5,
    "xoxb-" + "1234567890-abcdef",
    "sk-" + "ant-" + "a1B2" * 8,
    "AIza" + "a1B2" * 9,
    "npm_" + "a1B2" * 9,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n-----END OPENSSH PRIVATE KEY-----",
])  # fmt: skip
def test_tokens_of_known_shapes_are_found_in_any_text(token: str) -> None:
    clean = redacted_text(f"before '{token}' after")
    assert REDACTED in clean
    assert token[-8:] not in clean.replace("-----", "")
    assert clean.startswith("before '")


@given(st.text())
def test_text_of_any_kind_is_handled(text: str) -> None:
    assert isinstance(redacted_text(text), str)


def test_long_hostile_text_is_redacted_in_reasonable_time() -> None:
    for text in ("a" * 200_000, "-" * 200_000, "x=" * 100_000, "-----BEGIN " * 20_000,
                 "://a:" * 40_000, "eyJ" * 60_000, "--a " * 50_000):  # fmt: skip
        assert redacted_text(text)


def test_numbers_flags_and_digests_stay() -> None:
    body: dict[str, JsonValue] = {
        "token": 5,
        "secret": None,
        "password": True,
        "digest": "ab" * 32,
        "usage_tokens": {"in": 3},
    }
    assert redacted(body) == body


@pytest.mark.guarantee("G10")
def test_no_caller_can_forget_to_redact(log: AuditLog) -> None:
    log.append("session.started", {"env": {"API_TOKEN": SECRET}}, session_id="s")
    stored = log._database.execute("SELECT body FROM record WHERE seq = 2").fetchone()[0]
    assert SECRET.encode() not in stored
    assert REDACTED.encode() in stored
