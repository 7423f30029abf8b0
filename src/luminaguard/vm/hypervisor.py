"""The contract between LuminaGuard and whatever runs its machines.

A `Hypervisor` makes machines: cold by `boot`, in milliseconds by `restore` from a template. A
`MicroVM` is one running guest. Every backend passes the suite in `tests/conformance/`; one that
this host cannot run raises `HypervisorUnavailable` naming the missing piece, and never pretends.

Invariants, for every implementation:
- A machine that is not `STOPPED` has a live process (or its double), and `stop()` always ends it.
- Nothing outlives the process that made it, even if that process is killed.
- Two machines never share writable memory, disks or a channel.
- "Spawned" means: the guest has answered a real request. `spawn_ms` is measured up to there.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.harvest import UpperRecord
from luminaguard.domain.isolation import Isolation, Tier
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do; callers ask these flags, never the type."""

    snapshots: bool
    """`snapshot()` and `restore()` work; otherwise machines are booted for every use."""
    pause: bool
    swap_disks: bool
    """`attach()` works on a machine that is already running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What booting something on this host showed."""

    tier: Tier
    accelerator: str
    version: str
    tried: tuple[tuple[str, str], ...] = ()
    """(accelerator, why it was not taken), in the order tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A booted, warm guest that never saw a workspace, saved in the cache directory."""

    key: str
    """Digest of everything that shapes it: VMM, accelerator, CPU, image, agent, spec."""
    directory: Path
    spec: VmSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestMount:
    """How the workspace is put together inside the guest."""

    path: str
    """Absolute path, the same as on the host."""
    filesystem: str
    """"squashfs" or "erofs", of the image in the workspace slot."""


class MicroVM(Protocol):
    """One running guest. An async context manager: leaving it stops the machine.

    Guest operations (`mount` … `harvest`) are allowed in RUNNING only. They raise `GuestLost` when
    the machine dies under them, `WireError` when the guest breaks the protocol, and
    `VmStateError` when the state forbids them.
    """

    @property
    def id(self) -> str:
        """Unique over all machines of all time, as far as 128 random bits can be."""
        ...

    @property
    def pid(self) -> int:
        """Process id of the VMM (of the host process, for a double)."""
        ...

    @property
    def state(self) -> VmState:
        """Where the machine stands now."""
        ...

    @property
    def isolation(self) -> Isolation:
        """Tier and jail layers that this machine really has."""
        ...

    @property
    def spawn_ms(self) -> float:
        """From the request for the machine to the guest's first answer."""
        ...

    async def __aenter__(self) -> Self:
        """Return the machine itself."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the machine."""
        ...

    async def attach(self, *, workspace_fd: int, scratch_fd: int) -> None:
        """Swap the two disk slots' placeholders for these open files.

        `workspace_fd` is read-only to the guest; `scratch_fd` holds an empty ext4 file system.
        The machine keeps its own duplicates; the caller still owns and closes its descriptors.
        """
        ...

    async def reseed(self, entropy: bytes, wall_clock_ns: int) -> None:
        """Give the guest fresh randomness (64 bytes) and the time: first request after restore."""
        ...

    async def mount(self, mount: GuestMount) -> None:
        """Mount scratch, workspace image and overlay; commands can then use the workspace."""
        ...

    async def exercise(self) -> None:
        """Run a few commands of our own, so that what they need is warm; before any other use.

        Raises:
            GuestError: one did not end well; the machine is not fit for use.
        """
        ...

    async def execute(self, execution: Execution) -> GuestReport:
        """Run a command to its end, then kill whatever it left.

        A guest command that fails or times out is a value. Cancellation kills the command.
        """
        ...

    def harvest(self, *, skip: Sequence[bytes] = ()) -> AsyncIterator[UpperRecord]:
        """Freeze, then stream the overlay's upper layer.

        `skip`: directories, relative to the workspace root, whose contents need not be sent with
        their bytes. The guest may ignore it; the host never relies on it.
        """
        ...

    async def pause(self) -> None:
        """Stop the guest's CPU: it costs nothing and changes nothing until `resume`."""
        ...

    async def resume(self) -> None:
        """Let the guest go on."""
        ...

    async def snapshot(self, directory: Path) -> None:
        """Save the machine as a template into an existing, empty directory, and stop it."""
        ...

    async def stop(self) -> None:
        """End the machine and wait until it is gone. Idempotent; works in every state."""
        ...


class Hypervisor(Protocol):
    """Makes micro-VMs."""

    @property
    def name(self) -> str:
        """The backend's name: "qemu", "firecracker", ..."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        ...

    async def probe(self) -> Probe:
        """Find out, by booting, what this host gives.

        Raises:
            HypervisorUnavailable: with the missing piece and the command that mends it.
        """
        ...

    async def boot(self, spec: VmSpec) -> MicroVM:
        """Boot a machine from its image; returns once the guest answered."""
        ...

    async def template(self, spec: VmSpec) -> Template:
        """Return the template for `spec`, booting and saving it if there is none that is whole.

        Its memory may be checked as late as by its first `restore`. A template that was found
        damaged there is made anew by the next call here.
        """
        ...

    async def restore(self, template: Template) -> MicroVM:
        """Make a clone of a template; returns once the guest answered.

        Raises:
            TemplateError: the template is missing, stale or does not match its manifest.
        """
        ...
