"""What the words of a command foretell: for order and color, and for effects beyond files.

A prediction never makes a call milder: it starts from "effect unknown" and only adds to it. What a
command does to files is measured in the rehearsal, so those findings stay measurable. What leaves
the machine cannot be rehearsed.
"""

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from luminaguard.domain.verdict import Lane, Risk
from luminaguard.policy.findings import Finding, shown
from luminaguard.policy.paths import program_name, secret_in_text

_DELETES = frozenset(("rm", "rmdir", "unlink", "shred", "srm", "truncate"))
_LEAVES = frozenset((
    "curl", "wget", "nc", "ncat", "netcat", "socat", "ssh", "scp", "sftp", "rsync", "ftp", "telnet",
    "ping", "nslookup", "dig", "host",
))  # fmt: skip
_BEYOND_FILES = frozenset((
    "sudo", "su", "doas", "mount", "umount", "mkfs", "dd", "systemctl", "service", "kill", "pkill",
    "killall", "reboot", "shutdown", "docker", "podman", "kubectl", "helm", "terraform", "aws",
    "gcloud", "az", "crontab", "iptables", "nft", "insmod", "modprobe", "chroot", "nsenter",
    "unshare", "useradd", "userdel", "usermod", "visudo", "wipefs", "fdisk", "sfdisk", "parted",
))  # fmt: skip
_GIT_LEAVES = frozenset(("push", "fetch", "pull", "clone", "ls-remote", "submodule", "remote"))
_GIT_DELETES = frozenset((
    "clean", "reset", "checkout", "restore", "rm", "stash", "prune", "gc", "rebase", "worktree",
    "filter-branch", "filter-repo",
))  # fmt: skip
_SPLIT = re.compile(r"""[\s'"`;|&<>(){}\[\]$\\!,]+""")
_SOCKET = re.compile(r"/dev/(?:tcp|udp)/([^/\s'\"]+)")
_HOST = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,12}://(?:[^/\s@'\"]{1,80}@)?(?P<url>[A-Za-z0-9_.-]{1,253}|\[[0-9a-f:]+\])"
    r"|(?:^|\s)(?:[a-z0-9_-]{1,40}@)(?P<at>[A-Za-z0-9][A-Za-z0-9.-]{1,253})"
    r"|(?:^|\s)(?P<copy>[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)+):"
    r"|(?:^|\s)(?P<bare>[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*\.(?:com|org|net|io|dev|example|sh|app|co|ai|me))\b"
)
_MAX_HOSTS = 8
_ENVIRONMENT = re.compile(
    r"\$ENV\b|\bENVIRON\b|\bos\.environ\b|\bos\.getenv\b|\bprocess\.env\b|\bjq\b[^|;]*\benv\b"
    r"|(?:^|[;&|]\s*)(?:set|env|printenv)\s*(?:$|[|>;&])"
)
_RUNS = re.compile(
    r"\bos\.(?:system|popen|exec[lv]|spawn|remove|unlink)|\bsubprocess\b|\bchild_process\b|\brm_rf?\b"
    r"|\brmtree\b|\bunlink\b|\bb64decode\b|\bdecode64\b|\b(?:eval|exec|system|popen|execSync)\s*\("
)


def predicted(text: str) -> list[Finding]:
    """Return what the words of a command or of code foretell; `text` may be unparsable.

    Words are looked at without their order, so that wrappers, options and separators do not hide
    a program: `sudo -n rm` and `true;rm` are both seen to delete.
    """
    words = {program_name(word).lower() for word in _SPLIT.split(text)}
    git: AbstractSet[str] = words if "git" in words else frozenset()
    return [
        *_secrets(text),
        *_leaving(text, _first(words & _LEAVES) or _first(git & _GIT_LEAVES)),
        *_beyond(_first(words & _BEYOND_FILES)),
        *_deleting(_first(words & _DELETES) or _first(git & _GIT_DELETES)),
        *_running(text),
    ]


def reads_secret(name: str) -> Finding:
    """Return the finding on something that is named like a secret: its output must be released."""
    why = f"{shown(name)} is named like a secret; what is read from it needs your release"
    return Finding(lane=Lane.RED, risk=Risk.HIGH, rule="reads-secret", reason=why, secrets=(name,))


def hosts_in(text: str) -> tuple[str, ...]:
    """Return the names of hosts that a text holds, in order."""
    named = [match[1] for match in _SOCKET.finditer(text)]
    named += [next(filter(None, match.groups())) for match in _HOST.finditer(text)]
    return tuple(dict.fromkeys(named))[:_MAX_HOSTS]


def _secrets(text: str) -> list[Finding]:
    found: list[Finding] = []
    if secret := secret_in_text(text):
        found.append(reads_secret(secret))
    if variables := _ENVIRONMENT.search(text):
        token = variables.group().strip()
        why = f"{shown(token)} shows variables, which may hold secrets"
        found.append(
            Finding(
                lane=Lane.RED,
                risk=Risk.HIGH,
                rule="reads-secret",
                reason=why,
                secrets=("environment variables",),
            )
        )
    return found


def _leaving(text: str, named: str | None) -> list[Finding]:
    socket = _SOCKET.search(text)
    token = socket.group() if socket else named
    if token is None:
        return []
    return [
        Finding(
            lane=Lane.RED,
            risk=Risk.CRITICAL,
            rule="leaves-machine",
            reason=f"{shown(token)} can send data away, which cannot be rehearsed",
            reaches=hosts_in(text) or ("the network",),
        )
    ]


def _beyond(named: str | None) -> list[Finding]:
    if named is None:
        return []
    return [
        Finding(
            lane=Lane.RED,
            risk=Risk.CRITICAL,
            rule="beyond-files",
            reason=f"{shown(named)} acts beyond files",
            measurable=True,
            changes=("the system",),
        )
    ]


def _deleting(named: str | None) -> list[Finding]:
    if named is None:
        return []
    return [
        Finding(
            lane=Lane.RED,
            risk=Risk.HIGH,
            rule="may-delete",
            reason=f"{shown(named)} can delete",
            measurable=True,
            changes=("files",),
        )
    ]


def _running(text: str) -> list[Finding]:
    match = _RUNS.search(text)
    if match is None:
        return []
    return [
        Finding(
            lane=Lane.RED,
            risk=Risk.HIGH,
            rule="runs-code",
            reason=f"{shown(match.group())} runs programs or deletes",
            measurable=True,
        )
    ]


def _first(names: Iterable[str]) -> str | None:
    return min(names, default=None)
