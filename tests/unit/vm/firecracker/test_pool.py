"""The pool hands out Firecracker machines as it does any other."""

import os
import secrets
import time
from pathlib import Path

import pytest

from fcdouble.fixtures import double_image, double_of
from luminaguard.domain.execution import Execution
from luminaguard.testing.hypervisor import exited
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.pool.pool import MachinePool
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.spec import VmSpec

pytestmark = pytest.mark.anyio


async def test_machines_wait_paused_get_their_disks_and_are_destroyed_after(
    tmp_path: Path,
) -> None:
    hypervisor, launcher = double_of(tmp_path, {"sh": lambda _guest, _execution: exited(0)})
    spec = VmSpec(image=double_image(tmp_path / "image"), memory_mib=128)
    image = os.open(tmp_path / "ws.img", os.O_CREAT | os.O_RDWR)
    os.write(image, b"hsqs")
    scratch = scratch_disk(tmp_path, 8 * 1024 * 1024)
    seen: set[str] = set()
    async with MachinePool(hypervisor, spec, PoolSettings(size=2)) as pool:
        await pool.filled(30)
        assert [engine.state for engine in launcher.engines[-2:]] == ["Paused", "Paused"]
        for turn in range(3):
            lease = await pool.lease(f"session-{turn}")
            machine = lease.vm
            await machine.attach(workspace_fd=image, scratch_fd=scratch)
            if machine.state is VmState.PAUSED:
                await machine.resume()
            await machine.reseed(secrets.token_bytes(64), time.time_ns())
            await machine.mount(GuestMount(path="/work/x", filesystem="squashfs"))
            assert (await machine.execute(Execution(argv=("true",)))).exit_code == 0
            seen.add(machine.id)
            await lease.release()
            assert machine.state is VmState.STOPPED
    assert len(seen) == 3
    assert launcher.left == []
    assert not [vmm for vmm in launcher.vmms if vmm.alive]
    hypervisor.close()
    os.close(image)
    os.close(scratch)
