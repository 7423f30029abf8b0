"""Machines made on demand."""

from pathlib import Path

import pytest

from luminaguard.errors import TemplateError
from luminaguard.image.image import GuestImage
from luminaguard.testing.hypervisor import FakeHypervisor, FakeMicroVM
from luminaguard.vm.direct import DirectSource
from luminaguard.vm.hypervisor import Template
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec

SPEC = VmSpec(image=GuestImage(directory=Path("/nowhere"), digest="0" * 64))


class DamagedOnce(FakeHypervisor):
    """Finds a template damaged when it is first used."""

    found = False
    asked = 0

    async def template(self, spec: VmSpec) -> Template:
        self.asked += 1
        return await super().template(spec)

    async def restore(self, template: Template) -> FakeMicroVM:
        if not self.found:
            self.found = True
            raise TemplateError("the template's memory is not what was saved")
        return await super().restore(template)


@pytest.mark.anyio
async def test_a_template_found_damaged_when_it_is_used_is_asked_for_anew(tmp_path: Path) -> None:
    hypervisor = DamagedOnce(directory=tmp_path)
    lease = await DirectSource(hypervisor, lambda: SPEC).lease("session-1")
    assert hypervisor.asked == 2
    assert lease.vm.state is VmState.RUNNING
    await lease.release()
    assert lease.vm.state is VmState.STOPPED
