"""What QEMU is called and given on each processor: guests are always of the host's own kind."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from luminaguard.errors import HypervisorUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One kind of processor."""

    name: str
    """As QEMU says it."""
    board: str
    """Value of `-machine`, before what the memory adds."""
    tcg_cpu: str
    console: str
    """The kernel's name for the first serial line."""
    console_device: tuple[str, ...]
    """Options that put the chardev `console` behind that line."""
    silent: tuple[str, ...]
    """Words for the kernel that keep it from probing a line that is not there."""
    emulated: tuple[str, ...]
    """Words for a kernel whose every instruction is translated."""
    firmware: tuple[str, ...]
    """Files that QEMU reads at each start."""
    package: str
    """Debian package that brings it."""

    @property
    def binary(self) -> str:
        """Name of the program."""
        return f"qemu-system-{self.name}"

    @property
    def module(self) -> str:
        """Some distributions ship the translator as a module that ldd does not show."""
        return f"accel-tcg-{self.name}.so"


X86_64 = Architecture(
    name="x86_64",
    board=(
        "q35,memory-backend=ram,usb=off,vmport=off,smm=off,hpet=off,sata=off,i8042=off,smbus=off,"
        "graphics=off,dump-guest-core=off"
    ),
    tcg_cpu="max,-la57",  # a fifth level of page tables costs 10 % of a first command
    console="ttyS0",
    console_device=("-device", "isa-serial,chardev=console"),
    silent=("8250.nr_uarts=0",),
    emulated=("no_timer_check", "tsc=reliable"),
    firmware=("bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin"),
    package="qemu-system-x86",
)
AARCH64 = Architecture(
    name="aarch64",
    board="virt,memory-backend=ram,gic-version=max,usb=off,dump-guest-core=off",
    tcg_cpu="max,pauth-impdef=on",
    console="ttyAMA0",
    console_device=("-serial", "chardev:console"),
    silent=(),
    emulated=(),
    firmware=(),
    package="qemu-system-arm",
)
"""The board `virt` loads a kernel itself, and without a network card reads no firmware at all.
Pointer authentication is kept cheap: the architected algorithm is slow when it is translated.
Source: QEMU documentation, "virt generic virtual platform" and "Arm CPU Features", pauth-impdef.
Not run: no host of this kind was at hand."""

_BY_MACHINE: Mapping[str, Architecture] = {
    "x86_64": X86_64,
    "amd64": X86_64,
    "aarch64": AARCH64,
    "arm64": AARCH64,
}


def architecture_of(machine: str) -> Architecture:
    """Return the kind that a system names "x86_64", "AMD64", "arm64" or the like.

    Raises:
        HypervisorUnavailable: guests of that kind are not built.
    """
    known = _BY_MACHINE.get(machine.lower())
    if known is None:
        raise HypervisorUnavailable(
            f"there are no guests for {machine} processors", hint="use an x86-64 or arm64 host"
        )
    return known


def host_architecture() -> Architecture:
    """Return this host's kind.

    Raises:
        HypervisorUnavailable: guests of that kind are not built.
    """
    return architecture_of(platform.machine())
