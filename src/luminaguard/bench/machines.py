"""Figures of machines alone: QEMU's own start, cold boot, restore, the first command."""

import json
import secrets
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from luminaguard.backends import choose, named
from luminaguard.bench.samples import Samples
from luminaguard.config import Settings
from luminaguard.domain.execution import Execution
from luminaguard.machines import machine_spec
from luminaguard.vm.backends.qemu.launch import find_qemu
from luminaguard.vm.hypervisor import Hypervisor, MicroVM, Probe, Template
from luminaguard.vm.spec import VmSpec

FLOOR = "qemu -M none, start to greeting"
COLD_BOOT = "cold boot to first answer"
RESTORE = "restore to first answer, jailed"
FIRST_ECHO = "first `sh -c echo` in a clone"
_GREETING_LIMIT_S = 20.0


def qemu_start(samples: Samples) -> None:
    """Time QEMU's bare start: what no restore can beat."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = theirs.fileno()
        command = [find_qemu(), "-M", "none", "-nodefaults", "-no-user-config", "-display", "none"]
        command += ["-chardev", f"socket,id=q,fd={fd}", "-mon", "chardev=q,mode=control"]
        ours.settimeout(_GREETING_LIMIT_S)
        started = time.perf_counter()
        with subprocess.Popen(command, pass_fds=(fd,)) as process:
            try:
                greeting = ours.makefile("rb").readline()
                samples.add(FLOOR, (time.perf_counter() - started) * 1000)
                json.loads(greeting)
            finally:
                process.kill()


async def cold_boots(samples: Samples, hypervisor: Hypervisor, spec: VmSpec, n: int) -> None:
    """Time booting from the image; also the first command, where nothing is ever restored."""
    for _ in range(n):
        async with await hypervisor.boot(spec) as machine:
            samples.add(COLD_BOOT, machine.spawn_ms)
            if not hypervisor.capabilities.snapshots:
                await _first_echo(samples, machine)


async def restores(
    samples: Samples, hypervisor: Hypervisor, template: Template, n: int, *, floor: bool
) -> None:
    """Time restores, and the first command in each clone.

    `floor`: each beside one bare start of QEMU.
    """
    for _ in range(n):
        if floor:
            await to_thread.run_sync(qemu_start, samples)
        async with await hypervisor.restore(template) as machine:
            samples.add(RESTORE, machine.spawn_ms)
            await _first_echo(samples, machine)


async def _first_echo(samples: Samples, machine: MicroVM) -> None:
    await machine.reseed(secrets.token_bytes(64), time.time_ns())
    with samples.timed(FIRST_ECHO):
        await machine.execute(Execution(argv=("/bin/sh", "-c", "echo hi")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the machines ran on."""

    backend: str
    snapshots: bool
    """Whether machines are clones; otherwise figures of clones do not exist."""
    probe: Probe


async def measure_machines(samples: Samples, settings: Settings, n: int) -> Measured:
    """Take all figures of this module; return what the machines ran on.

    That is the first backend that the settings allow and this host can run. Its template is made
    beforehand, outside of the clock.

    Raises:
        ConfigError: the settings name a backend that does not exist.
        HypervisorUnavailable: none of those that they name works here.
    """
    chosen = await choose(settings, lambda: machine_spec(settings, settings.vm.image).image)
    name = chosen.name
    chosen.close()
    spec = machine_spec(settings, settings.vm.image)
    # Another of the same kind, which has an image to be probed with.
    hypervisor = named(name).make(settings, spec.image)
    try:
        probe = await hypervisor.probe()
        if hypervisor.capabilities.snapshots:
            template = await hypervisor.template(spec)
            await cold_boots(samples, hypervisor, spec, max(3, n // 4))
            await restores(samples, hypervisor, template, n, floor=name == "qemu")
        else:
            samples.unavailable[RESTORE] = f"{name} has no snapshots: machines are booted"
            await cold_boots(samples, hypervisor, spec, n)
        snapshots = hypervisor.capabilities.snapshots
    finally:
        hypervisor.close()
    return Measured(backend=name, snapshots=snapshots, probe=probe)


def sample_tree(parent: Path, files: int) -> Path:
    """Make a tree of source-like files of about 20 kB, 100 in a directory."""
    root = Path(tempfile.mkdtemp(prefix="tree-", dir=parent))
    text = "".join(f"line {number} of a source file that looks like one\n" for number in range(420))
    for number in range(files):
        directory = root / f"d{number // 100}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}.py").write_text(f"# {number}\n{text}")
    return root
