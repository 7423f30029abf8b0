"""What this host must have for gVisor machines, and what is said where it does not."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from luminaguard.errors import HypervisorUnavailable, VmError
from luminaguard.vm.backends.gvisor.bundle import Bundle
from luminaguard.vm.backends.gvisor.runsc import find_runsc
from luminaguard.vm.hardening import STRICT
from luminaguard.vm.trees import empty, unpack

FLAGS = """  -platform string
    \tspecifies which platform to use: systrap (default), ptrace, kvm. (default "systrap")
  -profile
"""


def program(place: Path, script: str) -> Path:
    runsc = place / "runsc"
    runsc.write_text(f"#!/bin/sh\n{script}\n")
    runsc.chmod(0o755)
    return runsc


def named(monkeypatch: pytest.MonkeyPatch, runsc: Path | str) -> None:
    monkeypatch.setenv("LUMINAGUARD_RUNSC", str(runsc))


def test_a_missing_program_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named(monkeypatch, tmp_path / "runsc")
    with pytest.raises(HypervisorUnavailable, match="is missing") as refused:
        find_runsc()
    assert refused.value.hint == "apt-get install runsc"


def test_its_version_and_platforms_are_read_best_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "flags").write_text(FLAGS)
    script = (
        'case "$1" in --version) echo "runsc version release-20240107.0"; echo "spec: 1.1.0";; '
        f"flags) cat {tmp_path}/flags >&2;; esac"
    )
    named(monkeypatch, program(tmp_path, script))
    found = find_runsc()
    assert found.version == "release-20240107.0"
    assert found.platforms == ("kvm", "systrap", "ptrace")


def test_a_release_older_than_any_that_was_run_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named(monkeypatch, program(tmp_path, 'echo "runsc version 0.0~20200101.0"'))
    with pytest.raises(HypervisorUnavailable, match="too old"):
        find_runsc()


def test_a_program_that_says_nothing_is_no_runsc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named(monkeypatch, program(tmp_path, "exit 3"))
    with pytest.raises(HypervisorUnavailable, match="exit code 3"):
        find_runsc()


def test_a_machine_is_told_to_be_without_network_rights_or_a_writable_root(tmp_path: Path) -> None:
    bundle = Bundle(directory=tmp_path, shown=tmp_path / "shown", uid=1000)
    bundle.write(tmp_path / "root", STRICT)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["root"] == {"path": str(tmp_path / "root"), "readonly": True}
    bound = [mount for mount in config["mounts"] if mount["type"] == "bind"]
    assert [mount["source"] for mount in bound] == [str(bundle.shown)]
    assert all("ro" in mount["options"] for mount in bound)
    rights = config["process"]["capabilities"]
    assert not {"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_MODULE"} & set(rights["bounding"])
    assert {"type": "network"} in config["linux"]["namespaces"]
    assert config["process"]["args"][-1].endswith("main(1000)")


def test_an_image_comes_out_as_it_went_in(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("run.sh")
    image = tmp_path / "image"
    made = subprocess.run(
        ["mksquashfs", str(tree), str(image), "-quiet", "-no-progress"],
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0
    fd = os.open(image, os.O_RDONLY)
    target = tmp_path / "out"
    target.mkdir()
    try:
        unpack(fd, target)
    finally:
        os.close(fd)
    assert sorted(os.listdir(target)) == ["folder", "link", "run.sh"]
    assert os.readlink(target / "link") == "run.sh"
    assert stat.S_IMODE((target / "run.sh").stat().st_mode) == 0o755
    empty(target)
    assert os.listdir(target) == []


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(bytes(4096))
    fd = os.open(tmp_path / "odd", os.O_RDONLY)
    try:
        with pytest.raises(VmError, match="neither"):
            unpack(fd, tmp_path / "out")
    finally:
        os.close(fd)
