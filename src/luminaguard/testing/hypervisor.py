r"""A hypervisor in memory, for tests and examples: no process, no wire, the same contract.

    def edit(guest: FakeGuest, execution: Execution) -> GuestReport:
        guest.upper.write("a.txt", b"changed\n")
        return exited(0, stdout=b"done\n")

    hypervisor = FakeHypervisor({"edit": edit})

A guest program is looked up by `argv[0]`, or by "python" for code of the resident interpreter. It
may be a coroutine function, and then be cancelled or time out. To misbehave, it may

- die: raise `GuestLost("...")`; the machine is then stopped, as a real one would be,
- break the protocol: raise `WireError("...")`; likewise,
- lie: set `guest.claims` to the records that every later harvest yields,
- flood: return more output than `execution.output_limit_bytes`; the rest is counted, not kept.

`faults` makes whole operations fail: {"mount": GuestLost("..."), "restore": TemplateError("...")}.
`holds` makes them wait: an operation whose name is there goes on once its event is set.
"""

import inspect
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.lowlevel

from luminaguard.domain.calls import canonical_json
from luminaguard.domain.execution import Ended, Execution, GuestReport
from luminaguard.domain.harvest import UpperRecord
from luminaguard.domain.isolation import GuestHardening, Isolation, Jail, Tier
from luminaguard.errors import (
    GuestLost,
    TemplateError,
    VmError,
    VmStateError,
    WireError,
)
from luminaguard.testing.upper import UpperLayer
from luminaguard.vm.hypervisor import Capabilities, GuestMount, Probe, Template
from luminaguard.vm.lifecycle import VmEvent, VmState, after
from luminaguard.vm.spec import VmSpec

_MANIFEST = "manifest.json"


@dataclass(slots=True)
class FakeGuest:
    """What a guest program can see and change."""

    entropy: bytes
    """What the machine was reseeded with."""
    wall_clock_ns: int
    mount: GuestMount | None = None
    upper: UpperLayer = field(default_factory=UpperLayer)
    claims: Sequence[UpperRecord] | None = None
    """Said by every harvest instead of the truth."""
    _drawn: int = 0

    def random(self, size_bytes: int) -> bytes:
        """Return the next random bytes: they follow from `entropy` alone."""
        self._drawn += 1
        seed = self.entropy + self._drawn.to_bytes(8, "big")
        blocks = (sha256(seed + bytes([n])).digest() for n in range(size_bytes // 32 + 1))
        return b"".join(blocks)[:size_bytes]


Program = Callable[[FakeGuest, Execution], GuestReport | Awaitable[GuestReport]]


def exited(code: int, *, stdout: bytes = b"", stderr: bytes = b"") -> GuestReport:
    """Return the report of a command that ended by itself."""
    return GuestReport(ended=Ended.EXITED, exit_code=code, stdout=stdout, stderr=stderr)


def _echo(_: FakeGuest, execution: Execution) -> GuestReport:
    return exited(0, stdout=" ".join(execution.argv[1:]).encode() + b"\n")


BUILTINS: Mapping[str, Program] = {
    "true": lambda _guest, _execution: exited(0),
    "false": lambda _guest, _execution: exited(1),
    "echo": _echo,
}
"""Programs that every fake guest has."""


class FakeMicroVM:
    """A `MicroVM` whose guest is a Python object. `guest` is open to tests."""

    def __init__(
        self,
        spec: VmSpec,
        programs: Mapping[str, Program],
        faults: Mapping[str, Exception],
        holds: Mapping[str, anyio.Event],
    ) -> None:
        """Make a machine that is about to start."""
        self.id = secrets.token_hex(16)
        self.pid = os.getpid()
        self.isolation = Isolation(
            backend="fake",
            tier=Tier.PROCESS,
            accelerator="none",
            jail=Jail(layers=()),
            guest=GuestHardening(profile="none", lsm="none"),
        )
        self.spawn_ms = 0.0
        self.state = VmState.STARTING
        self.guest = FakeGuest(entropy=b"", wall_clock_ns=0)
        self.disks: tuple[int, int] | None = None
        """The machine's own duplicates: workspace image, scratch disk."""
        self.spec = spec
        self.executed: list[Execution] = []
        """Every command that was started, in order."""
        self.exercised = 0
        self._programs = programs
        self._faults = faults
        self._holds = holds

    def ready(self, started_s: float) -> None:
        """Note that the guest answered."""
        self.state = after(self.state, VmEvent.READY)
        self.spawn_ms = (time.perf_counter() - started_s) * 1000

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def attach(self, *, workspace_fd: int, scratch_fd: int) -> None:
        """Keep duplicates of both files, as a real machine does."""
        if self.state not in {VmState.RUNNING, VmState.PAUSED}:
            raise VmStateError(f"a {self.state} machine takes no disks", state=self.state.value)
        await self._perhaps_fail("attach")
        limit = self.spec.disk_limit_bytes
        for fd in (workspace_fd, scratch_fd):
            size = os.fstat(fd).st_size
            if size > limit:
                raise VmError(f"a disk has {size} bytes, the machine's slot {limit}")
        self._close_disks()
        self.disks = (os.dup(workspace_fd), os.dup(scratch_fd))

    async def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Give the guest what its random bytes follow from."""
        await self._request("reseed")
        if len(entropy) < 32:
            raise ValueError("at least 32 bytes of entropy")
        self.guest.entropy, self.guest.wall_clock_ns = entropy, wall_clock_ns

    async def mount(self, mount: GuestMount) -> None:
        """Make an empty upper layer over the workspace."""
        await self._request("mount")
        if self.disks is None:
            raise VmStateError("no disks are attached")
        self.guest.mount, self.guest.upper = mount, UpperLayer()

    async def exercise(self) -> None:
        """Count it: there is nothing to warm."""
        await self._request("exercise")
        self.exercised += 1

    async def execute(self, execution: Execution) -> GuestReport:
        """Run a guest program."""
        await self._request("execute")
        if not self.guest.entropy:
            raise VmStateError("the guest must be reseeded before it runs anything")
        self.executed.append(execution)
        started_s = time.perf_counter()
        report = await self._run(execution)
        return replace(
            _within(report, execution.output_limit_bytes),
            duration_s=time.perf_counter() - started_s,
        )

    async def harvest(self, *, skip: Sequence[bytes] = ()) -> AsyncIterator[UpperRecord]:
        """Tell the upper layer, or what the guest claims."""
        await self._request("harvest")
        told = self.guest.upper.records(skip) if self.guest.claims is None else self.guest.claims
        for record in list(told):
            await anyio.lowlevel.checkpoint()
            yield record

    async def pause(self) -> None:
        """Stop the guest."""
        following = after(self.state, VmEvent.PAUSE)
        await self._perhaps_fail("pause")
        self.state = following

    async def resume(self) -> None:
        """Let the guest go on."""
        following = after(self.state, VmEvent.RESUME)
        await self._perhaps_fail("resume")
        self.state = following

    async def snapshot(self, directory: Path) -> None:
        """Write a manifest that `FakeHypervisor.restore` accepts, and stop."""
        following = after(self.state, VmEvent.SNAPSHOT)
        await self._perhaps_fail("snapshot")
        await anyio.Path(directory / _MANIFEST).write_bytes(_manifest(self.spec))
        self._close_disks()
        self.state = following

    def die(self) -> None:
        """End as a machine does whose process was killed from outside."""
        self._lost()

    async def stop(self) -> None:
        """End the machine."""
        await self._held("stop")
        self.state = after(self.state, VmEvent.STOP)
        self._close_disks()

    async def _run(self, execution: Execution) -> GuestReport:
        name = "python" if execution.python is not None else execution.argv[0]
        program = self._programs.get(name) or BUILTINS.get(name)
        if program is None:
            said = f"{name}: not found\n".encode()
            return GuestReport(ended=Ended.NOT_STARTED, exit_code=127, stderr=said)
        with anyio.move_on_after(execution.timeout_s):
            try:
                report = program(self.guest, execution)
                return await report if inspect.isawaitable(report) else report
            except (GuestLost, WireError):
                self._lost()
                raise
        return GuestReport(ended=Ended.TIMED_OUT, exit_code=124)

    async def _request(self, operation: str) -> None:
        after(self.state, VmEvent.REQUEST)
        await self._perhaps_fail(operation)

    async def _perhaps_fail(self, operation: str) -> None:
        await anyio.lowlevel.checkpoint()
        await self._held(operation)
        fault = self._faults.get(operation)
        if fault is None:
            return
        if isinstance(fault, GuestLost | WireError):
            self._lost()
        raise fault

    async def _held(self, operation: str) -> None:
        if operation in self._holds:
            await self._holds[operation].wait()

    def _lost(self) -> None:
        self.state = after(self.state, VmEvent.LOST)
        self._close_disks()

    def _close_disks(self) -> None:
        for fd in self.disks or ():
            os.close(fd)
        self.disks = None


class FakeHypervisor:
    """A `Hypervisor` that makes machines out of Python callables.

    `machines` lists every machine ever made, oldest first.
    """

    name = "fake"
    capabilities = Capabilities(snapshots=True, pause=True, swap_disks=True)

    def __init__(
        self,
        programs: Mapping[str, Program] | None = None,
        *,
        faults: Mapping[str, Exception] | None = None,
        directory: Path | None = None,
    ) -> None:
        """Keep the guests' programs.

        Args:
            programs: argv[0] → what it does; added to `BUILTINS`.
            faults: Operation ("boot", "template", "restore", "attach", "reseed", "mount",
                "execute", "harvest", "pause", "resume", "snapshot") → the error it raises. May be
                changed while machines run.
            directory: Where templates are kept; None keeps them in memory only.
        """
        self.programs = dict(programs or {})
        self.faults: dict[str, Exception] = dict(faults or {})
        self.holds: dict[str, anyio.Event] = {}
        """Operation → what it waits for. May be changed at any time."""
        self.machines: list[FakeMicroVM] = []
        self._directory = directory

    async def probe(self) -> Probe:
        """Say that there is nothing but this process."""
        return Probe(tier=Tier.PROCESS, accelerator="none", version="1")

    async def boot(self, spec: VmSpec) -> FakeMicroVM:
        """Make a machine."""
        await self._perhaps_fail("boot")
        return self._make(spec)

    async def template(self, spec: VmSpec) -> Template:
        """Return a template, saving it if there is none that is whole."""
        await self._perhaps_fail("template")
        key = _key(spec)
        if self._directory is None:
            return Template(key=key, directory=Path("/nonexistent"), spec=spec)
        template = Template(key=key, directory=self._directory / key, spec=spec)
        if not _is_whole(template):
            await anyio.Path(template.directory).mkdir(mode=0o700, parents=True, exist_ok=True)
            await (await self.boot(spec)).snapshot(template.directory)
        return template

    async def restore(self, template: Template) -> FakeMicroVM:
        """Make a machine, if the template is the one that its spec leads to, and whole."""
        await self._perhaps_fail("restore")
        if template.key != _key(template.spec):
            raise TemplateError("the template is stale", hint="build it anew")
        if self._directory is not None and not _is_whole(template):
            raise TemplateError("the template is not what was saved")
        return self._make(template.spec)

    def close(self) -> None:
        """Nothing is kept that would need closing."""

    def _make(self, spec: VmSpec) -> FakeMicroVM:
        started_s = time.perf_counter()
        machine = FakeMicroVM(spec, self.programs, self.faults, self.holds)
        machine.ready(started_s)
        self.machines.append(machine)
        return machine

    async def _perhaps_fail(self, operation: str) -> None:
        if operation in self.holds:
            await self.holds[operation].wait()
        fault = self.faults.get(operation)
        if fault is not None:
            raise fault


def _within(report: GuestReport, limit_bytes: int) -> GuestReport:
    """Cut output as the host's end of a real channel does."""
    return replace(
        report,
        stdout=report.stdout[:limit_bytes],
        stderr=report.stderr[:limit_bytes],
        stdout_dropped_bytes=report.stdout_dropped_bytes + max(len(report.stdout) - limit_bytes, 0),
        stderr_dropped_bytes=report.stderr_dropped_bytes + max(len(report.stderr) - limit_bytes, 0),
    )


def _key(spec: VmSpec) -> str:
    shape = [spec.image.digest, spec.memory_mib, spec.vcpus, spec.disk_limit_bytes]
    return sha256(canonical_json(shape)).hexdigest()


def _manifest(spec: VmSpec) -> bytes:
    return canonical_json({"key": _key(spec)})


def _is_whole(template: Template) -> bool:
    try:
        return json.loads((template.directory / _MANIFEST).read_bytes()) == {"key": template.key}
    except (OSError, ValueError):
        return False
