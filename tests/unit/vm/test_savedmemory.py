"""A template's memory comes back whole and unchangeable, or not at all."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.errors import TemplateError
from luminaguard.vm.linux import is_sealed, memory_file
from luminaguard.vm.savedmemory import SavedMemory, load_memory, save_memory

PAGE = 4096
SIZE = 256 * PAGE


def filled(pages: dict[int, bytes]) -> int:
    fd = memory_file("source", SIZE)
    for page, content in pages.items():
        os.pwrite(fd, content, page * PAGE)
    return fd


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.integers(0, 255), st.binary(min_size=1, max_size=PAGE), max_size=20))
def test_what_was_saved_is_what_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, pages: dict[int, bytes]
) -> None:
    path = tmp_path_factory.mktemp("memory") / "ram"
    source, target = filled(pages), memory_file("target", SIZE)
    load_memory(save_memory(source, SIZE, path), path, target)
    assert os.pread(target, SIZE, 0) == os.pread(source, SIZE, 0)
    assert is_sealed(target)
    os.close(source)
    os.close(target)


def test_empty_pages_take_no_room(tmp_path: Path) -> None:
    source = memory_file("source", SIZE)
    for page in range(256):
        os.pwrite(source, bytes(PAGE), page * PAGE)
    os.pwrite(source, b"x", 100 * PAGE)
    saved = save_memory(source, SIZE, tmp_path / "ram")
    assert saved.extents == ((100 * PAGE, PAGE),)
    assert (tmp_path / "ram").stat().st_blocks * 512 <= 4 * PAGE
    assert (tmp_path / "ram").stat().st_mode & 0o777 == 0o600
    os.close(source)


@pytest.fixture
def saved(tmp_path: Path) -> SavedMemory:
    source = filled({3: b"a" * PAGE, 200: b"b" * PAGE})
    try:
        return save_memory(source, SIZE, tmp_path / "ram")
    finally:
        os.close(source)


@pytest.mark.parametrize("offset", [3 * PAGE, 200 * PAGE + 17])
def test_a_flipped_bit_is_found_and_nothing_is_sealed(
    tmp_path: Path, saved: SavedMemory, offset: int
) -> None:
    with open(tmp_path / "ram", "r+b") as target:
        target.seek(offset)
        target.write(b"c")
    memory = memory_file("target", SIZE)
    with pytest.raises(TemplateError, match="not what was saved"):
        load_memory(saved, tmp_path / "ram", memory)
    assert not is_sealed(memory)
    os.close(memory)


def test_a_cut_file_is_found(tmp_path: Path, saved: SavedMemory) -> None:
    os.truncate(tmp_path / "ram", 100 * PAGE)
    memory = memory_file("target", SIZE)
    with pytest.raises(TemplateError):
        load_memory(saved, tmp_path / "ram", memory)
    os.close(memory)


def test_moved_extents_are_found(tmp_path: Path, saved: SavedMemory) -> None:
    moved = SavedMemory(
        size_bytes=SIZE, extents=((3 * PAGE, PAGE), (201 * PAGE, PAGE)), sha256=saved.sha256
    )
    memory = memory_file("target", SIZE)
    with pytest.raises(TemplateError):
        load_memory(moved, tmp_path / "ram", memory)
    os.close(memory)


def test_a_symbolic_link_is_not_followed(tmp_path: Path, saved: SavedMemory) -> None:
    os.rename(tmp_path / "ram", tmp_path / "other")
    (tmp_path / "ram").symlink_to(tmp_path / "other")
    memory = memory_file("target", SIZE)
    with pytest.raises(TemplateError):
        load_memory(saved, tmp_path / "ram", memory)
    os.close(memory)


def test_loaded_memory_can_never_be_written_again(tmp_path: Path, saved: SavedMemory) -> None:
    memory = memory_file("target", SIZE)
    load_memory(saved, tmp_path / "ram", memory)
    with pytest.raises(PermissionError):
        os.pwrite(memory, b"x", 0)
    other = os.open(f"/proc/self/fd/{memory}", os.O_RDWR)
    with pytest.raises(PermissionError):
        os.pwrite(other, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 0)
    os.close(other)
    os.close(memory)
