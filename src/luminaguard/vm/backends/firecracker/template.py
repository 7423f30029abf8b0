"""Templates of Firecracker machines: what a verified one lends to its clones."""

import os
from dataclasses import dataclass
from enum import StrEnum

from luminaguard.errors import TemplateError
from luminaguard.vm.hypervisor import Template
from luminaguard.vm.linux import NO_FOLLOW, memory_file
from luminaguard.vm.savedmemory import load_memory, sealed_copy
from luminaguard.vm.templates import RAM, read_manifest, read_state


class MemoryMode(StrEnum):
    """How clones get a template's memory.

    FILE: the kernel maps the template's file privately into each; pages that nobody wrote to are
    shared by all. UFFD: a handler in this process copies each page at first touch; nothing is
    shared, and the machine never sees the file.
    """

    FILE = "file"
    UFFD = "uffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTemplate:
    """A template whose files were what was saved, held open. Owns the descriptors."""

    mode: MemoryMode
    memory: int
    """FILE: the template's own file, read-only. UFFD: a sealed memory file."""
    state: int
    """Sealed memory file with the device state."""
    stamp: tuple[int, int, int]
    """The memory's inode, size and time of change when it was verified."""

    @property
    def unchanged(self) -> bool:
        """Whether the memory still is the file that was verified, as it was."""
        return self.stamp == _stamp(self.memory)

    def close(self) -> None:
        """Let go of the files."""
        os.close(self.memory)
        os.close(self.state)


def load_template(template: Template, mode: MemoryMode) -> LoadedTemplate:
    """Verify a template against its manifest, byte by byte. Blocking.

    Raises:
        TemplateError: missing, of other making, or not what was saved.
    """
    manifest = read_manifest(template.directory, template.key)
    expected = template.spec.memory_mib * 1024 * 1024
    if manifest.memory.size_bytes != expected:
        raise TemplateError("the template's memory has another size than its machine")
    state = sealed_copy("luminaguard-state", read_state(template.directory, manifest))
    try:
        path = template.directory / RAM
        try:
            file = os.open(path, os.O_RDONLY | NO_FOLLOW)
        except OSError as problem:
            raise TemplateError(
                f"the template's memory cannot be read: {problem.strerror}"
            ) from problem
        try:
            stamp = _stamp(file)
            if stamp[1] != expected:
                raise TemplateError("the template's memory is not what was saved")
            checked = memory_file("luminaguard-template", expected)
            try:
                load_memory(manifest.memory, path, checked)
            except BaseException:
                os.close(checked)
                raise
        except BaseException:
            os.close(file)
            raise
    except BaseException:
        os.close(state)
        raise
    if mode is MemoryMode.UFFD:
        os.close(file)
        return LoadedTemplate(mode=mode, memory=checked, state=state, stamp=_stamp(checked))
    os.close(checked)
    return LoadedTemplate(mode=mode, memory=file, state=state, stamp=stamp)


def _stamp(fd: int) -> tuple[int, int, int]:
    about = os.fstat(fd)
    return about.st_ino, about.st_size, about.st_mtime_ns
