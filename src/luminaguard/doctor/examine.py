"""The examination: a ground of real machines, every attack tried on it, and the report."""

import os
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from anyio import to_thread

from luminaguard.config import Settings
from luminaguard.doctor.attack import (
    DONE,
    Attack,
    CannotTry,
    Evidence,
    GuestScript,
    JailScript,
    Result,
    Stage,
    Verdict,
)
from luminaguard.doctor.ground import Ground, Progress
from luminaguard.doctor.inside import try_inside
from luminaguard.doctor.jailed import try_from_the_vmm
from luminaguard.doctor.judges import unavailable
from luminaguard.doctor.registry import ALLOWED
from luminaguard.doctor.report import Report
from luminaguard.errors import LuminaGuardError
from luminaguard.runtime import machine_spec
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.linux import try_lock

_ROOM = "doctor-"


async def examine(
    settings: Settings, attacks: Sequence[Attack], progress: Progress, *, complete: bool = True
) -> Report:
    """Try attacks on machines of this host and return what came of them.

    Args:
        settings: Whose image, shape of machine, cache and waived jail layers are used.
        attacks: Which.
        progress: Told what is under way.
        complete: Whether `attacks` are all that there are.

    Raises:
        HypervisorUnavailable: this host runs no machines; says what is missing.
        ImageError: there is no guest image.
    """
    started_s = time.monotonic()
    async with proving_ground(settings, progress) as ground:
        probe = await ground.hypervisor.probe()
        async with await ground.hypervisor.restore(ground.template) as machine:
            isolation = machine.isolation
        results = await try_all(ground, attacks, progress)
    return Report(
        results=tuple(results[attack.name] for attack in attacks),
        isolation=isolation,
        probe=probe,
        image=ground.template.spec.image.digest,
        seconds=time.monotonic() - started_s,
        complete=complete,
    )


@asynccontextmanager
async def proving_ground(settings: Settings, progress: Progress) -> AsyncGenerator[Ground]:
    """Give machines to attack, and a private room; both are gone afterwards."""
    spec = await to_thread.run_sync(machine_spec, settings, settings.vm.image)
    room = await to_thread.run_sync(make_room, settings.cache_dir)
    hypervisor = QemuHypervisor(
        settings.cache_dir,
        settings.runtime_dir,
        allow_missing=frozenset(settings.vm.allow_missing_layers),
        image=spec.image,
    )
    try:
        progress("a machine to attack", None)
        template = await hypervisor.template(spec)
        yield Ground(hypervisor=hypervisor, template=template, settings=settings, room=room.path)
    finally:
        hypervisor.close()
        room.close()


async def try_all(
    ground: Ground, attacks: Sequence[Attack], progress: Progress
) -> dict[str, Result]:
    """Try attacks; return name → result."""
    scripts = [attack for attack in attacks if isinstance(attack.script, GuestScript)]
    jailed = [attack for attack in attacks if isinstance(attack.script, JailScript)]
    staged = [attack for attack in attacks if attack not in scripts and attack not in jailed]
    results = await try_inside(ground, scripts, progress) if scripts else {}
    if jailed:
        results |= await try_from_the_vmm(ground, jailed, progress)
    for done, attack in enumerate(staged):
        progress("attacks over whole machines", done / len(staged))
        if callable(attack.script):
            results[attack.name] = await _try_stage(ground, attack, attack.script)
    profile = ground.template.spec.profile.name
    return {name: as_chosen(result, profile) for name, result in results.items()}


def as_chosen(result: Result, profile: str) -> Result:
    """Return a result in the light of the user's choice: some profiles allow some attacks."""
    allowed = result.attack.name in ALLOWED.get(profile, ())
    if not allowed or result.finding.verdict is not Verdict.BROKEN:
        return result
    why = f"the profile {profile!r} allows it: {result.finding.reason}"
    return replace(result, finding=unavailable(why, 'profile = "strict" in [vm]'))


async def _try_stage(ground: Ground, attack: Attack, stage: Stage) -> Result:
    try:
        steps = await stage(ground)
    except CannotTry as lacking:
        finding = unavailable(str(lacking), lacking.get)
        return Result(attack=attack, finding=finding, evidence=Evidence())
    except (LuminaGuardError, OSError, ValueError) as problem:
        evidence = Evidence(trouble=f"{type(problem).__name__}: {problem}")
    else:
        evidence = Evidence(steps=tuple(steps), ran=True, ended=DONE)
    return Result(attack=attack, finding=attack.judge(evidence), evidence=evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A private directory, held by a lock for as long as its owner lives."""

    path: Path
    lock: int

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def make_room(cache_dir: Path) -> Room:
    """Make a room in the cache directory, and remove those whose owners were killed."""
    cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in cache_dir.glob(f"{_ROOM}*"):
        lock = os.open(left, os.O_RDONLY)
        try:
            if try_lock(lock):
                shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(lock)
    path = Path(tempfile.mkdtemp(prefix=_ROOM, dir=cache_dir))
    lock = os.open(path, os.O_RDONLY)
    try_lock(lock)
    return Room(path=path, lock=lock)
