"""What stands on the command lines is what confines the machine."""

import re
from pathlib import Path

import pytest

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.backends.firecracker.host import Programs
from luminaguard.vm.backends.firecracker.jail.commands import Start, confined
from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.confinement.jail import Limits

MARK = "luminaguard-" + "0" * 32
ROOT = Path("/cache/machines/firecracker") / f"{MARK}-0123456789abcdef" / "root"
LIMITS = Limits(address_space_bytes=1 << 30, file_bytes=1 << 20)


@pytest.fixture(autouse=True)
def _tools() -> None:
    try:
        tool("bwrap")
    except HypervisorUnavailable as missing:
        pytest.skip(str(missing))


def start(*, uid: int | None) -> Start:
    jailer = Path("/opt/jailer") if uid is not None else None
    return Start(
        programs=Programs(firecracker=Path("/opt/firecracker"), jailer=jailer),
        id=ROOT.parent.name,
        mark=MARK,
        root=ROOT,
        limits=LIMITS,
        uid=uid,
        joins=("/sys/fs/cgroup/one/cgroup.procs",),
    )


def following(command: list[str], option: str) -> list[str]:
    return [command[at + 1] for at, word in enumerate(command) if word == option]


def test_as_root_the_jailer_gets_uid_chroot_and_limits() -> None:
    command = confined(start(uid=1_900_000_000), report_fd=9)
    jailer = command[command.index("/opt/jailer") :]
    assert following(jailer, "--uid") == following(jailer, "--gid") == ["1900000000"]
    assert following(jailer, "--exec-file") == ["/opt/firecracker"]
    assert following(jailer, "--chroot-base-dir") == ["/cache/machines"]
    assert following(jailer, "--resource-limit") == ["fsize=1048576", "no-file=256"]
    assert jailer[jailer.index("--") :] == ["--", "--api-sock", "/rw/api.sock"]
    (name,) = following(jailer, "--id")
    assert re.fullmatch(r"[A-Za-z0-9-]{1,64}", name), "what the jailer takes as an id"
    assert not {"--daemonize", "--new-pid-ns", "--no-seccomp"} & set(command)


@pytest.mark.parametrize("uid", [None, 1_900_000_000])
def test_namespaces_and_the_kernels_death_watch_are_always_there(uid: int | None) -> None:
    command = confined(start(uid=uid), report_fd=9)
    wanted = {"--unshare-ipc", "--unshare-pid", "--unshare-net", "--die-with-parent", "--clearenv"}
    assert wanted <= set(command)
    assert following(command, "--info-fd") == ["9"]
    assert following(command, "--setenv") == ["OWNER"]
    assert MARK in command
    assert "/sys/fs/cgroup/one/cgroup.procs" in command
    assert "--core=0" in command
    assert "--no-seccomp" not in command


def test_an_ordinary_users_machine_sees_two_directories_and_its_devices_only() -> None:
    command = confined(start(uid=None), report_fd=9)
    assert following(command, "--ro-bind") == ["/opt/firecracker", f"{ROOT}/ro"]
    assert following(command, "--bind") == [f"{ROOT}/rw"]
    assert following(command, "--dev-bind") == ["/dev/null", "/dev/kvm"]
    assert following(command, "--cap-drop") == ["ALL"]
    assert following(command, "--remount-ro") == ["/"]
    assert {"--unshare-user", "--disable-userns"} <= set(command)
    assert "--cap-add" not in command
    assert command[command.index("/firecracker", command.index("--remount-ro")) :] == [
        "/firecracker",
        *("--id", ROOT.parent.name, "--api-sock", "/rw/api.sock"),
    ]
