"""What is missing on a host is named, with what mends it."""

import shutil
from pathlib import Path

import pytest

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.backends.firecracker.backend import FirecrackerHypervisor
from luminaguard.vm.backends.firecracker.host import find_programs, kvm_problem, require_kvm


def executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def firecracker(tmp_path: Path) -> Path:
    return executable(tmp_path / "firecracker-v1.16.1-x86_64")


def test_the_named_program_is_taken_and_its_jailer_found_beside_it(firecracker: Path) -> None:
    jailer = executable(firecracker.with_name("jailer-v1.16.1-x86_64"))
    found = find_programs({"LUMINAGUARD_FIRECRACKER": str(firecracker)}, root=True)
    assert (found.firecracker, found.jailer) == (firecracker, jailer)


def test_an_ordinary_user_needs_no_jailer(firecracker: Path) -> None:
    found = find_programs({"LUMINAGUARD_FIRECRACKER": str(firecracker)}, root=False)
    assert found.jailer is None


def test_root_without_a_jailer_is_told_to_get_it(
    firecracker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(firecracker.parent))
    with pytest.raises(HypervisorUnavailable, match="jailer is missing") as missing:
        find_programs({"LUMINAGUARD_FIRECRACKER": str(firecracker)}, root=True)
    assert "LUMINAGUARD_JAILER" in str(missing.value.hint)


def test_a_host_without_the_program_is_told_how_to_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HypervisorUnavailable, match="firecracker is missing") as missing:
        find_programs({}, root=False)
    assert "LUMINAGUARD_FIRECRACKER" in str(missing.value.hint)


def test_a_file_that_cannot_be_run_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "firecracker").write_text("text")
    with pytest.raises(HypervisorUnavailable, match="no program"):
        find_programs({"LUMINAGUARD_FIRECRACKER": str(tmp_path / "firecracker")}, root=False)


def test_a_name_that_the_jailer_would_refuse_is_refused_first(tmp_path: Path) -> None:
    path = executable(tmp_path / "fc")
    with pytest.raises(HypervisorUnavailable, match="in its name"):
        find_programs({"LUMINAGUARD_FIRECRACKER": str(path)}, root=False)


def test_a_dynamically_linked_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "firecracker"
    shutil.copyfile("/bin/sh", path)
    path.chmod(0o755)
    with pytest.raises(HypervisorUnavailable, match="dynamically"):
        find_programs({"LUMINAGUARD_FIRECRACKER": str(path)}, root=False)


def test_programs_are_known_by_what_changes_with_an_update(firecracker: Path) -> None:
    environ = {"LUMINAGUARD_FIRECRACKER": str(firecracker)}
    before = find_programs(environ, root=False).identity
    firecracker.write_text("#!/bin/sh\n# newer\n")
    assert find_programs(environ, root=False).identity != before


def test_a_host_without_kvm_is_told_to_load_it(tmp_path: Path) -> None:
    device = str(tmp_path / "kvm")
    assert "does not exist" in str(kvm_problem(device))
    with pytest.raises(HypervisorUnavailable, match="needs KVM") as missing:
        require_kvm(device)
    assert "kvm_intel" in str(missing.value.hint)


def test_a_device_that_may_not_be_opened_is_named_with_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(HypervisorUnavailable, match="may not be opened") as refused:
        require_kvm(str(device))
    assert "kvm" in str(refused.value.hint)


@pytest.mark.anyio
async def test_without_an_image_there_is_nothing_to_try_the_host_with(tmp_path: Path) -> None:
    hypervisor = FirecrackerHypervisor(tmp_path / "cache", tmp_path / "run")
    with pytest.raises(HypervisorUnavailable, match="no guest image"):
        await hypervisor.probe()
    hypervisor.close()
