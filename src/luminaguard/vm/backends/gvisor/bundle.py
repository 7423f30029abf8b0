"""What runsc is told of one machine: an OCI bundle, and the directory that the guest is shown.

Source: OCI runtime specification 1.0.2, config.md and config-linux.md.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from luminaguard.vm.agentfiles import copy_agent
from luminaguard.vm.hardening import HardeningProfile

_HOST = "/mnt"
"""Where the guest agent looks for what the host shows."""
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
    """One machine's private directory."""

    directory: Path
    uid: int
    """User that commands run as, inside."""

    @property
    def shown(self) -> Path:
        """What the guest sees, read-only, at /mnt."""
        return self.directory / "shown"

    @property
    def lower(self) -> Path:
        """The workspace's files, once they are there."""
        return self.shown / "lower"

    @property
    def state(self) -> Path:
        """What runsc notes for itself."""
        return self.directory / "state"

    def write(self, root: Path, profile: HardeningProfile) -> None:
        """Make everything that a start needs. Blocking.

        `root`: the unpacked image, shared with other machines and never written to.
        """
        for place in (self.shown, self.lower, self.state, self.shown / "agent"):
            place.mkdir(mode=0o755)
        copy_agent(self.shown / "agent" / "luminaguard_guest")
        (self.shown / "profile.json").write_bytes(profile.to_bytes())
        self.limit_scratch(0)
        config = json.dumps(self._config(root, profile), indent=1)
        (self.directory / "config.json").write_text(config, encoding="utf-8")

    def limit_scratch(self, size_bytes: int) -> None:
        """Tell the guest how much commands may write."""
        (self.shown / "scratch-bytes").write_text(f"{size_bytes}\n", encoding="ascii")

    def _config(self, root: Path, profile: HardeningProfile) -> dict[str, object]:
        start = _START.format(host=_HOST, uid=self.uid)
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
                    "destination": _HOST,
                    "type": "bind",
                    "source": str(self.shown),
                    "options": ["ro", "nosuid", "nodev"],
                },
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]
            },
        }
