"""What an ordinary user's Firecracker can see and do, asked from inside by a static program."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest

from luminaguard.errors import GuestLost, HypervisorUnavailable
from luminaguard.vm.backends.firecracker.host import KVM, Programs, find_programs
from luminaguard.vm.backends.firecracker.jail.launch import HostLauncher
from luminaguard.vm.backends.firecracker.shape import Shape
from luminaguard.vm.confinement.hosttools import tool

pytestmark = pytest.mark.anyio

_LOOK = r"""
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int tried(const char *path, int flags) {
    int fd = open(path, flags, 0600);
    if (fd < 0) return errno;
    close(fd);
    return 0;
}

static void line(const char *name, const char *path, const char *wanted) {
    char text[256];
    FILE *file = fopen(path, "r");
    fprintf(stderr, ", \"%s\": \"", name);
    while (file && fgets(text, sizeof text, file))
        if (strstr(text, wanted)) {
            text[strcspn(text, "\n")] = 0;
            for (char *c = text; *c; c++) if (*c == '\t') *c = ' ';
            fprintf(stderr, "%s;", text);
        }
    fprintf(stderr, "\"");
}

int main(void) {
    struct dirent *entry;
    DIR *top = opendir("/");
    fprintf(stderr, "{\"pid\": %d, \"uid\": %d", getpid(), getuid());
    fprintf(stderr, ", \"ro\": %d", tried("/ro/new", O_CREAT | O_WRONLY));
    fprintf(stderr, ", \"root\": %d", tried("/new", O_CREAT | O_WRONLY));
    fprintf(stderr, ", \"self\": %d", tried("/firecracker", O_WRONLY));
    fprintf(stderr, ", \"rw\": %d", tried("/rw/new", O_CREAT | O_WRONLY));
    fprintf(stderr, ", \"kvm\": %d", tried("/dev/kvm", O_RDWR));
    line("capabilities", "/proc/self/status", "CapEff");
    line("networks", "/proc/net/dev", ":");
    line("core", "/proc/self/limits", "core file");
    fprintf(stderr, ", \"seen\": [");
    for (int first = 1; (entry = readdir(top)); )
        if (entry->d_name[0] != '.') {
            fprintf(stderr, first ? "\"%s\"" : ", \"%s\"", entry->d_name);
            first = 0;
        }
    fprintf(stderr, "]}\n");
    return 1;
}
"""
_SHAPE = Shape(memory_mib=128, vcpus=1, disk_limit_bytes=1 << 30)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or not os.path.exists(KVM):
        pytest.skip(f"needs a C compiler and {KVM}")
    (tmp_path / "look.c").write_text(_LOOK)
    target = tmp_path / "firecracker"
    command = [compiler, "-static", "-o", str(target), str(tmp_path / "look.c")]
    if subprocess.run(command, capture_output=True, check=False, timeout=60).returncode:
        pytest.skip("this host cannot link a static program")
    return target


@pytest.fixture
def launcher(tmp_path: Path, program: Path) -> HostLauncher:
    try:
        tool("bwrap")
    except HypervisorUnavailable as missing:
        pytest.skip(str(missing))
    programs = Programs(firecracker=program, jailer=None)
    return HostLauncher(programs, tmp_path / "cache", tmp_path / "run", frozenset())


async def looked(launcher: HostLauncher) -> dict[str, Any]:
    with anyio.fail_after(30), pytest.raises(GuestLost, match="ended at its start") as lost:
        await launcher.launch(_SHAPE)
    launcher.close()
    words = str(lost.value.context["words"])
    if "{" not in words:
        pytest.skip(f"this host gives no namespaces: {words}")
    return json.loads(words[words.index("{") :])


async def test_it_sees_itself_two_directories_and_its_devices_and_has_no_rights(
    launcher: HostLauncher, tmp_path: Path
) -> None:
    seen = await looked(launcher)
    assert set(seen["seen"]) == {"firecracker", "ro", "rw", "proc", "dev"}
    assert seen["pid"] == 1
    assert seen["uid"] != os.getuid()
    assert seen["capabilities"].split() == ["CapEff:", "0" * 16 + ";"]
    assert seen["networks"].split(":")[0].strip() == "lo"
    assert seen["networks"].count(";") == 1
    assert seen["core"].split()[4:6] == ["0", "0"]
    denied = {name: seen[name] for name in ("ro", "root", "self")}
    assert all(denied.values()), denied
    assert seen["rw"] == 0
    assert not list((tmp_path / "cache/firecracker/machines").glob("*/*"))


async def test_it_may_use_the_device_that_the_caller_may_use(launcher: HostLauncher) -> None:
    if not os.access(KVM, os.R_OK | os.W_OK):
        pytest.skip(f"{KVM} may not be opened by this user")
    assert (await looked(launcher))["kvm"] == 0


def test_a_static_program_is_taken(program: Path) -> None:
    found = find_programs({"LUMINAGUARD_FIRECRACKER": str(program)}, root=False)
    assert found.firecracker == program
