"""A template's memory is filled beside QEMU's start, and is nobody's before it was checked."""

import os
from pathlib import Path

import pytest

from luminaguard.errors import TemplateError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.loaded import open_template
from luminaguard.vm.hypervisor import Template
from luminaguard.vm.linux import is_sealed, memory_file, read_at, write_at
from luminaguard.vm.spec import VmSpec
from luminaguard.vm.templates import RAM, STATE, write_template

_MIB = 1024 * 1024
_MEMORY_MIB = 256
_KEY = "k" * 64


@pytest.fixture
def template(tmp_path: Path) -> Template:
    memory = memory_file("saved", _MEMORY_MIB * _MIB)
    try:
        write_at(memory, b"what the guest knew", 5 * _MIB)
        (tmp_path / STATE).write_bytes(b"devices")
        write_template(tmp_path, key=_KEY, memory_fd=memory, size_bytes=_MEMORY_MIB * _MIB)
    finally:
        os.close(memory)
    image = GuestImage(directory=tmp_path, digest="0" * 64)
    return Template(key=_KEY, directory=tmp_path, spec=VmSpec(image=image, memory_mib=_MEMORY_MIB))


def spoil(ram: Path) -> None:
    with open(ram, "r+b") as target:
        target.seek(5 * _MIB)
        target.write(b"W")


@pytest.mark.anyio
async def test_memory_is_whole_and_sealed_once_it_is_filled(template: Template) -> None:
    loaded = open_template(template)
    try:
        await loaded.filled()
        assert read_at(loaded.memory, 19, 5 * _MIB) == b"what the guest knew"
        assert is_sealed(loaded.memory)
        assert is_sealed(loaded.state)
        assert not loaded.is_damaged
    finally:
        loaded.close()


@pytest.mark.anyio
async def test_damaged_memory_is_refused_every_time_it_is_asked_for(template: Template) -> None:
    spoil(template.directory / RAM)
    loaded = open_template(template)
    try:
        for _ in range(2):
            with pytest.raises(TemplateError, match="not what was saved"):
                await loaded.filled()
        assert loaded.is_damaged
        assert not is_sealed(loaded.memory)
    finally:
        loaded.close()


def test_closing_waits_until_nothing_is_written_any_more(template: Template) -> None:
    loaded = open_template(template)
    held = os.dup(loaded.memory)
    try:
        loaded.close()
        loaded.close()
        assert is_sealed(held)
    finally:
        os.close(held)
