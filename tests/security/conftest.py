"""Attacks of `luminaguard doctor`, tried once per test run on the run's own machines."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from luminaguard.config import load
from luminaguard.doctor.attack import Attack, GuestScript, JailScript, Result
from luminaguard.doctor.examine import try_all
from luminaguard.doctor.ground import Ground
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.hypervisor import Template


def kind(attack: Attack) -> str:
    """Attacks of one kind are tried together; the others one by one."""
    if isinstance(attack.script, GuestScript):
        return attack.name if attack.script.alone else "together in a guest"
    return "together in the jail" if isinstance(attack.script, JailScript) else attack.name


def silent(_what: str, _share: float | None) -> None:
    """Show no progress."""


@pytest.fixture(scope="session")
def ground(
    qemu: QemuHypervisor,
    qemu_template: Template,
    vm_directories: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Ground:
    """Real machines to attack."""
    cache, runtime = vm_directories
    settings = replace(load(), cache_dir=cache, state_dir=runtime.parent / "doctor-state")
    room = tmp_path_factory.mktemp("doctor")
    return Ground(hypervisor=qemu, template=qemu_template, settings=settings, room=room)


@pytest.fixture(scope="session")
def try_it(ground: Ground, request: pytest.FixtureRequest) -> Callable[[Attack], Result]:
    """Try an attack, together with those of its kind that this run asks for."""
    asked: list[Attack] = []
    for item in request.session.items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if isinstance(attack := parameters.get("attack"), Attack):
            asked.append(attack)
    results: dict[str, Result] = {}

    def tried(attack: Attack) -> Result:
        if attack.name not in results:
            group = tuple(one for one in asked if kind(one) == kind(attack))
            results.update(anyio.run(try_all, ground, group, silent))
        return results[attack.name]

    return tried
