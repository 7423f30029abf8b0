"""A built guest image on disk."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestImage:
    """A verified image directory: `kernel`, `initrd`, `rootfs`, policies, `manifest.json`."""

    directory: Path
    digest: str
    """SHA-256 of the manifest, hexadecimal: names every package and every artefact's hash."""
    package: str = ""
    """The installed Python package that brought it; empty if it was built here."""

    @property
    def kernel(self) -> Path:
        """Linux kernel (bzImage)."""
        return self.directory / "kernel"

    @property
    def initrd(self) -> Path:
        """Modules, static shell and init script, as a newc cpio; the guest agent is not in it."""
        return self.directory / "initrd"

    @property
    def rootfs(self) -> Path:
        """Read-only squashfs root."""
        return self.directory / "rootfs"

    def policy(self, lsm: str) -> Path:
        """What the guest's kernel enforces on commands: "apparmor" or "selinux", compiled."""
        return self.directory / f"{lsm}.policy"

    @property
    def manifest(self) -> Path:
        """Every package with version and SHA-256, and every artefact's hash."""
        return self.directory / "manifest.json"
