"""A guest gets its hardening profile and policy with its RAM disk, or is not booted."""

import os
import sys
from pathlib import Path

import pytest

from luminaguard.errors import ImageError
from luminaguard.image.image import GuestImage
from luminaguard.vm.agentfiles import agent_archive
from luminaguard.vm.backends.qemu.cold import boot_files
from luminaguard.vm.hardening import RELAXED, profile_named

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory files are Linux's")


@pytest.fixture
def image(tmp_path: Path) -> GuestImage:
    for name in ("kernel", "initrd", "rootfs", "apparmor.policy", "selinux.policy"):
        (tmp_path / name).write_text(f"<{name}>")
    return GuestImage(directory=tmp_path, digest="0" * 64)


@pytest.mark.parametrize("lsm", ["apparmor", "selinux"])
def test_profile_and_policy_follow_the_agent(image: GuestImage, lsm: str) -> None:
    profile = profile_named("relaxed", lsm=lsm)
    with boot_files(image, profile, 99) as files:
        assert files.initrd is not None
        content = os.pread(files.initrd, 1 << 24, 0)
    assert content.startswith(b"<initrd>" + agent_archive()[:100])
    after = content[len(b"<initrd>") + len(agent_archive()) :]
    assert b"agent/hardening/profile.json" in after
    assert profile.to_bytes() in after
    assert f"<{lsm}.policy>".encode() in after


@pytest.mark.guarantee("G4")
def test_an_image_without_the_policy_boots_no_guest(image: GuestImage) -> None:
    image.policy("apparmor").unlink()
    with (
        pytest.raises(ImageError, match=r"apparmor\.policy") as caught,
        boot_files(image, RELAXED, 99),
    ):
        pytest.fail("it would have been booted")
    assert caught.value.hint == "luminaguard image build"
