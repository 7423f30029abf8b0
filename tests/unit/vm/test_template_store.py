"""Templates appear whole or not at all, and do not pile up."""

import os
from pathlib import Path

import pytest

from luminaguard.domain.calls import canonical_json
from luminaguard.errors import HypervisorUnavailable, TemplateError
from luminaguard.vm.linux import memory_file
from luminaguard.vm.templates import (
    MANIFEST,
    STATE,
    TemplateStore,
    read_manifest,
    read_state,
    write_template,
)

pytestmark = pytest.mark.anyio


def fill(directory: Path, key: str) -> None:
    (directory / STATE).write_bytes(b"state of " + key.encode())
    memory = memory_file("memory", 8192)
    os.pwrite(memory, b"x", 5000)
    write_template(directory, key=key, memory_fd=memory, size_bytes=8192)
    os.close(memory)


async def make(store: TemplateStore, key: str) -> None:
    async with store.turn(), store.new(key) as new:
        fill(new, key)


async def test_a_finished_template_is_found_under_its_key(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    await make(store, "k1")
    manifest = read_manifest(store.path("k1"), "k1")
    assert read_state(store.path("k1"), manifest) == b"state of k1"
    modes = {path.name: path.stat().st_mode & 0o777 for path in store.path("k1").iterdir()}
    assert (modes["ram"], modes["manifest.json"]) == (0o600, 0o600)
    assert store.path("k1").stat().st_mode & 0o777 == 0o700


async def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)

    async def fail() -> None:
        async with store.turn(), store.new("k1") as new:
            (new / STATE).write_bytes(b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        await fail()
    assert [path.name for path in (tmp_path / "templates").iterdir()] == [".lock"]


async def test_what_a_dead_builder_left_is_removed_by_the_next(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    await make(store, "k1")
    left = tmp_path / "templates" / ".building-dead"
    left.mkdir()
    (left / "ram").write_bytes(b"x")
    await make(store, "k2")
    names = {path.name for path in (tmp_path / "templates").iterdir()}
    assert names == {".lock", "k1", "k2"}


async def test_a_template_is_replaced_as_a_whole(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    await make(store, "k1")
    (store.path("k1") / "stray").write_text("x")
    await make(store, "k1")
    assert not (store.path("k1") / "stray").exists()


async def test_only_the_templates_used_last_are_kept(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    for number in range(4):
        await make(store, f"k{number}")
        os.utime(store.path(f"k{number}") / MANIFEST, (number, number))
    store.used("k0")
    await make(store, "k9")
    names = {path.name for path in (tmp_path / "templates").iterdir()}
    assert names == {".lock", "k0", "k2", "k3", "k9"}


async def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates").chmod(0o755)
    with pytest.raises(HypervisorUnavailable, match="cannot be trusted"):
        await make(TemplateStore(tmp_path), "k1")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        canonical_json({"format": 1, "key": "k1", "ram": {}, "state": {}}),
    ],
)
async def test_a_damaged_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    store = TemplateStore(tmp_path)
    await make(store, "k1")
    (store.path("k1") / MANIFEST).write_bytes(content)
    with pytest.raises(TemplateError):
        read_manifest(store.path("k1"), "k1")


async def test_a_template_under_a_wrong_name_is_refused(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    await make(store, "k1")
    with pytest.raises(TemplateError, match="another making"):
        read_manifest(store.path("k1"), "k2")


async def test_changed_device_state_is_refused(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    await make(store, "k1")
    manifest = read_manifest(store.path("k1"), "k1")
    (store.path("k1") / STATE).write_bytes(b"State of k1")
    with pytest.raises(TemplateError, match="not what was saved"):
        read_state(store.path("k1"), manifest)
