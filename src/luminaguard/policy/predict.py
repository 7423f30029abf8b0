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
    "gcloud", "az", "crontab", "at", "iptables", "nft", "insmod", "modprobe",
))  # fmt: skip
_GIT_LEAVES = frozenset(("push", "fetch", "pull", "clone", "ls-remote", "submodule", "remote"))
_GIT_DELETES = frozenset((
    "clean", "reset", "checkout", "restore", "rm", "stash", "prune", "gc", "rebase", "worktree",
    "filter-branch", "filter-repo",
))  # fmt: skip
_SPLIT = re.compile(r"""[\s'"`;|&<>(){}\[\]$\\]+""")


def predicted(text: str) -> list[Finding]:
    """Return what the words of a command or of code foretell; `text` may be unparsable.

    Words are looked at without their order, so that wrappers, options and separators do not hide
    a program: `sudo -n rm` and `true;rm` are both seen to delete.
    """
    words = {program_name(word).lower() for word in _SPLIT.split(text)}
    git: AbstractSet[str] = words if "git" in words else frozenset()
    found: list[Finding] = []
    if secret := secret_in_text(text):
        found.append(reads_secret(secret))
    if named := _first(words & _LEAVES) or _first(git & _GIT_LEAVES):
        why = f"{shown(named)} can send data away, which cannot be rehearsed"
        found.append(_finding(Risk.CRITICAL, "leaves-machine", why, measurable=False))
    if named := _first(words & _BEYOND_FILES):
        found.append(_finding(Risk.CRITICAL, "beyond-files", f"{shown(named)} acts beyond files"))
    if named := _first(words & _DELETES) or _first(git & _GIT_DELETES):
        found.append(_finding(Risk.HIGH, "may-delete", f"{shown(named)} can delete"))
    return found


def reads_secret(name: str) -> Finding:
    """Return the finding on something that is named like a secret: its output must be released."""
    why = f"{shown(name)} is named like a secret; what is read from it needs your release"
    return _finding(Risk.HIGH, "reads-secret", why, measurable=False)


def _finding(risk: Risk, rule: str, reason: str, *, measurable: bool = True) -> Finding:
    return Finding(lane=Lane.RED, risk=risk, rule=rule, reason=reason, measurable=measurable)


def _first(names: Iterable[str]) -> str | None:
    return min(names, default=None)
