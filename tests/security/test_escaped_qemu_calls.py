"""Kernel interfaces that an exploit in QEMU would reach for, tried in its place.

The jail's own filter is in force here, as in QEMU; QEMU's sandbox, which comes on top of it, is
not. That both stand around a real QEMU is read from its process at the end.
"""

import errno
import os
import platform
from pathlib import Path

import anyio
import pytest

from jailed import inside, perl
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.hypervisor import Template

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls' numbers are x86-64's"),
]

CHILD = "my $p = fork(); if (!$p) { sleep 20; exit } "
"""Perl: a process of the attacker's own: without the filter it may do anything with it."""
ATTACKS = {
    "make a user namespace": "call(272, 0x10000000)",
    "make one with a new process": "call(56, 0x10000011, 0, 0, 0, 0)",
    "make a network namespace": "call(272, 0x40000000)",
    "join a namespace": "open(my $n, '<', '/proc/self/ns/user'); call(308, fileno($n), 0)",
    "mount proc": "my @m = ('proc', '/proc', 'proc'); call(165, @m[0], @m[1], @m[2], 0, 0)",
    "unmount the root": "my $r = '/'; call(166, $r, 2)",
    "open a file system": "my $f = 'tmpfs'; call(430, $f, 0)",
    "change the root": "my $r = '/proc'; call(161, $r)",
    "trace a process": f"{CHILD} call(101, 16, $p, 0, 0); kill 9, $p",
    "read another process": f"{CHILD} call(310, $p, 0, 0, 0, 0, 0); kill 9, $p",
    "write another process": f"{CHILD} call(311, $p, 0, 0, 0, 0, 0); kill 9, $p",
    "take a descriptor": f"{CHILD} my $h = syscall(434, $p, 0); call(438, $h, 0, 0); kill 9, $p",
    "load a module": "open(my $m, '<', '/dev/null'); my $e = ''; call(313, fileno($m), $e, 0)",
    "load a module from memory": "my $e = ''; call(175, $e, 0, $e)",
    "load a kernel": "call(246, 0, 0, 0, 0)",
    "restart the host": "call(169, 0, 0, 0, 0)",
    "read the kernel's log": "my $b = ' ' x 4096; call(103, 3, $b, 4096)",
    "account for processes": "call(163, 0)",
    "set the clock": "my $t = pack('qq', 1, 0); call(227, 0, $t)",
    "name the host": "my $n = 'evil'; call(170, $n, 4)",
    "load a BPF program": "my $a = pack('LLLL', 1, 4, 4, 1) . (chr(0) x 100); call(321, 0, $a, 72)",
    "catch page faults": "call(323, 1)",
    "read the keyring": "call(250, 0, -3, 0)",
    "add a key": "my @k = ('user', 'evil', 'x'); call(248, $k[0], $k[1], $k[2], 1, -3)",
    "watch performance": "my $a = pack('LLQ', 1, 112, 0) . (chr(0) x 96); "
    "call(298, $a, 0, -1, -1, 0)",
    "make an io_uring": "my $p = chr(0) x 120; call(425, 4, $p)",
    "open by handle": "my $h = chr(0) x 128; call(304, -100, $h, 0)",
    "make an internet socket": "call(41, 2, 2, 0)",
    "make a raw socket": "call(41, 2, 3, 1)",
    "make a packet socket": "call(41, 17, 3, 0)",
    "make a netlink socket": "call(41, 16, 3, 0)",
    "reach the host's hypervisor": "call(41, 40, 1, 0)",
    "make a crypto socket": "call(41, 38, 5, 0)",
    "make a device node": "my $n = '/dev/mem2'; call(133, $n, 0020666, 257)",
    "become root": "call(105, 0)",
    "take rights back": "my $h = pack('Ll', 0x20080522, 0); my $d = pack('L6', (1 << 21) x 6); "
    "call(126, $h, $d)",
}
"""What is tried → Perl with x86-64's numbers; `call` tells how the system call ended."""
ALSO = {
    "make a device node": {errno.EROFS},
    "become root": {errno.EINVAL},  # there is no such user in an ordinary user's jail
}
KIT = (
    "sub call { my $n = shift; my $r = syscall($n, @_); my $e = $! + 0; "
    "print STDERR 'OUTCOME ', $r == -1 ? $e : 0, qq(\\n) } "
)


async def try_all(cache: Path) -> dict[str, int]:
    """Try each attack in a process of its own, in one jail; return the error that each met."""
    lines: list[str] = []
    for number, script in enumerate(ATTACKS.values()):
        words = f"{KIT}{script}".replace("'", "'\\''")
        lines.append(f"echo NUMBER {number}; perl -e '{words}'")
    said = await inside("; ".join(lines), cache, programs=(perl(),))
    found: dict[str, int] = {}
    for name, part in zip(ATTACKS, said.split("NUMBER ")[1:], strict=True):
        words = part.split()
        assert "OUTCOME" in words, f"{name}: {part}"
        found[name] = int(words[words.index("OUTCOME") + 1])
    return found


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What error each attack met; 0 when it was allowed."""
    return anyio.run(try_all, tmp_path_factory.mktemp("jail"))


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize("attack", ATTACKS)
def test_it_cannot(attack: str, met: dict[str, int]) -> None:
    assert met[attack] in {errno.EPERM, *ALSO.get(attack, ())}, errno.errorcode.get(met[attack])


@pytest.mark.anyio
async def test_both_filters_stand_around_every_thread_of_a_real_qemu(
    qemu: QemuHypervisor, qemu_template: Template
) -> None:
    async with await qemu.restore(qemu_template) as machine:
        threads = os.listdir(f"/proc/{machine.pid}/task")
        assert len(threads) > 1
        for thread in threads:
            status = await anyio.Path(f"/proc/{machine.pid}/task/{thread}/status").read_text()
            facts = dict(line.split(":\t", 1) for line in status.splitlines())
            assert facts["Seccomp"] == "2"
            assert int(facts["Seccomp_filters"]) >= 2
            assert facts["NoNewPrivs"] == "1"
        assert "syscall-filter" in machine.isolation.jail.layers
