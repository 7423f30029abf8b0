"""The command line gives a guest nothing that it does not need."""

import pytest

from luminaguard.domain.isolation import Tier
from luminaguard.vm.backends.qemu.accelerator import TCG, Accelerator
from luminaguard.vm.backends.qemu.command import (
    Shape,
    Wiring,
    boot_command,
    clone_command,
    kernel_line,
    shape_digest,
)
from luminaguard.vm.hardening import STRICT, HardeningProfile, Lsm, profile_named

KVM = Accelerator(name="kvm", tier=Tier.HARDWARE, option="kvm", cpu="host", boot_limit_s=5)
WIRING = Wiring(control=20, agent=21, memory=22, root=23, kernel=24, initrd=25)


def shape(
    *,
    memory_mib: int = 512,
    accelerator: Accelerator = TCG,
    profile: HardeningProfile = STRICT,
) -> Shape:
    return Shape(
        binary="/qemu",
        accelerator=accelerator,
        memory_mib=memory_mib,
        vcpus=1,
        disk_limit_bytes=1 << 30,
        profile=profile,
    )


COMMANDS = [boot_command(shape(), WIRING), clone_command(shape(), WIRING)]


@pytest.mark.parametrize("command", COMMANDS)
def test_there_is_no_network_no_display_and_no_serial_line(command: list[str]) -> None:
    devices = {
        command[n + 1].partition(",")[0] for n, word in enumerate(command) if word == "-device"
    }
    assert devices == {"virtio-serial-pci", "virtserialport", "virtio-blk-pci"}
    assert not {"-nic", "-netdev", "-net", "-serial", "-parallel", "-usb", "-vga"} & set(command)
    assert "-nodefaults" in command
    assert command[command.index("-display") + 1] == "none"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_seccomp_group_is_denied(command: list[str]) -> None:
    given = command[command.index("-sandbox") + 1].split(",")
    assert given[0] == "on"
    assert {word.partition("=")[2] for word in given[1:]} == {"deny"}
    assert len(given) == 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_host_disk_is_the_guests_error_and_stops_nothing(command: list[str]) -> None:
    slots = [
        word for word in command if word.startswith("virtio-blk-pci,drive=") and "root" not in word
    ]
    assert len(slots) == 2
    assert all("werror=report,rerror=report" in slot for slot in slots)


def test_only_a_machine_that_boots_shares_its_memory() -> None:
    assert any("share=on" in word for word in COMMANDS[0])
    assert not any("share=on" in word for word in COMMANDS[1])


def test_mitigations_are_given_up_only_where_there_is_no_real_cpu() -> None:
    assert "mitigations=off" in kernel_line(shape())
    assert "mitigations=off" not in kernel_line(shape(accelerator=KVM))


def test_a_console_is_there_only_when_asked_for() -> None:
    assert "console=" not in kernel_line(shape())
    assert "console=ttyS0" in kernel_line(shape(), console=True)


def test_another_shape_makes_another_template() -> None:
    shapes = (
        shape(),
        shape(memory_mib=256),
        shape(accelerator=KVM),
        shape(profile=profile_named("relaxed")),
        shape(profile=profile_named("strict", lsm="selinux")),
    )
    assert len({shape_digest(one) for one in shapes}) == len(shapes)


@pytest.mark.guarantee("G8")
def test_the_kernel_is_told_to_enforce_what_the_profile_says() -> None:
    apparmor = kernel_line(shape()).split()
    assert {"apparmor=1", "security=apparmor"} <= set(apparmor)
    selinux = kernel_line(shape(profile=profile_named("strict", lsm=Lsm.SELINUX))).split()
    assert {"selinux=1", "security=selinux", "enforcing=1"} <= set(selinux)
    assert not {"security=apparmor", "enforcing=1"} & (set(apparmor) & set(selinux))
