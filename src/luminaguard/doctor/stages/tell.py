"""How a stage tells what it did: everything it tries becomes a step, whatever came of it."""

import errno
from collections.abc import Awaitable, Callable

from luminaguard.doctor.attack import Step
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.execution import Ended, Execution
from luminaguard.errors import GuestError, LuminaGuardError
from luminaguard.vm.hypervisor import MicroVM

_WORDS = 120


def fact(did: str, value: JsonValue) -> Step:
    """Return the step that states a fact."""
    return Step(did=did, value=value)


def refusal(did: str, problem: Exception) -> Step:
    """Return the step that was refused by an error."""
    if isinstance(problem, OSError) and problem.errno is not None:
        name = errno.errorcode.get(problem.errno, str(problem.errno))
        return Step(did=did, refused=name)
    return Step(did=did, refused=type(problem).__name__, value=str(problem)[:_WORDS])


def tried(did: str, action: Callable[[], object]) -> Step:
    """Do something of the operating system's, and tell how it went."""
    try:
        action()
    except (OSError, LuminaGuardError) as problem:
        return refusal(did, problem)
    return Step(did=did)


async def awaited(did: str, action: Awaitable[object]) -> Step:
    """Do something with a machine, and tell how it went."""
    try:
        await action
    except (OSError, LuminaGuardError) as problem:
        return refusal(did, problem)
    return Step(did=did)


async def said(machine: MicroVM, code: str, *, limit_s: float = 30.0) -> str:
    """Run Python in a machine, as a program; return what it printed.

    Raises:
        GuestError: it did not end well.
    """
    report = await machine.execute(
        Execution(argv=("python3", "-I", "-c", code), cwd="/", timeout_s=limit_s)
    )
    if report.ended is not Ended.EXITED or report.exit_code != 0:
        words = report.stderr.decode(errors="replace").strip()[-_WORDS:]
        raise GuestError(f"a command of the doctor's own ended with {report.exit_code}: {words}")
    return report.stdout.decode(errors="replace").strip()
