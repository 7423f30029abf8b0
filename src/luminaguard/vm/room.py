"""The directory that a machine without disks is shown: agent, orders, the workspace's files."""

import os
from collections.abc import Iterator
from pathlib import Path

from luminaguard.vm import trees
from luminaguard.vm.agentfiles import copy_agent
from luminaguard.vm.hardening import HardeningProfile
from luminaguard.vm.linux import give_away
from luminaguard.vm.owned import OwnedDirectory

SEEN_AT = "/mnt"
"""Where the guest agent looks for what the host shows."""


class Room:
    """One machine's private directory, filled."""

    def __init__(self, own: OwnedDirectory, owner: int | None = None) -> None:
        """Take over an empty directory.

        Args:
            own: The machine's; removed with it.
            owner: Host user that the workspace's files belong to; None: whoever unpacks them.
        """
        self._own = own
        self._owner = owner

    @property
    def name(self) -> str:
        """Unique; it carries the owner's mark."""
        return self._own.path.name

    @property
    def directory(self) -> Path:
        """What else the machine has on the host lies here; the guest does not see it."""
        return self._own.path

    @property
    def shown(self) -> Path:
        """What the guest sees, read-only, at `SEEN_AT`."""
        return self._own.path / "shown"

    @property
    def lower(self) -> Path:
        """The workspace's files, once they are there."""
        return self.shown / "lower"

    def write(self, profile: HardeningProfile) -> None:
        """Make everything that a start needs. Blocking.

        Whoever may enter it may read it all, whatever the caller's umask: the guest is another
        user.
        """
        agent = self.shown / "agent"
        for place in (self.shown, self.lower, agent):
            place.mkdir()
        copy_agent(agent / "luminaguard_guest")
        (self.shown / "profile.json").write_bytes(profile.to_bytes())
        self.limit_scratch(0)
        for place in (self.shown, *self.shown.rglob("*")):
            place.chmod(0o755 if place.is_dir() else 0o644)

    def limit_scratch(self, size_bytes: int) -> None:
        """Tell the guest how much commands may write."""
        (self.shown / "scratch-bytes").write_text(f"{size_bytes}\n", encoding="ascii")

    def furnish(self, workspace_fd: int) -> None:
        """Unpack a workspace image into what the guest sees, for what was there. Blocking."""
        trees.empty(self.lower)
        trees.unpack(workspace_fd, self.lower)
        if self._owner is not None:
            for place in _below(os.fsencode(self.lower)):
                give_away(place, self._owner)

    def remove(self) -> None:
        """Remove everything. Blocking; idempotent."""
        self._own.remove()


def _below(top: bytes) -> Iterator[bytes]:
    """Yield a directory and everything below it; no symbolic link is followed."""
    yield top
    waiting = [top]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield entry.path
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
