"""Processes of Firecracker's are started confined, watched and ended; a stand-in plays them."""

import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from fcdouble.engine import VERSION
from fcdouble.fixtures import double_image
from luminaguard.domain.execution import Execution
from luminaguard.errors import GuestLost, HypervisorUnavailable
from luminaguard.vm.backends.firecracker.backend import FirecrackerHypervisor, Host
from luminaguard.vm.backends.firecracker.host import Programs
from luminaguard.vm.backends.firecracker.jail.launch import HostLauncher
from luminaguard.vm.backends.firecracker.room import sweep
from luminaguard.vm.backends.firecracker.shape import shape_of
from luminaguard.vm.backends.firecracker.template import MemoryMode
from luminaguard.vm.backends.firecracker.version import parse_version
from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec

pytestmark = [pytest.mark.anyio, pytest.mark.root]

_TESTS = Path(__file__).parents[3]
_SCRIPT = """#!{python}
import sys
sys.path[:0] = {paths!r}
if sys.argv[1:] == ["--version"]:
    print("{name} v{version}")
    sys.exit()
from fcdouble.jailer import main
main()
"""


def programs(directory: Path) -> Programs:
    """Write programs that play Firecracker's."""
    directory.mkdir()
    for name in ("firecracker", "jailer"):
        path = directory / name
        paths = [str(_TESTS), str(_TESTS.parent / "src")]
        content = _SCRIPT.format(python=sys.executable, paths=paths, name=name, version=VERSION)
        path.write_text(content)
        path.chmod(0o755)
    return Programs(firecracker=directory / "firecracker", jailer=directory / "jailer")


class World:
    def __init__(self, base: Path, memory: MemoryMode = MemoryMode.FILE) -> None:
        self.base = base
        self.programs = programs(base / "bin")
        self.launcher = HostLauncher(self.programs, base / "cache", base / "run", frozenset())
        version = parse_version(VERSION)
        assert version is not None
        host = Host(identity="stand-in", version=version, launcher=self.launcher)
        image = double_image(base / "image")
        self.spec = VmSpec(image=image, memory_mib=128)
        self.hypervisor = FirecrackerHypervisor(
            base / "cache",
            base / "run",
            image=image,
            memory=memory,
            host=lambda: host,
            check_image=lambda _: None,
        )

    @property
    def left(self) -> list[Path]:
        return list((self.base / "cache/firecracker/machines").glob("*/*"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    try:
        tool("bwrap")
    except HypervisorUnavailable as missing:
        pytest.skip(str(missing))
    made = World(tmp_path)
    yield made
    made.hypervisor.close()
    assert made.left == []


async def test_a_machine_has_a_user_and_namespaces_of_its_own_and_ends_without_a_trace(
    world: World,
) -> None:
    machine = await world.hypervisor.boot(world.spec)
    pid = machine.pid
    status = await anyio.Path(f"/proc/{pid}/status").read_text()
    assert "Uid:\t0" not in status
    layers = set(machine.isolation.jail.layers)
    wanted = {"seccomp", "no-new-privileges", "no-capabilities", "mount-namespace"}
    wanted |= {"pid-namespace", "net-namespace", "ipc-namespace", "distinct-uid", "no-core-dumps"}
    wanted |= {"uts-namespace", "cgroup-namespace"}
    assert wanted <= layers, machine.isolation.jail.missing
    assert "QEMU" not in str(machine.isolation.as_json())
    assert b"--id" in await anyio.Path(f"/proc/{pid}/cmdline").read_bytes()
    await machine.stop()
    assert machine.state is VmState.STOPPED
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_clone_can_read_its_template_and_not_change_it(world: World) -> None:
    template = await world.hypervisor.template(world.spec)
    before = (template.directory / "ram").stat().st_mtime_ns
    async with await world.hypervisor.restore(template) as machine:
        assert "sealed-template" in machine.isolation.jail.layers
        await machine.reseed(secrets.token_bytes(64), time.time_ns())
        report = await machine.execute(Execution(argv=("sh", "-c", "look")))
        uid, seen = report.stdout.decode().split(" ", 1)
        assert int(uid) >= 1_900_000_000
        assert "['dev', 'firecracker', 'ro', 'rw'] ['memory', 'root', 'state', 'workspace']" in seen
    assert (template.directory / "ram").stat().st_mtime_ns == before


async def test_a_process_that_dies_under_a_command_is_told_and_cleaned_up(world: World) -> None:
    machine = await world.hypervisor.boot(world.spec)
    await machine.reseed(secrets.token_bytes(64), time.time_ns())
    with anyio.fail_after(30), pytest.raises(GuestLost):
        await machine.execute(Execution(argv=("sh", "-c", "die")))
    assert machine.state is VmState.STOPPED
    assert world.left == []


async def test_a_jailer_that_refuses_is_quoted(world: World) -> None:
    assert world.programs.jailer is not None
    world.programs.jailer.write_text("#!/bin/sh\necho 'Jailer error: no such thing' >&2\nexit 1\n")
    with anyio.fail_after(30), pytest.raises(GuestLost, match="Jailer error: no such thing"):
        await world.launcher.launch(shape_of(world.spec))


async def test_a_program_that_never_answers_is_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luminaguard.vm.backends.firecracker.jail.launch._START_S", 5.0)
    assert world.programs.jailer is not None
    world.programs.jailer.write_text("#!/bin/sh\nexec sleep 600\n")
    with anyio.fail_after(60), pytest.raises(GuestLost, match="did not answer"):
        await world.launcher.launch(shape_of(world.spec))


async def test_a_process_without_a_filter_is_refused(world: World) -> None:
    assert world.programs.jailer is not None
    script = world.programs.jailer.read_text()
    unfiltered = "import fcdouble.jailer as jailer\njailer._filter = lambda: None\njailer.main()\n"
    world.programs.jailer.write_text(script.partition("from fcdouble")[0] + unfiltered)
    with pytest.raises(HypervisorUnavailable, match="seccomp"):
        await world.hypervisor.boot(world.spec)


async def test_page_faults_keep_the_template_out_of_the_jail(tmp_path: Path) -> None:
    world = World(tmp_path, MemoryMode.UFFD)
    template = await world.hypervisor.template(world.spec)
    async with await world.hypervisor.restore(template) as machine:
        assert "sealed-template" in machine.isolation.jail.layers
        await machine.reseed(secrets.token_bytes(64), time.time_ns())
        report = await machine.execute(Execution(argv=("sh", "-c", "look")))
        assert b"memory" not in report.stdout
    world.hypervisor.close()
    assert world.left == []


_HOLDER = """
import asyncio, sys
sys.path[:0] = {paths!r}
import importlib.util
from pathlib import Path
found = importlib.util.spec_from_file_location("holding", {file!r})
module = importlib.util.module_from_spec(found)
found.loader.exec_module(module)

async def hold():
    world = module.World(Path({base!r}))
    machine = await world.hypervisor.boot(world.spec)
    print(machine.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(hold())
"""


async def test_nothing_outlives_a_killed_luminaguard_and_the_next_one_cleans_up(
    tmp_path: Path,
) -> None:
    base = tmp_path / "held"
    base.mkdir()
    paths = [str(_TESTS), str(_TESTS.parent / "src")]
    script = _HOLDER.format(paths=paths, file=__file__, base=str(base))
    async with await anyio.open_process([sys.executable, "-c", script]) as holder:
        assert holder.stdout is not None
        with anyio.fail_after(90):
            pid = int(await holder.stdout.receive())
        os.kill(pid, 0)
        holder.kill()
    with anyio.fail_after(30):
        while os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC110, ASYNC240 - nobody tells of its end
            await anyio.sleep(0.05)
    left = base / "cache/firecracker/machines"
    assert [entry.name for entry in left.glob("*/*")], "a crash leaves a directory behind"
    sweep(left)
    assert not list(left.glob("*/*"))
