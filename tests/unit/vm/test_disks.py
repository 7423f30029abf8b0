"""Scratch disks: empty, sparse, private, nameless."""

import os
from pathlib import Path

import pytest

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.disks import scratch_disk

SIZE = 64 * 1024 * 1024


def test_a_scratch_disk_is_an_empty_private_file_without_a_name(tmp_path: Path) -> None:
    disk = scratch_disk(tmp_path, SIZE)
    about = os.fstat(disk)
    assert about.st_size == SIZE
    assert about.st_blocks * 512 < SIZE // 8
    assert about.st_mode & 0o777 == 0o600
    assert about.st_nlink == 0
    assert os.pread(disk, 2, 1024 + 56) == b"\x53\xef"  # ext4's magic number
    os.close(disk)


def test_two_scratch_disks_share_nothing(tmp_path: Path) -> None:
    one, two = scratch_disk(tmp_path, SIZE), scratch_disk(tmp_path, SIZE)
    os.pwrite(one, b"secret", SIZE // 2)
    assert os.pread(two, 6, SIZE // 2) == bytes(6)
    os.close(one)
    os.close(two)
    three = scratch_disk(tmp_path, SIZE)
    assert os.pread(three, 6, SIZE // 2) == bytes(6)
    os.close(three)


def test_only_the_pattern_stays_in_the_cache(tmp_path: Path) -> None:
    os.close(scratch_disk(tmp_path, SIZE))
    os.close(scratch_disk(tmp_path, SIZE))
    assert [path.name for path in tmp_path.iterdir()] == [f"scratch-{SIZE}.ext4"]


def test_a_host_without_the_tool_hears_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luminaguard.vm.disks._PLACES", ("/nowhere",))
    with pytest.raises(HypervisorUnavailable, match="mke2fs is missing") as refusal:
        scratch_disk(tmp_path, SIZE)
    assert refusal.value.hint == "apt-get install e2fsprogs"
    assert not list(tmp_path.iterdir())
