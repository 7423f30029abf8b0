"""What runsc is told of one machine: an OCI bundle.

Source: OCI runtime specification 1.0.2, config.md and config-linux.md.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from luminaguard.vm.hardening import HardeningProfile
from luminaguard.vm.room import SEEN_AT

_START = (
    "import sys; sys.path.insert(0, '{host}/agent'); "
    "from luminaguard_guest.sandbox import main; main({uid})"
)
_CAPABILITIES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_MKNOD", "CAP_SETGID"),
    *("CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_RESOURCE"),
)
"""Of the agent, towards the sandbox's own kernel: none is a right on the host."""
_OPEN_FILES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One machine's, in its private directory."""

    directory: Path
    shown: Path
    """What the guest sees, read-only."""
    uid: int
    """User that commands run as, inside."""

    @property
    def state(self) -> Path:
        """What runsc notes for itself."""
        return self.directory / "state"

    def write(self, root: Path, profile: HardeningProfile) -> None:
        """Make everything that a start needs. Blocking.

        `root`: the unpacked image, shared with other machines and never written to.
        """
        self.state.mkdir(mode=0o755)
        config = json.dumps(self._config(root, profile), indent=1)
        (self.directory / "config.json").write_text(config, encoding="utf-8")

    def _config(self, root: Path, profile: HardeningProfile) -> dict[str, object]:
        start = _START.format(host=SEEN_AT, uid=self.uid)
        rights = list(_CAPABILITIES)
        none = {"options": ["nosuid", "nodev", "mode=0755", "size=64m"]}
        return {
            "ociVersion": "1.0.2",
            "hostname": "luminaguard",
            "process": {
                "terminal": False,
                "user": {"uid": 0, "gid": 0},
                "args": ["/usr/bin/python3", "-I", "-S", "-B", "-u", "-c", start],
                "env": ["PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8", "HOME=/root"],
                "cwd": "/",
                "capabilities": {
                    "bounding": rights,
                    "effective": rights,
                    "permitted": rights,
                },
                "rlimits": [
                    {
                        "type": "RLIMIT_NOFILE",
                        "hard": max(_OPEN_FILES, profile.limits.open_files),
                        "soft": max(_OPEN_FILES, profile.limits.open_files),
                    }
                ],
            },
            "root": {"path": str(root), "readonly": True},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/run", "type": "tmpfs", "source": "tmpfs", **none},
                {
                    "destination": SEEN_AT,
                    "type": "bind",
                    "source": str(self.shown),
                    "options": ["ro", "nosuid", "nodev"],
                },
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]
            },
        }
