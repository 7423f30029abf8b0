"""What is secret in a workspace: files that never enter a guest, and credentials cut out of others.

Names are judged while the tree is walked. Contents are judged on the very bytes that would be sent,
so there is no moment between check and use. Both are nets with holes: a password in a source file
has no shape to go by, and what git has packed is compressed. `SECURITY.md` says so.
Source: the token formats that their issuers publish (GitHub, GitLab, AWS, Slack, Stripe, npm,
PyPI, ...); RFC 7468 for private key blocks.
"""

import re
from dataclasses import dataclass
from hashlib import sha256

MAX_SEARCHED_BYTES = 1 << 20
"""Of each file, this much from its beginning is searched for tokens."""

_FILE_NAMES = {
    ".netrc": "login credentials",
    "_netrc": "login credentials",
    ".pgpass": "database passwords",
    ".my.cnf": "database passwords",
    ".pypirc": "package index credentials",
    ".git-credentials": "git credentials",
    ".dockercfg": "registry credentials",
    ".vault-token": "Vault token",
    ".s3cfg": "cloud credentials",
    ".boto": "cloud credentials",
    "application_default_credentials.json": "cloud credentials",
    "credentials.tfrc.json": "Terraform credentials",
    "kubeconfig": "cluster credentials",
    "id_rsa": "private key",
    "id_dsa": "private key",
    "id_ecdsa": "private key",
    "id_ecdsa_sk": "private key",
    "id_ed25519": "private key",
    "id_ed25519_sk": "private key",
}
_ENDINGS = (".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".agekey")
"""Key stores; `.pem` is judged by content, since most hold public certificates."""
_PATH_ENDINGS = {
    ".aws/credentials": "cloud credentials",
    ".aws/config": "cloud credentials",
    ".docker/config.json": "registry credentials",
    ".kube/config": "cluster credentials",
    ".cargo/credentials": "package index credentials",
    ".cargo/credentials.toml": "package index credentials",
    ".gem/credentials": "package index credentials",
    ".config/gh/hosts.yml": "GitHub credentials",
}
_DIRECTORIES = frozenset({".ssh", ".gnupg", ".password-store", ".azure", ".gcloud"})
_HARMLESS_ENV = (".example", ".sample", ".template", ".dist", ".defaults", ".schema")


def secret_by_name(path: str) -> str | None:
    """Return what kind of secret a file of this path holds, or None."""
    name = path.rpartition("/")[2].lower()
    if name in _FILE_NAMES:
        return _FILE_NAMES[name]
    if name.startswith(".env"):
        is_env = name == ".env" or (name[4:5] == "." and not name.endswith(_HARMLESS_ENV))
        return "environment file" if is_env else None
    if name.endswith(_ENDINGS):
        return "private key"
    if name.endswith(".env") and not name.startswith(("example", "sample", "template")):
        return "environment file"
    for ending, kind in _PATH_ENDINGS.items():
        if path.endswith(ending) and f"/{path}".endswith(f"/{ending}"):
            return kind
    return None


def secret_directory(name: str) -> bool:
    """Tell whether a directory of this name holds secrets as a whole."""
    return name in _DIRECTORIES


@dataclass(frozen=True, slots=True)
class _Pattern:
    kind: str
    needle: bytes
    """Occurs in every match: a plain search for it is many times faster than the pattern."""
    pattern: re.Pattern[bytes]


def _pattern(kind: str, needle: bytes, expression: bytes) -> _Pattern:
    return _Pattern(kind, needle, re.compile(rb"(?<![A-Za-z0-9_])(?:" + expression + rb")"))


_PATTERNS = (
    _pattern(
        "private key",
        b"PRIVATE KEY",
        rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        rb"[\s\S]{0,240}?[A-Za-z0-9+/]{40}",
    ),
    _pattern("AWS key", b"AKIA", rb"AKIA(?![A-Z2-7]{9}EXAMPLE)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    _pattern("AWS key", b"ASIA", rb"ASIA(?![A-Z2-7]{9}EXAMPLE)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    _pattern("GitHub token", b"ghp_", rb"ghp_[A-Za-z0-9]{36}"),
    _pattern("GitHub token", b"gho_", rb"gho_[A-Za-z0-9]{36}"),
    _pattern("GitHub token", b"ghs_", rb"ghs_[A-Za-z0-9]{36}"),
    _pattern("GitHub token", b"ghu_", rb"ghu_[A-Za-z0-9]{36}"),
    _pattern("GitHub token", b"github_pat_", rb"github_pat_[A-Za-z0-9_]{60}"),
    _pattern("GitLab token", b"glpat-", rb"glpat-[A-Za-z0-9_-]{20}"),
    _pattern("Slack token", b"xox", rb"xox[abeoprs]-[0-9]{8,}[A-Za-z0-9-]{8,}"),
    _pattern(
        "Slack webhook",
        b"hooks.slack.com/services/T",
        rb"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}",
    ),
    _pattern("Google API key", b"AIza", rb"AIza[0-9A-Za-z_-]{35}"),
    _pattern("Stripe key", b"k_live_", rb"[rs]k_live_[0-9A-Za-z]{20,}"),
    _pattern("Anthropic key", b"sk-ant-", rb"sk-ant-[A-Za-z0-9_-]{24,}"),
    _pattern("OpenAI key", b"sk-proj-", rb"sk-proj-[A-Za-z0-9_-]{24,}"),
    _pattern("OpenAI key", b"T3BlbkFJ", rb"sk-[A-Za-z0-9_-]{16,}T3BlbkFJ[A-Za-z0-9_-]{16,}"),
    _pattern("npm token", b"npm_", rb"npm_[A-Za-z0-9]{36}"),
    _pattern("npm token", b"_authToken", rb"[^\s]*_authToken\s*=\s*[\"']?(?!\$)[^\s\"']{16,}"),
    _pattern("PyPI token", b"pypi-AgEIcHlwaS5vcmc", rb"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"),
    _pattern("SendGrid key", b"SG.", rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
)

PATTERNS_DIGEST = sha256(
    b"\n".join(one.pattern.pattern for one in _PATTERNS) + b"%d" % MAX_SEARCHED_BYTES
).digest()[:16]
"""Changes when the patterns do: what was clean by older ones is searched again."""


def secret_in(content: bytes) -> str | None:
    """Return what kind of secret occurs in a file's content, or None."""
    searched = content[:MAX_SEARCHED_BYTES] if len(content) > MAX_SEARCHED_BYTES else content
    for one in _PATTERNS:
        if one.needle in searched and one.pattern.search(searched):
            return one.kind
    return None


_GIT_CONFIG = re.compile(r"(?:^|/)\.git/(?:modules/.+/|worktrees/[^/]+/)?config(?:\.worktree)?$")
_LOGIN_IN_URL = re.compile(rb"(?i)\b((?!ssh|git\+ssh)[a-z][a-z0-9+.-]{1,20}://)[^/\s\"@]+@")
_PASSWORD_IN_SSH_URL = re.compile(rb"(?i)\b((?:git\+)?ssh://[^/\s\":@]*):[^/\s\"@]*@")
_SECRET_SETTING = re.compile(
    rb"(?im)^([ \t]*(?:[\w.-]*(?:extraheader|password|passwd|secret|token|apikey|api-key)[\w.-]*"
    rb"|helper[ \t]*=[^\n]*(?:password|token)[^\n]*))"
    rb"(?:\\\r?\n|[^\n])*$"
)


def is_git_config(path: str) -> bool:
    """Tell whether a path is a repository's own configuration, where remote credentials hide."""
    return path.endswith(("config", "config.worktree")) and bool(_GIT_CONFIG.search(path))


def redact_git_config(content: bytes) -> bytes:
    """Return a repository's configuration without the credentials in it; else unchanged."""
    redacted = _LOGIN_IN_URL.sub(rb"\1", content)
    redacted = _PASSWORD_IN_SSH_URL.sub(rb"\1@", redacted)
    return _SECRET_SETTING.sub(rb"\t# LuminaGuard left a credential out here", redacted)
