"""Attacks by the VMM: a shell confined exactly as QEMU is, standing where QEMU stands.

QEMU cannot be told to attack its host, so a shell takes its place in the same jail: same root, same
namespaces, same user, same limits. What only QEMU itself has, its system call filter and its open
files, is tried on a running QEMU (`stages/vmm.py`). An AppArmor profile, where the host has one
loaded, comes on top: it knows no shells, so it is left out here.
"""

import os
import secrets
import socket
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import anyio
from anyio.to_thread import run_sync

from luminaguard.doctor.attack import Attack, Evidence, JailScript, Result, Step
from luminaguard.doctor.evidence import read_evidence
from luminaguard.doctor.ground import Ground, Progress
from luminaguard.doctor.judges import unavailable
from luminaguard.doctor.layers import how_to_get
from luminaguard.doctor.words import error_name
from luminaguard.errors import VmError
from luminaguard.vm.confinement.berth import Berths
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.confinement.jail import Confinement, Limits
from luminaguard.vm.confinement.jailroot import prepare_root
from luminaguard.vm.confinement.process import VmmProcess
from luminaguard.vm.linux import memory_file, read_at

FILE_BYTES = 1 << 20
MEMORY_BYTES = 64 << 20
PROCESSES = 64
_LIMITS = Limits(address_space_bytes=1 << 32, file_bytes=FILE_BYTES)
_TAKEN = CgroupLimits(memory_bytes=MEMORY_BYTES, processes=PROCESSES, cpus=1.0, weight=50)
_LIMIT_S = 30.0
_OUTPUT_BYTES = 1 << 20
_PROGRAMS = ("bash", "setpriv", "unshare", "cat", "ls", "chroot", "sh")
_PLANTED = "LUMINAGUARD_DOCTOR_PLANTED"

_KIT = r"""
say() { printf '{"nonce":"%s","attack":"%s",%s}\n' "$NONCE" "$ATTACK" "$1" >&$OUT; }
plain() { local text=${1//[^[:print:]]/ }; text=${text//\\/ }; printf '%s' "${text//\"/ }"; }
note() { say "\"did\":\"$1\",\"value\":\"$(plain "$2")\""; }
reached() { say "\"did\":\"$1\",\"value\":$2${3:+,\"refused\":\"$3\"}"; }
# try WHAT COMMAND: tell what refused the command, in the words of its last line.
try() {
    local words; words=$( { eval "$2" >/dev/null; } 2>&1 ) && { say "\"did\":\"$1\""; return; }
    say "\"did\":\"$1\",\"refused\":\"$(plain "${words##*[:-] }")\""
}
attack() {
    ATTACK=$1; say '"begin":true'; ( "$2" )
    if [ $? = 137 ]; then say '"ended":"signal 9"'; else say '"ended":"done"'; fi
}
read -r go <&$GO
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """What of the host the attacks try to reach."""

    victim: subprocess.Popen[bytes]
    listener: socket.socket
    other_pid: int
    planted: str

    def variables(self, ground: Ground) -> Mapping[str, object]:
        """Return what the scripts know of it."""
        return {
            "HOST_PID": os.getpid(),
            "VICTIM": self.victim.pid,
            "OTHER": self.other_pid,
            "PORT": self.listener.getsockname()[1],
            "TEMPLATE": f"'{ground.template.directory}'",
        }

    def harm(self) -> Step:
        """Tell what the host noticed."""
        self.listener.settimeout(0)
        try:
            self.listener.accept()[0].close()
            return Step(did="the host noticed", value="a connection")
        except BlockingIOError:
            alive = self.victim.poll() is None
            return Step(did="the host noticed", value="nothing" if alive else "a killed process")


async def try_from_the_vmm(
    ground: Ground, attacks: Sequence[Attack], progress: Progress
) -> dict[str, Result]:
    """Try attacks that are `JailScript`s; return name → result."""
    progress("attacks from the place of QEMU", None)
    async with await ground.hypervisor.restore(ground.template) as other:
        missing = other.isolation.jail.missing
        todo: dict[str, str] = {}
        results: dict[str, Result] = {}
        for attack in attacks:
            script = attack.script
            if not isinstance(script, JailScript):
                continue
            if script.needs is not None and script.needs in missing:
                finding = unavailable(missing[script.needs], how_to_get(script.needs))
                results[attack.name] = Result(attack=attack, finding=finding, evidence=Evidence())
            else:
                todo[attack.name] = script.code
        with _host(other.pid) as host:
            told = await _stand_in(ground, todo, host)
            harm = host.harm()
    for attack in attacks:
        if attack.name in todo:
            evidence = replace(_named(told[attack.name]), host=(harm,))
            results[attack.name] = Result(
                attack=attack, finding=attack.judge(evidence), evidence=evidence
            )
    return results


@contextmanager
def _host(other_pid: int) -> Generator[_Host]:
    """Put up what attacks try to reach: a process, a server, a secret in the environment."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        victim = subprocess.Popen(["/bin/sh", "-c", "read -r _"], stdin=subprocess.PIPE)
        stack.callback(victim.communicate, timeout=_LIMIT_S)
        planted = secrets.token_hex(16)
        os.environ[_PLANTED] = planted
        stack.callback(os.environ.pop, _PLANTED)
        yield _Host(victim=victim, listener=listener, other_pid=other_pid, planted=planted)


async def _stand_in(ground: Ground, codes: Mapping[str, str], host: _Host) -> dict[str, Evidence]:
    """Run the scripts in QEMU's place; return the evidence of each."""
    nonce = secrets.token_hex(16)
    out = memory_file("luminaguard-doctor")
    # What it takes to write a file too large: one that is open already.
    disk = memory_file("luminaguard-doctor-disk")
    try:
        variables = {
            "SH": _real(tool("sh")),
            "NONCE": nonce,
            "OUT": out,
            "DISK": disk,
            **host.variables(ground),
        }
        script = _script(variables, codes)
        try:
            ended = await _run(ground, script, (out, disk))
        except VmError as problem:
            return dict.fromkeys(codes, Evidence(trouble=f"the jail did not start: {problem}"))
        told = read_evidence(read_at(out, _OUTPUT_BYTES, 0), nonce, codes)
        cut_off = "killed" if ended else "late"
        told = {name: replace(one, ended=one.ended or cut_off) for name, one in told.items()}
        if "write-a-huge-file" in told:
            seen = Step(did="bytes that the host found", value=os.fstat(disk).st_size)
            evidence = told["write-a-huge-file"]
            told["write-a-huge-file"] = replace(evidence, steps=(*evidence.steps, seen))
        return told
    finally:
        os.close(out)
        os.close(disk)


def _script(variables: Mapping[str, object], codes: Mapping[str, str]) -> str:
    lines = [f"{name}={value}" for name, value in variables.items()]
    lines.append(_KIT)
    for number, (name, code) in enumerate(codes.items()):
        lines += [f"attack_{number}() {{\n{code}\n}}", f"attack {name} attack_{number}"]
    return "\n".join(lines)


async def _run(ground: Ground, script: str, inherited: tuple[int, ...]) -> bool:
    """Run a script in QEMU's place; return whether it came to its end within its time."""
    shell, *others = (_real(tool(name)) for name in _PROGRAMS)
    root = await run_sync(prepare_root, ground.room / "jail-of-the-doctor", (shell, *others))
    berths = Berths(f"luminaguard-{secrets.token_hex(16)}")
    try:
        berth = await berths.take(_TAKEN)
        try:
            confinement = Confinement(
                root=root, limits=_LIMITS, lease=berth.lease, joins=berth.cgroup.joins
            )
            return await _wait_for(shell, script, confinement, (*inherited, *berth.inherited))
        finally:
            with anyio.CancelScope(shield=True):
                berth.disembark()
                await berth.cgroup.remove()
    finally:
        berths.close()


async def _wait_for(
    shell: str, script: str, confinement: Confinement, inherited: tuple[int, ...]
) -> bool:
    # It waits to be told: a shell that ended at once could not be taken hold of.
    waits, go = os.pipe()
    try:
        # QEMU's own option that the jail appends becomes the script's arguments.
        command = [shell, "--norc", "-c", f"GO={waits}\n{script}"]
        process = await VmmProcess.start(command, confinement, (waits, *inherited))
    except BaseException:
        os.close(go)
        raise
    finally:
        os.close(waits)
    ended = False
    try:
        os.write(go, b"go\n")
        with anyio.move_on_after(_LIMIT_S):
            await process.last_words()
            ended = not process.alive
    finally:
        os.close(go)
        with anyio.CancelScope(shield=True):
            await process.end()
    return ended


def _real(path: str) -> str:
    return os.path.realpath(path)


def _named(evidence: Evidence) -> Evidence:
    """Replace the C library's words for errors by their names."""
    return replace(evidence, steps=tuple(_named_step(step) for step in evidence.steps))


def _named_step(step: Step) -> Step:
    if step.refused is not None:
        return replace(step, refused=error_name(step.refused))
    if isinstance(step.value, str) and step.value.isdigit():
        return replace(step, value=int(step.value))
    return step
