"""What the conformance suite runs in guests: shell scripts, and what a fake guest does for each."""

from collections.abc import Callable, Mapping
from typing import cast

import anyio

from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.testing.hypervisor import FakeGuest, exited

WORKSPACE = "/srv/project"
RANDOM = "head -c 16 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid; mktemp -u"
CHANGE = "echo new > made.txt; rm a.txt; mkdir folder; ln -s made.txt link"
FLOOD = "head -c 100000 /dev/zero"
WAIT = "sleep 100"


def _random(guest: FakeGuest, _: Execution) -> GuestReport:
    return exited(0, stdout=guest.random(48).hex().encode())


def _change(guest: FakeGuest, _: Execution) -> GuestReport:
    guest.upper.write("made.txt", b"new\n")
    guest.upper.delete("a.txt")
    guest.upper.mkdir("folder")
    guest.upper.symlink("link", "made.txt")
    return exited(0)


async def _wait(_: FakeGuest, __: Execution) -> GuestReport:
    await anyio.sleep(100)
    return exited(0)


_SCRIPTS: Mapping[str, Callable[[FakeGuest, Execution], object]] = {
    RANDOM: _random,
    CHANGE: _change,
    FLOOD: lambda _guest, _execution: exited(0, stdout=bytes(100_000)),
    WAIT: _wait,
    "exit 3": lambda _guest, _execution: exited(3),
}
"""What the fake does for a script that a real guest gives to its shell."""


def known_shell(guest: FakeGuest, execution: Execution) -> GuestReport:
    """Do what `fake_shell` does; any other script, such as a warm-up's, ends well."""
    known = execution.argv[2] in _SCRIPTS
    return fake_shell(guest, execution) if known else exited(0)


def fake_shell(guest: FakeGuest, execution: Execution) -> GuestReport:
    return cast("GuestReport", _SCRIPTS[execution.argv[2]](guest, execution))
