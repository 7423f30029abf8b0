"""What a probe found, kept until something that it rests on changes."""

import json
import os
import sys
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import cast

from luminaguard.domain.calls import canonical_json
from luminaguard.domain.isolation import Tier
from luminaguard.vm.hypervisor import Probe

_KVM = "/dev/kvm"
"""The only device that any backend needs; elsewhere than on Linux there is none."""


class ProbeCache:
    """Remembers a probe until the program, the boot of this host or its device changes."""

    def __init__(self, path: Path, known: Collection[str]) -> None:
        """Keep it in the file `path`; `known`: the accelerators that the backend can be told of."""
        self._path = path
        self._known = known

    def read(self, identity: str) -> Probe | None:
        """Return what was found under the same circumstances, None otherwise."""
        try:
            kept = cast("dict[str, object]", json.loads(self._path.read_bytes()))
            if kept["identity"] != identity or kept["accelerator"] not in self._known:
                return None
            tried = cast("list[list[str]]", kept["tried"])
            return Probe(
                tier=Tier(str(kept["tier"])),
                accelerator=str(kept["accelerator"]),
                version=str(kept["version"]),
                tried=tuple((name, reason) for name, reason in tried),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, identity: str, probe: Probe) -> None:
        """Keep a probe; the file is replaced as a whole."""
        content = canonical_json(
            {
                "identity": identity,
                "tier": probe.tier.value,
                "accelerator": probe.accelerator,
                "version": probe.version,
                "tried": [list(pair) for pair in probe.tried],
            }
        )
        unfinished = self._path.with_name(f".{self._path.name}-{os.getpid()}")
        try:
            unfinished.write_bytes(content)
            unfinished.replace(self._path)
        finally:
            unfinished.unlink(missing_ok=True)


def host_identity(*facts: str) -> str:
    """Return a digest of what a probe's result depends on: the given facts, boot and device."""
    seen = [*facts, sys.platform, boot_id()]
    if sys.platform == "linux":
        seen.append(_device())
    return sha256(canonical_json(seen)).hexdigest()


def _device() -> str:
    try:
        about = os.stat(_KVM)
    except OSError:
        return f"{_KVM}: none"
    usable = os.access(_KVM, os.R_OK | os.W_OK)
    return f"{_KVM}: {[about.st_dev, about.st_ino, about.st_mode, about.st_gid, usable]}"


def boot_id() -> str:
    """Return what changes with every start of this host; "unknown" where nothing tells."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
            return source.read().strip()
    except OSError:
        return "unknown"
