"""The accelerator is the best one that a guest really boots on."""

import pytest

from luminaguard.domain.isolation import Tier
from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.backends.qemu.accelerator import (
    TCG,
    Accelerator,
    device_problem,
    find_accelerator,
)

pytestmark = pytest.mark.anyio

HARD = Accelerator(
    name="kvm", tier=Tier.HARDWARE, option="kvm", cpu="host", device="/dev/null", boot_limit_s=1
)


async def test_hardware_that_boots_is_taken() -> None:
    async def boots(_: Accelerator) -> None:
        return None

    probe = await find_accelerator(boots, version="7", candidates=(HARD, TCG))
    assert (probe.tier, probe.accelerator, probe.tried) == (Tier.HARDWARE, "kvm", ())


async def test_hardware_that_opens_but_does_not_boot_is_passed_over_with_the_reason() -> None:
    async def boots(one: Accelerator) -> str | None:
        return "no user space within 5 s" if one is HARD else None

    probe = await find_accelerator(boots, version="7", candidates=(HARD, TCG))
    assert (probe.tier, probe.accelerator) == (Tier.EMULATED, "tcg")
    assert probe.tried == (("kvm", "no user space within 5 s"),)


async def test_a_device_that_is_not_there_is_not_even_tried() -> None:
    tried: list[str] = []

    async def boots(one: Accelerator) -> None:
        tried.append(one.name)

    absent = Accelerator(
        name="kvm", tier=Tier.HARDWARE, option="kvm", cpu="host", device="/nowhere", boot_limit_s=1
    )
    probe = await find_accelerator(boots, version="7", candidates=(absent, TCG))
    assert tried == ["tcg"]
    assert probe.tried == (("kvm", "/nowhere does not exist"),)


async def test_no_accelerator_at_all_is_an_error_that_names_every_reason() -> None:
    async def boots(one: Accelerator) -> str:
        return f"{one.name} is broken"

    with pytest.raises(HypervisorUnavailable, match=r"kvm is broken.*tcg is broken"):
        await find_accelerator(boots, version="7", candidates=(HARD, TCG))


def test_an_emulated_guest_needs_no_device() -> None:
    assert device_problem(TCG) is None
