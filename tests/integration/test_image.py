"""The guest image: built again without a network, and booted."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from guestimage import built_image
from luminaguard.config import load
from luminaguard.image.image import GuestImage
from luminaguard.image.initrd import agent_cpio
from luminaguard.image.store import ImageStore

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

REBUILD = """
import sys
from pathlib import Path
from luminaguard.image.build import build
from luminaguard.image.recipe import load_recipe
from luminaguard.image.store import ImageStore

print(build(ImageStore(Path(sys.argv[1])), load_recipe(), lambda stage, done: None).digest)
"""

# Says what it finds as one line of JSON on the console, then powers off.
AGENT = """
import ctypes, importlib.util, json, os, subprocess, sys

def ran(command):
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    return [result.returncode, result.stdout.strip()]

def main():
    facts = {
        "pid": os.getpid(),
        "flags": [sys.flags.isolated, sys.flags.no_site, sys.flags.dont_write_bytecode],
        "environment": dict(os.environ),
        "mounts": [line.split()[:4] for line in open("/proc/mounts")],
        "compiled": os.path.exists(importlib.util.cache_from_source(json.__file__)),
        "tools": {tool: ran(tool)[0] for tool in
                  ("git --version", "make --version", "bash -c true", "awk 1 </dev/null",
                   "tar --version", "patch --version", "python -c pass", "which pytest",
                   "find /etc -name passwd | xargs file", "ps", "mount", "unzip -v")},
        "user": ran("id -u guest")[1],
        "hostname": ran("hostname")[1],
        "setuid": ran("find / -xdev -perm /6000 -type f")[1],
        "writable": ran("touch /usr/x /etc/x /x")[0] == 0,
    }
    with open("/dev/console", "w") as console:
        console.write("\\nFACTS " + json.dumps(facts) + "\\n")
    ctypes.CDLL(None).reboot(0x4321FEDC)
"""


@pytest.fixture
def no_network() -> list[str]:
    """A command prefix that takes the network away."""
    prefix = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "-r", "--net"]
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("needs unshare and network namespaces to take the network away")
    return prefix


def test_the_image_is_built_again_byte_for_byte_from_the_cache_alone(
    tmp_path: Path, no_network: list[str]
) -> None:
    store = ImageStore(load().cache_dir)
    image = built_image(store)
    elsewhere = tmp_path / "a-longer-path-than-before"
    for part in ("apt", "packages"):
        shutil.copytree(store.cache_dir / part, elsewhere / part)
    # Nothing of the surroundings may show: other path, umask, time zone, clock, number of CPUs.
    command = ["sh", "-c", 'umask 077; exec "$@"', "sh", *no_network, "taskset", "-c", "0"]
    result = subprocess.run(
        [*command, sys.executable, "-c", REBUILD, str(elsewhere)],
        env={**os.environ, "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1", "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == image.digest
    again = GuestImage(directory=elsewhere / "images/default" / image.digest, digest=image.digest)
    ImageStore(elsewhere).verify(again)


def console_of(image: GuestImage, place: Path, *, agent: str | None, disk: bool = True) -> str:
    """Boot the image until the machine powers off, and return what its console said."""
    if platform.machine() != "x86_64" or not shutil.which("qemu-system-x86_64"):
        pytest.skip("needs qemu-system-x86_64 on an x86-64 host")
    initrd = place / "initrd"
    content = image.initrd.read_bytes()
    if agent is not None:
        package = place / "luminaguard_guest"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "agent.py").write_text(agent)
        content += agent_cpio(package)
    initrd.write_bytes(content)
    serial = "lg-root" if disk else "something-else"
    result = subprocess.run(
        [
            *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-serial", "stdio", "-kernel", str(image.kernel), "-initrd", str(initrd)),
            *("-append", "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check"),
            *("-blockdev", f"driver=file,node-name=r,filename={image.rootfs},read-only=on"),
            *("-device", f"virtio-blk-pci,drive=r,serial={serial}"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return result.stdout + result.stderr


def test_the_guest_agent_finds_the_machine_that_it_was_promised(
    guest_image: GuestImage, tmp_path: Path
) -> None:
    console = console_of(guest_image, tmp_path, agent=AGENT)
    said = [line for line in console.splitlines() if line.startswith("FACTS ")]
    assert said, console
    facts = json.loads(said[0].removeprefix("FACTS "))
    assert facts["pid"] == 1
    assert facts["flags"] == [1, 1, 1]
    assert facts["environment"] == {
        "PATH": "/usr/sbin:/usr/bin", "LANG": "C.UTF-8", "HOME": "/root",
    }  # fmt: skip
    mounted = {point: (kind, options.split(",")) for _, point, kind, options in facts["mounts"]}
    assert mounted["/"][0] == "squashfs"
    assert "ro" in mounted["/"][1]
    assert {"nosuid", "nodev"} <= set(mounted["/"][1])
    kinds = {point: kind for point, (kind, _) in mounted.items()}
    assert {"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/run": "tmpfs"}.items() <= (
        kinds.items()
    )
    assert kinds["/sys/fs/cgroup"] == "cgroup2"
    assert facts["compiled"]
    assert facts["tools"] == dict.fromkeys(facts["tools"], 0)
    assert facts["user"] == "1000"
    assert facts["hostname"] == "luminaguard"
    assert facts["setuid"] == ""
    assert not facts["writable"]


def test_without_an_agent_the_machine_says_so_and_powers_off(
    guest_image: GuestImage, tmp_path: Path
) -> None:
    console = console_of(guest_image, tmp_path, agent=None)
    assert "luminaguard-init: the guest agent is missing" in console


def test_without_its_root_disk_the_machine_says_so_and_powers_off(
    guest_image: GuestImage, tmp_path: Path
) -> None:
    console = console_of(guest_image, tmp_path, agent=AGENT, disk=False)
    assert "luminaguard-init: no disk with the serial number lg-root" in console
    assert "FACTS" not in console
