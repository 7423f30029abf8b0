"""Attacks from inside a guest: sent in, tried by `kit.py` as the ordinary user, and read back."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources

from luminaguard.doctor.attack import Attack, Evidence, Finding, GuestScript, Result, Step, Verdict
from luminaguard.doctor.evidence import CONTROL, distrusted, read_evidence
from luminaguard.doctor.ground import WORKSPACE, Ground, Machine, Progress
from luminaguard.doctor.judges import DROPPED, KEPT, LEFT, LIVES, TOOK
from luminaguard.domain.execution import Ended, Execution, GuestReport
from luminaguard.errors import GuestError, VmError

_BATCH_LIMIT_S = 90.0
_BATCH_BYTES = 4 * 1024**2
FLOOD_BYTES = 256 * 1024
"""Of output are kept of an attack that has a machine of its own."""


async def try_inside(
    ground: Ground, attacks: Sequence[Attack], progress: Progress
) -> dict[str, Result]:
    """Try attacks that are `GuestScript`s; return name → result.

    Harmless ones go together, once as a program and once in the resident interpreter.
    """
    scripts = {attack.name: (attack, attack.script) for attack in attacks}
    quiet = [a for a, s in scripts.values() if isinstance(s, GuestScript) and not s.alone]
    loud = [(a, s) for a, s in scripts.values() if isinstance(s, GuestScript) and s.alone]
    results = await _try_together(ground, quiet, progress) if quiet else {}
    for done, (attack, script) in enumerate(loud):
        progress("attacks from a command that harm their machine", done / len(loud))
        results[attack.name] = await _try_alone(ground, attack, script)
    return results


async def _try_together(
    ground: Ground, attacks: Sequence[Attack], progress: Progress
) -> dict[str, Result]:
    codes = {a.name: a.script.code for a in attacks if isinstance(a.script, GuestScript)}
    async with ground.machine() as machine:
        progress("attacks from a command", 0.0)
        program = await _batch(machine, codes, resident=False)
        progress("attacks from a command", 0.5)
        resident = await _batch(machine, codes, resident=True)
    return {attack.name: _both(attack, program, resident) for attack in attacks}


def _both(
    attack: Attack, program: Mapping[str, Evidence], resident: Mapping[str, Evidence]
) -> Result:
    """Return what the program met, unless only Python code in the resident interpreter got by."""
    first, second = program[attack.name], resident[attack.name]
    finding, other = attack.judge(first), attack.judge(second)
    if finding.verdict is Verdict.BROKEN or other.verdict is not Verdict.BROKEN:
        return Result(attack=attack, finding=finding, evidence=first)
    finding = Finding(verdict=Verdict.BROKEN, reason=f"in the interpreter: {other.reason}")
    return Result(attack=attack, finding=finding, evidence=second)


async def _batch(
    machine: Machine, codes: Mapping[str, str], *, resident: bool
) -> dict[str, Evidence]:
    names = (CONTROL, *codes)
    nonce = secrets.token_hex(16)
    try:
        report = await machine.vm.execute(
            execution(nonce, {CONTROL: "", **codes}, resident=resident, limit_s=_BATCH_LIMIT_S)
        )
    except VmError as lost:
        return dict.fromkeys(names, Evidence(trouble=f"the machine was lost: {lost}"))
    evidence = read_evidence(report.stdout, nonce, names)
    why = distrusted(evidence[CONTROL])
    if why is not None:
        why += _last_words(report)
        return dict.fromkeys(names, Evidence(trouble=why))
    return evidence


async def _try_alone(ground: Ground, attack: Attack, script: GuestScript) -> Result:
    """Try one attack in a machine of its own, and see whether that machine can go on."""
    nonce = secrets.token_hex(16)
    codes = {CONTROL: "", attack.name: script.code}
    try:
        async with ground.machine() as machine:
            report = await machine.vm.execute(
                execution(nonce, codes, resident=False, limit_s=script.limit_s)
            )
            after = await machine.vm.execute(Execution(argv=("true",), cwd="/", timeout_s=20))
    except GuestError as lost:
        evidence = Evidence(trouble=f"it took the machine down: {lost}")
        return Result(attack=attack, finding=attack.judge(evidence), evidence=evidence)
    told = read_evidence(report.stdout, nonce, codes)
    why = distrusted(told[CONTROL])
    evidence = replace(told[attack.name], trouble=why) if why else told[attack.name]
    evidence = _with_hosts_view(evidence, report, after)
    return Result(attack=attack, finding=attack.judge(evidence), evidence=evidence)


def _with_hosts_view(evidence: Evidence, report: GuestReport, after: GuestReport) -> Evidence:
    """Add what the host saw: how long it took, what was left, whether the machine goes on."""
    ended = evidence.ended
    if not ended and report.ended is Ended.SIGNALED:
        ended = f"signal {report.signal}"
    if report.ended is Ended.TIMED_OUT:
        ended = "timed out"
    seen = (
        Step(did=LIVES, value=after.exit_code if after.ended is Ended.EXITED else -1),
        Step(did=TOOK, value=round(report.duration_s, 3)),
        Step(did=LEFT, value=len(report.leftover)),
        Step(did=KEPT, value=len(report.stderr)),
        Step(did=DROPPED, value=report.stderr_dropped_bytes),
    )
    return replace(evidence, host=seen, ended=ended)


def execution(nonce: str, codes: Mapping[str, str], *, resident: bool, limit_s: float) -> Execution:
    """Return the execution that tries scripts in the words of `kit.py`."""
    call = f"main({nonce!r}, {dict(codes)!r}, {max(int(limit_s) - 2, 8)})"
    program = f"{_kit()}\n{call}\n"
    return Execution(
        argv=() if resident else ("python3", "-I", "-"),
        python=program if resident else None,
        stdin=b"" if resident else program.encode(),
        cwd=WORKSPACE,
        timeout_s=limit_s,
        output_limit_bytes=_BATCH_BYTES if limit_s == _BATCH_LIMIT_S else FLOOD_BYTES,
    )


@cache
def _kit() -> str:
    """Return the text of `kit.py`; it is never imported here."""
    return resources.files("luminaguard.doctor").joinpath("kit.py").read_text(encoding="utf-8")


def _last_words(report: GuestReport) -> str:
    words = report.stderr.decode(errors="replace").strip().splitlines()
    return f" ({report.ended}, {report.exit_code}: {words[-1][:200] if words else 'silent'})"
