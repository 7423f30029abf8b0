"""The nets that secrets are caught in; every sample is made up."""

import random
import string

import pytest

from luminaguard.workspace.send.secrets import (
    MAX_SEARCHED_BYTES,
    is_git_config,
    redact_git_config,
    secret_by_name,
    secret_in,
)

ALNUM = string.ascii_letters + string.digits


def made_up(length: int, alphabet: str = ALNUM) -> str:
    return "".join(random.Random(length).choices(alphabet, k=length))


SAMPLES = {
    "AWS key": "AKIA" + made_up(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    "GitHub token": "ghp_" + made_up(36),
    "Google API key": "AIza" + made_up(35),
    "Stripe key": "sk_live_" + made_up(24),
    "npm token": "npm_" + made_up(36),
    "Anthropic key": "sk-ant-api03-" + made_up(60),
    "OpenAI key": "sk-proj-" + made_up(60),
    "GitLab token": "glpat-" + made_up(20),
    "Slack token": "xoxb-" + made_up(12, string.digits) + "-" + made_up(24),
    "PyPI token": "pypi-AgEIcHlwaS5vcmc" + made_up(70),
    "SendGrid key": "SG." + made_up(22) + "." + made_up(43),
    "private key": "-----BEGIN RSA PRIVATE KEY-----\n" + made_up(64) + "\n",
}
MORE = {
    "github_pat_" + made_up(22) + "_" + made_up(59): "GitHub token",
    "gho_" + made_up(36): "GitHub token",
    "//registry.example.org/:_authToken=" + made_up(30): "npm token",
    "https://hooks.slack.com/services/T0123456/B0123456/" + made_up(24): "Slack token",
    "sk-" + made_up(20) + "T3BlbkFJ" + made_up(20): "OpenAI key",
    '"private_key": "-----BEGIN PRIVATE KEY-----\\n' + made_up(64): "private key",
    "-----BEGIN OPENSSH PRIVATE KEY-----\n" + made_up(70): "private key",
}


@pytest.mark.guarantee("G10")
@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("around", ["{}", 'token = "{}"\n', "x\n{}\ny", "A={},"])
def test_known_secrets_are_found(kind: str, around: str) -> None:
    assert secret_in(around.format(SAMPLES[kind]).encode()) == kind


@pytest.mark.parametrize("text", MORE)
def test_their_other_forms_are_found(text: str) -> None:
    assert secret_in(text.encode()) == MORE[text]


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_short",
        "_authToken=${NPM_TOKEN}",
        "-----BEGIN PUBLIC KEY-----\n" + made_up(64),
        'if line == "-----BEGIN PRIVATE KEY-----": return parse(line)',
        "skip_live_test_of_something_rather_long_here",
        "task-ant-colony-optimization-with-many-words",
        "xoxo-love-and-kisses",
        "-" * 5000,
        "_" * 5000,
    ],
)
def test_what_only_looks_alike_is_sent(text: str) -> None:
    assert secret_in(text.encode()) is None


def test_the_search_stops_at_its_bound() -> None:
    token = SAMPLES["GitHub token"].encode()
    assert secret_in(b"x" * (MAX_SEARCHED_BYTES - 100) + b"\n" + token)
    assert secret_in(b"x" * MAX_SEARCHED_BYTES + b"\n" + token) is None


@pytest.mark.parametrize(
    ("path", "is_secret"),
    [
        (".env", True),
        ("a/.env.local", True),
        (".ENV", True),
        ("prod.env", True),
        (".env.example", False),
        (".env.sample", False),
        (".envrc", False),
        ("environment.py", False),
        ("home/.aws/credentials", True),
        ("x.aws/credentials", False),
        ("server.key", True),
        ("keyboard.py", False),
        ("cacert.pem", False),
        ("id_rsa", True),
        ("id_rsa.pub", False),
        (".git-credentials", True),
    ],
)
def test_names_tell_secrets(path: str, *, is_secret: bool) -> None:
    assert (secret_by_name(path) is not None) == is_secret


CONFIG = """[remote "origin"]
\turl = {}
\tfetch = +refs/heads/*:refs/remotes/origin/*
"""


@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("https://user:hunter2@example.org/x.git", "https://example.org/x.git"),
        ("https://hunter2@example.org/x.git", "https://example.org/x.git"),
        ("http://u:hunter2@proxy:8080", "http://proxy:8080"),
        ("ssh://git:hunter2@example.org/x", "ssh://git@example.org/x"),
        ("ssh://git@example.org/x", "ssh://git@example.org/x"),
        ("git@example.org:x.git", "git@example.org:x.git"),
        ("https://example.org/a@b", "https://example.org/a@b"),
    ],
)
def test_logins_in_urls_are_cut_out(url: str, left: str) -> None:
    assert redact_git_config(CONFIG.format(url).encode()) == CONFIG.format(left).encode()


@pytest.mark.parametrize(
    "line",
    [
        "extraheader = AUTHORIZATION: basic hunter2",
        "ExtraHeader=x hunter2",
        "extraheader = a \\\n hunter2",
        'helper = "!f() { echo password=hunter2; }; f"',
        "token = hunter2",
        "password = hunter2",
    ],
)
def test_settings_that_hold_credentials_are_cut_out(line: str) -> None:
    config = f"[http]\n\t{line}\n[core]\n\tbare = false\n".encode()
    redacted = redact_git_config(config)
    assert b"hunter2" not in redacted
    assert redacted.endswith(b"[core]\n\tbare = false\n")
    assert redact_git_config(redacted) == redacted


def test_the_configuration_of_repositories_is_told_from_other_files() -> None:
    for path in (".git/config", "sub/.git/config", ".git/modules/a/b/config"):
        assert is_git_config(path)
    for path in (".git/worktrees/w/config.worktree", ".git/config.worktree"):
        assert is_git_config(path)
    for path in ("config", "git/config", ".git/hooks/config", ".gitconfig"):
        assert not is_git_config(path)


def test_no_pattern_takes_long_over_hostile_text() -> None:
    hostile = [b"-----BEGIN " * 90_000, b"gh" * 500_000, b"sk-ant-" * 140_000, b"SG." * 300_000]
    hostile += [b"-----BEGIN PRIVATE KEY-----" * 38_000, b"xoxb-12345678" * 70_000]
    for text in hostile:
        secret_in(text)  # bounded by the test's own timeout; a quadratic pattern would not end
