"""What is secret in a workspace: files that never enter a guest, and credentials cut out of others.

Names are judged while the tree is walked. Contents are judged on the very bytes that would be sent,
so there is no moment between check and use. Both are nets with holes: a password in a source file
has no shape to go by, and what git has packed is compressed. `SECURITY.md` says so.
Source: the token formats that their issuers publish (GitHub, GitLab, AWS, Slack, Stripe, npm,
PyPI, ...); RFC 7468 for private key blocks.
"""

import re
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


_NETS = (
    re.compile(
        rb"A(?<![A-Za-z0-9+/_-]A)(?:"
        rb"(?P<aws>[KS]IA(?![A-Z2-7]{9}EXAMPLE)[A-Z2-7]{16}(?![A-Za-z0-9]))"
        rb"|(?P<google>Iza[0-9A-Za-z_-]{35}(?![A-Za-z0-9_-])))"
    ),
    re.compile(
        rb"_(?<=[gnip][hpva][pousrmet]_)(?:"
        rb"(?P<github>(?<=gh[pousr]_)[A-Za-z0-9]{36}|(?<=github_pat_)[A-Za-z0-9_]{60})"
        rb"|(?P<stripe>(?<=[rs]k_live_)[0-9A-Za-z]{20})"
        rb"|(?P<npm>(?<=npm_)[A-Za-z0-9]{36}))"
    ),
    re.compile(rb"_a(?P<npm>uthToken\s*=\s*[\"']?[^$\s\"'][^\s\"']{15})"),
    re.compile(
        rb"-(?<=[arpyo-][noapx-][a-z-]-)(?:"
        rb"(?P<anthropic>(?<=sk-ant-)(?<![A-Za-z0-9]sk-ant-)[A-Za-z0-9_-]{24})"
        rb"|(?P<openai>(?<=sk-proj-)(?<![A-Za-z0-9]sk-proj-)[A-Za-z0-9_-]{24})"
        rb"|(?P<gitlab>(?<=glpat-)[A-Za-z0-9_-]{20})"
        rb"|(?P<slack>(?<=xox[abeoprs]-)[0-9]{8}[A-Za-z0-9-]{8})"
        rb"|(?P<pypi>(?<=pypi-)AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50})"
        rb"|(?P<key>(?<=-----)BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        rb"[\s\S]{0,240}?[A-Za-z0-9+/]{40}))"
    ),
    re.compile(rb"S(?P<sendgrid>G\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})"),
    re.compile(rb"T(?P<openai>3BlbkFJ[A-Za-z0-9_-]{20})"),
    re.compile(
        rb"hooks\.slack\.com/services/T(?P<slack>[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20})"
    ),
)
"""Each begins with a literal, which the regular expression engine looks for with memchr, and where
that is frequent goes on with a cheap look behind: most bytes of a workspace are never a secret."""

_KINDS = {
    "aws": "AWS key",
    "google": "Google API key",
    "github": "GitHub token",
    "stripe": "Stripe key",
    "npm": "npm token",
    "anthropic": "Anthropic key",
    "openai": "OpenAI key",
    "gitlab": "GitLab token",
    "slack": "Slack token",
    "pypi": "PyPI token",
    "key": "private key",
    "sendgrid": "SendGrid key",
}

PATTERNS_DIGEST = sha256(
    b"\n".join(net.pattern for net in _NETS) + b"%d" % MAX_SEARCHED_BYTES
).digest()[:16]
"""Changes when the patterns do: what was clean by older ones is searched again."""


def secret_in(content: bytes) -> str | None:
    """Return what kind of secret occurs in a file's content, or None."""
    for net in _NETS:
        found = net.search(content, 0, MAX_SEARCHED_BYTES)
        if found is not None:
            return _KINDS[found.lastgroup or ""]
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
