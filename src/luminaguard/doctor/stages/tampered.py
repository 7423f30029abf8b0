"""Templates and images that somebody changed: none of them may come to life."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from luminaguard.doctor.attack import Step
from luminaguard.doctor.ground import Ground
from luminaguard.doctor.stages.tell import refusal
from luminaguard.errors import LuminaGuardError
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.hypervisor import Template
from luminaguard.vm.linux import data_extents, read_at, write_at
from luminaguard.vm.templates import MANIFEST, RAM, STATE

_PIECE_BYTES = 1 << 20
UNTOUCHED = "an untouched copy wakes"
"""Fact that shows that the copy itself is fit to be restored."""


async def wake_changed_memory(ground: Ground) -> Sequence[Step]:
    """Change one bit of a template's saved memory."""
    return await _wake(ground, lambda directory: _flip(directory / RAM))


async def wake_changed_devices(ground: Ground) -> Sequence[Step]:
    """Change one bit of a template's saved device state."""
    return await _wake(ground, lambda directory: _flip(directory / STATE))


async def wake_a_changed_manifest(ground: Ground) -> Sequence[Step]:
    """Change where the manifest says that memory lies, and for what key the template was made."""

    def shift(directory: Path) -> None:
        content = json.loads((directory / MANIFEST).read_bytes())
        content["ram"]["extents"] = content["ram"]["extents"][1:]
        _replace(directory / MANIFEST, json.dumps(content).encode())

    return await _wake(ground, shift)


async def boot_a_changed_image(ground: Ground) -> Sequence[Step]:
    """Ask for a machine of an image after changing one bit of a file of it."""
    steps: list[Step] = []
    for name in ("rootfs", "kernel", "initrd"):
        steps.append(await _boot_changed(ground, name))
        if steps[-1].refused is None:
            break  # it booted: that says it all, and each boot takes seconds
    return steps


async def _boot_changed(ground: Ground, name: str) -> Step:
    spec = ground.template.spec
    directory = ground.room / f"image-{name}"
    did = f"a machine of an image with a changed {name}"
    try:
        await to_thread.run_sync(_copied, spec.image.directory, directory)
        await to_thread.run_sync(_flip_last, directory / name)
        image = GuestImage(directory=directory, digest=spec.image.digest)
        template = await ground.hypervisor.template(replace(spec, image=image))
        async with await ground.hypervisor.restore(template):
            return Step(did=did)
    except LuminaGuardError as problem:
        return refusal(did, problem)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def swap_the_image_of_a_template(ground: Ground) -> Sequence[Step]:
    """Let clones of a verified template read another root disk, changed by one bit."""
    spec = ground.template.spec
    directory = ground.room / "image-swapped"
    try:
        await to_thread.run_sync(_copied, spec.image.directory, directory)
        await to_thread.run_sync(_flip_last, directory / "rootfs")
        image = GuestImage(directory=directory, digest=spec.image.digest)
        template = replace(ground.template, spec=replace(spec, image=image))
        changed = await _restored("restore over a changed root disk", ground, template)
        same = await _restored("restore", ground, ground.template)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return [Step(did=UNTOUCHED, value=same.refused is None), changed]


async def _wake(ground: Ground, change: Callable[[Path], None]) -> Sequence[Step]:
    """Restore from a copy of the template, first as it is, then changed."""
    directory = ground.room / "copy"
    try:
        await to_thread.run_sync(_linked_copy, ground.template.directory, directory)
        template = replace(ground.template, directory=directory)
        untouched = await _restored("restore an untouched copy", ground, template)
        await to_thread.run_sync(change, directory)
        changed = await _restored("restore a changed copy", ground, template)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return [Step(did=UNTOUCHED, value=untouched.refused is None), changed]


async def _restored(did: str, ground: Ground, template: Template) -> Step:
    """Restore by a hypervisor that never saw the template: it has to read and check it."""
    fresh = QemuHypervisor(ground.cache_dir, ground.room / "run", image=template.spec.image)
    try:
        async with await fresh.restore(template):
            return Step(did=did)
    except LuminaGuardError as problem:
        return refusal(did, problem)
    finally:
        fresh.close()


def _copied(source: Path, target: Path) -> None:
    """Copy an image; a hard link would change the times of the original."""
    target.mkdir(mode=0o700)
    for path in source.iterdir():
        if path.is_file():
            shutil.copyfile(path, target / path.name)


def _linked_copy(source: Path, target: Path) -> None:
    """Copy a directory by hard links: what is changed afterwards is replaced, never written."""
    target.mkdir(mode=0o700)
    for path in source.iterdir():
        if path.is_file():
            try:
                os.link(path, target / path.name)
            except OSError:  # another file system
                shutil.copyfile(path, target / path.name)


def _flip(path: Path) -> None:
    """Replace a file by one that differs in a bit in the middle of what it holds."""
    content = path.stat().st_size
    fd = os.open(path, os.O_RDONLY)
    try:
        extents = data_extents(fd, content)
    finally:
        os.close(fd)
    start, length = max(extents, key=lambda extent: extent[1])
    _flip_at(path, start + length // 2)


def _flip_last(path: Path) -> None:
    _flip_at(path, path.stat().st_size - 1)


def _flip_at(path: Path, offset: int) -> None:
    size = path.stat().st_size
    changed = path.with_suffix(".changed")
    source = os.open(path, os.O_RDONLY)
    target = os.open(changed, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.ftruncate(target, size)
        for start, length in data_extents(source, size):
            for at in range(start, start + length, _PIECE_BYTES):
                piece = min(_PIECE_BYTES, start + length - at)
                write_at(target, read_at(source, piece, at), at)
        write_at(target, bytes([read_at(source, 1, offset)[0] ^ 1]), offset)
    finally:
        os.close(source)
        os.close(target)
    changed.rename(path)


def _replace(path: Path, content: bytes) -> None:
    changed = path.with_suffix(".changed")
    changed.write_bytes(content)
    changed.rename(path)
