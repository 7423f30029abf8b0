"""What a path gives away by its name: secrets, kernel files, places outside the workspace.

Names only, nothing is looked up: the verdict is pure. Secrets are not sent into a guest in the
first place; a call that names one is still asked about, because green would release its output.
"""

import re
from fnmatch import translate
from posixpath import basename, join, normpath

_SECRET_NAMES = (
    ".env", ".env.*", "?*.env", ".envrc", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    "?*.pem", "?*.key", "?*.p12", "?*.pfx", "?*.jks", "?*.keystore", "?*.kdbx", "?*.ppk", "?*.gpg",
    ".ssh", ".gnupg", ".aws", ".azure", ".gcloud", ".kube", ".docker", ".gem", ".password-store",
    ".netrc", "_netrc", ".npmrc", ".yarnrc*", ".pypirc", ".pgpass", ".my.cnf", ".boto", ".s3cfg",
    ".git-credentials", ".htpasswd", ".vault-token", ".terraformrc", "?*.tfstate", "?*.tfvars",
    "kubeconfig*", "shadow", "shadow-", "gshadow", "gshadow-", "sudoers",
    ".bash_history", ".zsh_history", ".python_history", "application_default_credentials.json",
)  # fmt: skip
_HARMLESS_NAMES = (
    ".env.example", ".env.sample", ".env.template", ".env.dist", "?*.pub", "authorized_keys",
)  # fmt: skip
_SECRET_WORDS = (
    "secret", "secrets", "credential", "credentials", "password", "passwords", "private[-_]?keys?",
    "api[-_]?keys?", "auth[-_]?tokens?",
)  # fmt: skip
_CODE_SUFFIXES = (
    ".py", ".pyi", ".js", ".mjs", ".ts", ".tsx", ".jsx", ".rs", ".go", ".c", ".h", ".cc", ".cpp",
    ".hpp", ".java", ".kt", ".rb", ".php", ".cs", ".swift", ".md", ".rst", ".html", ".css",
)  # fmt: skip

_SECRET_NAME = re.compile("|".join(map(translate, _SECRET_NAMES)))
_HARMLESS_NAME = re.compile("|".join(map(translate, _HARMLESS_NAMES)))
_SECRET_WORD = re.compile(rf"(?:^|[^a-z0-9])(?:{'|'.join(_SECRET_WORDS)})(?:[^a-z0-9]|$)")
_MARKERS = tuple(
    {name.strip("?*").rstrip(".") for name in _SECRET_NAMES}
    | {"secret", "credential", "password", "private", "api", "auth"}
)
"""Substrings without one of which no name is a secret's: most text is done with these."""

_KERNEL = ("/proc", "/sys", "/dev")
_SPLIT = re.compile(r"""[\s'"`;|&<>(){}\[\]=:,@$\\]+""")


def resolved(path: str, cwd: str) -> str:
    """Return `path` as an absolute path without `.` and `..`; symbolic links are not followed."""
    whole = normpath(join(cwd, path))
    return whole[1:] if whole.startswith("//") else whole  # POSIX keeps two leading slashes


def looks_secret(path: str) -> bool:
    """Say whether any component of `path` is named like a secret. Case does not matter."""
    lowered = path.lower()
    if not any(marker in lowered for marker in _MARKERS):
        return False
    return any(_is_secret_name(part) for part in lowered.split("/") if part)


def secret_in_text(text: str) -> str | None:
    """Return the first word of free text (a command, code) that is named like a secret."""
    lowered = text.lower()
    if not any(marker in lowered for marker in _MARKERS):
        return None
    return next((word for word in _SPLIT.split(text) if looks_secret(word)), None)


def is_kernel_file(path: str) -> bool:
    """Say whether an absolute path lies where files are not files: /proc, /sys, /dev."""
    return any(is_inside(path, top) for top in _KERNEL)


def is_inside(path: str, root: str) -> bool:
    """Say whether an absolute, resolved path is `root` or lies below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def is_reserved(path: str) -> bool:
    """Say whether a component belongs to LuminaGuard itself, which no guest may write."""
    return any(part.lower().startswith(".luminaguard") for part in path.split("/"))


def program_name(word: str) -> str:
    """Return a program's name without its directory."""
    return basename(word)


def _is_secret_name(name: str) -> bool:
    if _HARMLESS_NAME.match(name):
        return False
    if _SECRET_NAME.match(name):
        return True
    return _SECRET_WORD.search(name) is not None and not name.endswith(_CODE_SUFFIXES)
