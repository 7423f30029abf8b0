"""Many sessions at once: each edits its own tree, all machines alive at the same moment."""

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import anyio

from luminaguard.approval.card import DiffCard
from luminaguard.audit.log import AuditLog
from luminaguard.config import Settings
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.errors import LuminaGuardError
from luminaguard.runtime import Session
from luminaguard.vm.source import Lease, MachineSource

_WORK = """
import os, pathlib
seen = {
    "own": pathlib.Path("own.txt").read_text(),
    "tree": sorted(os.listdir(".")),
    "tmp": sorted(os.listdir("/tmp")),
    "home": sorted(os.listdir(os.environ["HOME"])),
    "commands": sorted(
        pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()
    ),
    "random": os.urandom(16).hex(),
}
pathlib.Path("/tmp/left").write_text(seen["own"])
pathlib.Path("seen.txt").write_text(repr(seen))
os.unlink("stale.txt")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRun:
    """What came of it."""

    sessions: int
    total_ms: float
    """From the first session's start to the last one's end."""
    memory_mib: float | None
    """PSS of all machines together while all were alive; None where the kernel does not tell."""
    results: tuple["SessionResult", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """What one session brought back."""

    mark: str
    """Random text that only this session's tree held."""
    files: dict[str, str]
    """Its workspace on the host after the commit."""
    outcome: Outcome
    whole_ms: float


@dataclass(slots=True, kw_only=True)
class _Barrier:
    """Approves, but only once every session asks: all machines are alive at that moment."""

    sessions: int
    held: "_Remembering"
    name: str = "bench"
    memory_mib: float | None = None
    _asking: int = 0
    _all_ask: anyio.Event = field(default_factory=anyio.Event)

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Answer when the last one has asked."""
        del card
        self._asking += 1
        if self._asking == self.sessions:
            self.memory_mib = memory_of([lease.vm.pid for lease in self.held.leases])
            self._all_ask.set()
        await self._all_ask.wait()
        return Decision(
            end=End.APPROVED,
            request_digest=request.digest,
            approver=self.name,
            reason="benchmark",
            at=datetime.now(UTC),
        )


@dataclass(slots=True)
class _Remembering:
    """Passes machines on and keeps count of them."""

    source: MachineSource
    leases: list[Lease] = field(default_factory=list[Lease])

    async def lease(self, owner: str) -> Lease:
        """Take one from the source."""
        lease = await self.source.lease(owner)
        self.leases.append(lease)
        return lease


async def run_fleet(
    source: MachineSource, settings: Settings, parent: Path, sessions: int
) -> FleetRun:
    """Run so many sessions at once over trees below `parent`; every one must commit.

    Raises:
        LuminaGuardError: a session did not end committed.
    """
    held = _Remembering(source)
    barrier = _Barrier(sessions=sessions, held=held)
    results: list[SessionResult] = []
    own = replace(settings, state_dir=parent / "state")
    log = AuditLog.open(own.state_dir)
    started_s = time.perf_counter()

    async def one(number: int) -> None:
        tree = _tree(parent / f"tree-{number}")
        mark = (tree / "own.txt").read_text()
        begun_s = time.perf_counter()
        async with Session(tree, approver=barrier, settings=own, machines=held, log=log) as session:
            outcome = await session.call("python", code=_WORK)
        if outcome.kind is not OutcomeKind.COMMITTED:
            raise LuminaGuardError(f"session {number} ended {outcome.kind}: {outcome.error}")
        results.append(
            SessionResult(
                mark=mark,
                files={path.name: path.read_text() for path in tree.iterdir()},
                outcome=outcome,
                whole_ms=(time.perf_counter() - begun_s) * 1000,
            )
        )

    try:
        async with anyio.create_task_group() as tasks:
            for number in range(sessions):
                tasks.start_soon(one, number)
    finally:
        log.close()
    return FleetRun(
        sessions=sessions,
        total_ms=(time.perf_counter() - started_s) * 1000,
        memory_mib=barrier.memory_mib,
        results=tuple(results),
    )


def memory_of(pids: list[int]) -> float | None:
    """Return the processes' proportional set size together, in MiB; None if it cannot be read.

    Source: Linux Documentation/filesystems/proc.rst, "smaps_rollup".
    """
    total_kib = 0
    for pid in pids:
        with suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            pss = next(line for line in text.splitlines() if line.startswith("Pss:"))
            total_kib += int(pss.split()[1])
            continue
        return None
    return round(total_kib / 1024, 1)


def _tree(tree: Path) -> Path:
    tree.mkdir()
    (tree / "own.txt").write_text(f"{secrets.token_hex(16)}\n")
    (tree / "stale.txt").write_text("to be deleted\n")
    return tree
