"""Cgroup v2 in a real kernel, wherever these tests run: a guest's has nothing else."""

import json
import shutil
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from luminaguard.image.image import GuestImage
from luminaguard.image.initrd import agent_cpio
from luminaguard.vm.backends.qemu.launch import find_qemu

pytestmark = [pytest.mark.vm, pytest.mark.long]

GUEST = Path(__file__).with_name("cgroup_v2_guest.py")
LIMIT_S = 110.0
KERNEL = "console=ttyS0 quiet panic=-1 no_timer_check tsc=reliable mitigations=off"
NEEDED = ("luminaguard", "anyio", "idna", "typing_extensions", "sniffio")


@pytest.fixture(scope="module")
def told(
    guest_image: GuestImage, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, object]]:
    """What the guest told: situation → facts."""
    where = tmp_path_factory.mktemp("guest")
    initrd, console = where / "initrd", where / "console"
    initrd.write_bytes(guest_image.initrd.read_bytes() + agent_cpio(packed(where / "agent")))
    boot = ["-kernel", str(guest_image.kernel), "-initrd", str(initrd), "-append", KERNEL]
    disk = f"file={guest_image.rootfs},if=none,id=root,format=raw,readonly=on"
    machine = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", "512M"]
    machine += ["-machine", "q35", "-accel", "tcg", "-cpu", "max,-la57"]
    machine += ["-drive", disk, "-device", "virtio-blk-pci,drive=root,serial=lg-root"]
    subprocess.run(
        [find_qemu(), *machine, *boot, "-serial", f"file:{console}"], check=True, timeout=LIMIT_S
    )
    text = console.read_text(errors="replace")
    lines = [line for line in text.splitlines() if line.startswith("CGROUPS ")]
    assert "END" in text, text[-2000:]
    facts = [json.loads(line.removeprefix("CGROUPS ")) for line in lines]
    return {one["situation"]: one for one in facts}


def packed(target: Path) -> Path:
    """Return a package that takes the place of the guest agent, with all that it imports."""
    target.mkdir()
    (target / "__init__.py").touch()
    shutil.copyfile(GUEST, target / "agent.py")
    ignore: Callable[[str, list[str]], set[str]] = shutil.ignore_patterns("__pycache__")
    for name in NEEDED:
        found = find_spec(name)
        if found is None or found.origin is None:
            continue
        origin = Path(found.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, target / name, ignore=ignore)
        else:
            shutil.copyfile(origin, target / origin.name)
    return target


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize("situation", ["root", "delegated"])
def test_root_and_a_user_with_a_delegated_cgroup_hold_what_is_inside(
    told: dict[str, dict[str, object]], situation: str
) -> None:
    facts = told[situation]
    assert facts.get("failed") is None, facts
    assert (facts["lacking"], facts["problem"], facts["removed"]) == (None, None, True)
    code, born = facts["bomb"]  # type: ignore[misc]
    assert (code, 0 < int(born) < 20) == (0, True)
    assert facts["hog"] == [-9, ""]
    assert facts["weight"] == "50"
    for file, counter in (
        ("pids.events", "max"),
        ("memory.events", "oom_kill"),
        ("cpu.stat", "nr_throttled"),
    ):
        assert facts[file][counter] > 0, file  # type: ignore[index]


def test_a_delegated_cgroup_hands_down_after_its_processes_moved(
    told: dict[str, dict[str, object]],
) -> None:
    # Told before anything was attacked, and after the place was found.
    assert str(told["delegated"]["own"]).endswith("/delegated/luminaguard-leaf")


def test_a_cgroup_that_only_looks_delegated_is_left_alone(
    told: dict[str, dict[str, object]],
) -> None:
    assert "-p Delegate=yes" in str(told["plain"]["lacking"])
    assert str(told["plain"]["own"]).endswith("/plain")
