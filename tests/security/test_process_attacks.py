"""The doctor's catalogue, tried from a command of the `process` backend: what holds without a VM.

The walls are others than a machine's; what the attacks must not get is the same.
"""

from dataclasses import replace
from pathlib import Path
from typing import cast

import anyio
import pytest

from luminaguard.config import load
from luminaguard.doctor.attack import Attack, GuestScript, Result, Verdict, Where
from luminaguard.doctor.ground import Ground
from luminaguard.doctor.inside import try_inside
from luminaguard.doctor.registry import ATTACKS
from luminaguard.vm.backends.process.backend import ProcessHypervisor
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.hypervisor import MicroVM, Template
from luminaguard.vm.linux import user_id
from luminaguard.vm.spec import VmSpec

ELSEWISE = {
    "type-into-a-terminal": "there is no terminal, and nothing to make one with",
    "leave-the-security-profile": "there is no AppArmor inside; Landlock's walls have no name",
    "lift-the-limits": "there is no cgroup to see inside; the machine's own lies outside",
}
"""Attacks whose judges ask for a wall that only a guest with a kernel of its own has."""
SAME_USER = {
    "become-root": "its commands are called 0 already; no capability comes with the number",
    "run-a-set-user-id-program": "agent and commands are the same user, inside called 0",
    "find-somewhere-else-to-write": "/home itself is that user's too; it is scratch space",
}
"""The same where an ordinary user has nobody else to give: root's machines have two users."""
MINE = [
    attack
    for attack in ATTACKS
    if attack.where is Where.INSIDE
    and isinstance(attack.script, GuestScript)
    and not attack.script.alone
    and attack.name not in ELSEWISE
    and (user_id() == 0 or attack.name not in SAME_USER)
]
"""Those that harm nothing, tried together; floods are tried by test_process_walls.py."""


class Booting:
    """Boots where a template would be restored: all that a proving ground asks of a backend."""

    def __init__(self, hypervisor: ProcessHypervisor, spec: VmSpec) -> None:
        self._hypervisor = hypervisor
        self._spec = spec

    async def restore(self, _template: Template | None) -> MicroVM:
        return await self._hypervisor.boot(self._spec)


@pytest.fixture(scope="session")
def results(
    process: ProcessHypervisor,
    vm_spec: VmSpec,
    vm_directories: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Result]:
    """What became of all of them, tried once."""
    cache, runtime = vm_directories
    ground = Ground(
        hypervisor=cast("QemuHypervisor", Booting(process, vm_spec)),
        template=cast("Template", None),
        settings=replace(load(), cache_dir=cache, state_dir=runtime.parent / "process-state"),
        room=tmp_path_factory.mktemp("process-attacks"),
    )
    return anyio.run(try_inside, ground, MINE, lambda _what, _share: None)


def test_the_exceptions_are_attacks_that_exist() -> None:
    assert {attack.name for attack in ATTACKS} >= {*ELSEWISE, *SAME_USER}


@pytest.mark.parametrize("attack", MINE, ids=lambda attack: attack.name)
def test_an_attack_by_a_command_is_held(attack: Attack, results: dict[str, Result]) -> None:
    result = results[attack.name]
    if result.finding.verdict is Verdict.UNAVAILABLE:
        pytest.skip(f"{result.finding.reason} (to get it: {result.finding.get})")
    assert result.finding.verdict is Verdict.ENFORCED, (result.finding.reason, result.as_json())
