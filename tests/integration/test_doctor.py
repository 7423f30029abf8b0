"""`luminaguard doctor` as a user runs it, on a few attacks of each kind."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from commandline import CommandLine
from luminaguard.config import load
from luminaguard.image.image import GuestImage
from luminaguard.vm.hypervisor import Template

pytestmark = pytest.mark.vm

FEW = ("mount-a-file-system", "write-to-the-host", "wake-changed-devices")


@pytest.fixture
def user(
    guest_image: GuestImage,
    qemu_template: Template,
    vm_directories: tuple[Path, Path],
    tmp_path: Path,
) -> Generator[CommandLine]:
    """A user whose cache holds the run's template and the image that it was made of."""
    cache, _ = vm_directories
    images = cache / "images"
    images.symlink_to(load().cache_dir / "images")
    yield CommandLine(home=tmp_path, workspace=tmp_path, cache=cache)
    images.unlink()


def test_the_doctor_tries_attacks_on_real_machines_and_leaves_nothing(user: CommandLine) -> None:
    before = {path.name for path in user.cache.iterdir()}
    only = [word for name in FEW for word in ("--only", name)]
    done = user.run("doctor", "--json", *only)
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert report["verdict"] == "enforced"
    assert report["complete"] is False
    assert {one["name"]: one["verdict"] for one in report["attacks"]} == dict.fromkeys(
        FEW, "enforced"
    )
    assert all(one["evidence"] for one in report["attacks"])
    assert report["vm"]["backend"] == "qemu"
    assert "a machine to attack" in done.stderr
    assert {path.name for path in user.cache.iterdir()} - before <= {
        "jail",
        "jail.d",
        "qemu-probe.json",
    } | {path.name for path in user.cache.glob("scratch-*")}

    shown = user.run("doctor", "--verbose", "--only", FEW[0])
    assert shown.returncode == 0
    assert f"held {FEW[0]}: EPERM" in shown.stdout
    assert shown.stdout.rstrip().endswith("Isolation holds.")
    assert "\x1b" not in shown.stdout
