"""Mandatory access control: loading the policy that came with the guest, and entering it.

Once loaded, the policy cannot be replaced, not even by root.
"""

import os
from typing import Protocol

from luminaguard_guest import mounts
from luminaguard_guest.cgroups import write
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID

_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC
_SECURITY = "/sys/kernel/security"
_APPARMOR = f"{_SECURITY}/apparmor"
_APPARMOR_SETTINGS = "/sys/module/apparmor/parameters"
_SELINUX = "/sys/fs/selinux"

WORK, DEVICES, SYSTEM = "work_t", "device_t", "system_t"
"""What lies in a file system: SELinux knows it by these types, AppArmor by the path."""


class Lsm(Protocol):
    """One kind of mandatory access control, for one profile."""

    @property
    def own(self) -> bytes:
        """What a confined process reads about itself."""
        ...

    @property
    def entry(self) -> bytes:
        """What a process writes to be confined."""
        ...

    def load(self, policy: bytes) -> None:
        """Load the policy, and see that the kernel enforces it.

        Raises:
            GuestFault: the kernel refused it, or does not enforce.
            OSError: the kernel has no such thing.
        """
        ...

    def label(self, kind: str) -> str:
        """Return the mount option that says what a file system holds; may be empty."""
        ...


class AppArmor:
    """Profiles by path."""

    def __init__(self, profile: str) -> None:
        """Confine to the policy's part for a hardening profile."""
        self._name = f"luminaguard-{profile}"
        self.own = f"{self._name} (enforce)\n".encode()
        self.entry = f"changeprofile {self._name}".encode()

    def load(self, policy: bytes) -> None:
        """Load the profiles and lock them."""
        if _read(f"{_APPARMOR_SETTINGS}/enabled") != b"Y":
            raise GuestFault("the guest's kernel has AppArmor switched off")
        _load(f"{_APPARMOR}/.replace", policy)
        if _read(f"{_APPARMOR_SETTINGS}/mode") != b"enforce":
            raise GuestFault("the guest's kernel does not enforce AppArmor")
        if self.own.strip() not in _read(f"{_APPARMOR}/profiles").splitlines():
            raise GuestFault(f"the policy has no profile {self._name}")
        write(f"{_APPARMOR_SETTINGS}/lock_policy", "Y")

    def label(self, kind: str) -> str:
        """Return nothing: paths tell."""
        del kind
        return ""


class SELinux:
    """Domains and types."""

    def __init__(self, profile: str) -> None:
        """Confine to the policy's domain for a hardening profile."""
        self.entry = f"u:r:{profile}_t:s0".encode()
        self.own = self.entry + b"\0"

    def load(self, policy: bytes) -> None:
        """Load the policy, which lets nobody load another."""
        mounts.mount("selinuxfs", _SELINUX, "selinuxfs", MS_NOSUID | MS_NOEXEC)
        _load(f"{_SELINUX}/load", policy)
        if _read(f"{_SELINUX}/enforce") != b"1":
            raise GuestFault("the guest's kernel does not enforce SELinux")

    def label(self, kind: str) -> str:
        """Return the context of everything in a file system."""
        return f"context=u:object_r:{kind}:s0"


_KINDS: dict[str, type[AppArmor] | type[SELinux]] = {"apparmor": AppArmor, "selinux": SELinux}


def lsm_named(name: str, profile: str) -> Lsm:
    """Return the mandatory access control of a hardening profile.

    Raises:
        GuestFault: there is none of this name.
    """
    if name not in _KINDS:
        raise GuestFault(f"{name!r} is no mandatory access control")
    return _KINDS[name](profile)


def mount_security() -> None:
    """Make the kernel's security settings reachable for the agent."""
    if not os.path.ismount(_SECURITY):
        mounts.mount("securityfs", _SECURITY, "securityfs", _FLAGS)


def lock_down() -> None:
    """Close what lets root change or read the running kernel; there is no way back.

    Source: kernel_lockdown(7), "confidentiality".
    """
    path = f"{_SECURITY}/lockdown"
    if os.path.exists(path):
        write(path, "confidentiality")


def joined(*options: str) -> str:
    """Return mount options as one, without the empty ones."""
    return ",".join(option for option in options if option)


def _load(path: str, policy: bytes) -> None:
    """Write a policy at once: the kernel takes it whole or not at all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if os.write(descriptor, policy) != len(policy):
            raise GuestFault("the guest's kernel took only part of the policy")
    finally:
        os.close(descriptor)


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read().strip()
