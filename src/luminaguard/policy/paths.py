"""What a path gives away by its name: secrets, kernel files, places outside the workspace.

Names only, nothing is looked up: the verdict is pure. Secrets are not sent into a guest in the
first place; a call that names one is still asked about, because green would release its output.
"""

import re
from fnmatch import translate
from functools import lru_cache
from posixpath import basename, join, normpath

_SECRET_NAMES = (
    ".env", ".env.*", "?*.env", ".envrc", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    "?*.pem", "?*.key", "?*.p12", "?*.pfx", "?*.jks", "?*.keystore", "?*.kdbx", "?*.ppk", "?*.gpg",
    ".ssh", ".gnupg", ".aws", ".azure", ".gcloud", ".kube", ".docker", ".gem", ".password-store",
    ".netrc", "_netrc", ".npmrc", ".yarnrc*", ".pypirc", ".pgpass", ".my.cnf", ".boto", ".s3cfg",
    ".git-credentials", ".htpasswd", ".vault-token", ".terraformrc", "?*.tfstate", "?*.tfvars",
    "kubeconfig*", "shadow", "shadow-", "gshadow", "gshadow-", "sudoers",
    ".bash_history", ".zsh_history", ".python_history", "application_default_credentials.json",
    ".?*_history", ".histfile", "fish_history", ".lesshst", ".viminfo", "?*.keytab", "?*.ovpn",
    "?*.keychain", "?*.keychain-db", "keychains", "keyrings", "?*.keyring", "?*.asc", "?*.age",
    "?*.pkcs12", "?*.pkcs8", "?*.crt.key", "secring*", ".config.gpg", "rclone.conf", ".rclone.conf",
    "auth.json", "master.key", "wp-config.php", "login data", "cookies", "cookies.sqlite",
    "logins.json", "key4.db", "signons.sqlite", ".mozilla", "google-chrome", ".token", ".tokens",
    "token", "tokens.json", "token.json", "client_secret*.json", "service-account*.json",
    "serviceaccount*", "?*-service-account.json", "access_tokens.db", "adbkey",
    ".vault_pass*", "vault_pass*", ".tfstate", "?*.tfstate.backup", "kubelet.conf", "admin.conf",
    ".cargo-credentials", "opasswd", "passwd-", "environ", "kcore", "kmem", "msmtprc", ".msmtprc",
    ".fetchmailrc", ".mutt", ".muttrc", ".dockercfg", ".dockerconfigjson", ".rhosts", ".hgrc",
    ".pip.conf", ".mysql", ".irssi", ".purple", "wallet.dat", ".bitcoin", ".ethereum", "keystore",
    "cap_key", "ssh_host_*_key", "identity", ".secret*", "?*.secret", "?*.secrets", "id_ecdsa_sk*",
)  # fmt: skip
_HARMLESS_NAMES = (
    ".env.example", ".env.sample", ".env.template", ".env.dist", "?*.pub", "authorized_keys",
    ".env.defaults", ".env.schema", "example.env", "sample.env", "template.env",
)  # fmt: skip
_SECRET_WORDS = (
    "secret", "secrets", "credential", "credentials", "password", "passwords", "private[-_]?keys?",
    "api[-_]?keys?", "auth[-_]?tokens?", "access[-_]?tokens?", "passwd[-_]?db", "passphrases?",
    "secret[-_]?keys?", "client[-_]?secrets?", "service[-_]?accounts?", "credstore", "htpasswd",
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
    | {
        "secret",
        "credential",
        "password",
        "private",
        "api",
        "auth",
        "access",
        "passwd",
        "passphrase",
        "service",
        "client",
        "credstore",
        "_history",
        "_key",
    }
)
"""Substrings without one of which no name is a secret's: most text is done with these."""

MAX_GLOB_CHARS = 120
"""Longer patterns are not tried, as matching them may take long; they count as aimed."""

_READABLE_KERNEL_FILES = frozenset({
    "/dev/null", "/dev/stdin", "/proc/cpuinfo", "/proc/meminfo", "/proc/version", "/proc/loadavg",
    "/proc/uptime", "/proc/filesystems", "/proc/stat", "/proc/swaps", "/proc/partitions",
    "/proc/diskstats", "/proc/modules", "/proc/mounts", "/proc/net/dev",
    "/proc/sys/kernel/hostname", "/proc/sys/kernel/osrelease", "/proc/sys/fs/file-max",
    "/sys/class/net", "/proc", "/sys", "/dev", "/proc/vmstat", "/proc/interrupts", "/proc/devices",
})  # fmt: skip
_READABLE_KERNEL_FILE = re.compile(
    r"/proc/(?:self|\d+)/(?:status|stat|comm|limits|cgroup|io|mounts|mountinfo)"
    r"|/sys/class/net/[^/]+/(?:address|operstate|mtu|speed|carrier|duplex)"
    r"|/sys/class/(?:thermal|power_supply)/[^/]+/(?:temp|type|capacity|status)"
)
"""What tells of the machine alone."""

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


_SAMPLE_NAMES = (
    ".env", ".env.local", ".env.production", ".env.dev", "prod.env", ".envrc", ".ssh", ".aws",
    ".gnupg", ".kube", ".docker", ".netrc", ".npmrc", ".pypirc", ".pgpass", ".git-credentials",
    ".bash_history", ".zsh_history", ".my.cnf", ".vault-token", ".password-store", ".azure",
    "id_rsa", "id_ed25519", "id_ecdsa", "id_dsa", "server.pem", "server.key", "private.key",
    "key.pem", "cert.p12", "cert.pfx", "store.jks", "db.kdbx", "credentials", "secrets", "shadow",
    "gshadow", "shadow-", "terraform.tfstate", "terraform.tfvars", "kubeconfig", "environ",
    "id_ed25519_work", "master.key", "authtoken", "private_key", "token", "sudoers",
)  # fmt: skip
"""Names that a glob is tried on: it is aimed at a secret if it matches one of them."""
_AIMED_NAMES = (
    "credentials.json", "secrets.yaml", "secrets.yml", "secrets.json", "passwords.txt",
    "password.txt", "secret.txt", "tokens.json", "token.json", "auth.json", "client_secret.json",
    "service-account.json", "api_key.txt", "api_keys.json", "secrets.toml", "secrets.env",
)  # fmt: skip
"""The same, but `*.json` and the like are not aimed at them."""
_CLASS = re.compile(r"\[[^]]*\]")
_LITERAL = re.compile(r"[a-z0-9]")
_BROAD = re.compile(r"\*+(?:\.\*|\.[a-z0-9]{1,6})?|[^*?\[]*")
_SECRET_SUFFIX = re.compile(
    r"\*+\.(?:pem|key|p12|pfx|jks|keystore|kdbx|ppk|gpg|env|asc|keytab|tfstate|tfvars|ovpn|age)"
)


def glob_may_be_secret(shape: str, *, broad: bool, names: bool = False) -> bool:
    """Say whether a pattern for `fnmatch` is aimed at files that are named like secrets.

    Args:
        shape: A path with `*`, `?` and `[…]` in it.
        broad: Patterns that match nearly everything (`*`, `*.txt`) count as aimed as well.
        names: Only names are read: patterns that match many of them (`.*`) are not aimed.
    """
    parts = [part for part in shape.lower().split("/") if part]
    if names:
        parts = [part for part in parts if len(_LITERAL.findall(_CLASS.sub("", part))) > 1]
    return any(_aimed(part, broad=broad) for part in parts) or looks_secret(
        shape.replace("*", "").replace("?", "")
    )


@lru_cache(maxsize=2000)
def _aimed(part: str, *, broad: bool) -> bool:
    if not any(char in part for char in "*?["):
        return looks_secret(part)
    if _SECRET_SUFFIX.fullmatch(part):
        return True
    if not broad and _BROAD.fullmatch(part):
        return False
    if len(part) > MAX_GLOB_CHARS:
        return True
    names = _SAMPLE_NAMES if _BROAD.fullmatch(part) else (*_SAMPLE_NAMES, *_AIMED_NAMES)
    match = re.compile(translate(part)).fullmatch
    return any(match(name) is not None for name in names)


def secret_in_text(text: str) -> str | None:
    """Return the first word of free text (a command, code) that is named like a secret."""
    lowered = text.lower()
    if not any(marker in lowered for marker in _MARKERS):
        return None
    return next((word for word in _SPLIT.split(text) if looks_secret(word)), None)


def is_kernel_file(path: str) -> bool:
    """Say whether an absolute path lies where files are not files: /proc, /sys, /dev."""
    if path in _READABLE_KERNEL_FILES or _READABLE_KERNEL_FILE.fullmatch(path):
        return False
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


_HOMES = re.compile(r"/(?:root|home/[^/]+|Users/[^/]+)(?:/(?P<first>[^/]+))?(?:/(?P<rest>.*))?")
_OPEN_DOT_FILES = frozenset((
    ".bashrc", ".bash_profile", ".bash_logout", ".bash_aliases", ".profile", ".zshrc", ".zprofile",
    ".zshenv", ".vimrc", ".inputrc", ".tmux.conf", ".screenrc", ".gitconfig", ".gitignore",
    ".nanorc", ".editorconfig", ".dircolors", ".local", ".vim", ".emacs", ".emacs.d", ".oh-my-zsh",
    ".nvm", ".pyenv", ".rbenv", ".rustup", ".cargo", ".npm", ".cache",
))  # fmt: skip
_PRIVATE_PLACES = (
    "/etc/ssl/private", "/etc/kubernetes", "/run/secrets", "/var/run/secrets", "/var/lib/secrets",
    "/etc/sudoers.d", "/var/spool/cron", "/var/mail", "/var/spool/mail", "/etc/wireguard",
    "/etc/openvpn", "/etc/NetworkManager/system-connections", "/etc/ipsec.d", "/var/lib/mysql",
    "/var/lib/postgresql", "/run/user", "/lost+found", "/boot/efi", "/etc/krb5.keytab",
    "/etc/ppp/chap-secrets", "/private/etc/master.passwd", "/etc/master.passwd", "/var/lib/docker",
)  # fmt: skip
_OPEN_TREES = ("/usr", "/opt", "/tmp", "/var/log",  # noqa: S108 - read, not written
               "/lib", "/lib64", "/bin", "/sbin", "/srv",
               "/var/cache", "/var/www", "/include")  # fmt: skip


def secret_place(path: str, *, contents: bool) -> bool:
    """Say whether an absolute path lies where secrets are kept, whatever it is called."""
    if any(is_inside(path, place) for place in _PRIVATE_PLACES):
        return True
    home = _HOMES.fullmatch(path)
    first = home["first"] if home else None
    if not contents or not first or not first.startswith("."):
        return False
    return first not in _OPEN_DOT_FILES


def widely_private(path: str) -> bool:
    """Say whether a whole tree outside of the workspace is likely to hold secrets."""
    return not any(is_inside(path, place) for place in _OPEN_TREES)
