"""A template held in this process: its device state, and its memory as clones map it."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from anyio.to_thread import run_sync

from luminaguard.errors import TemplateError
from luminaguard.vm.hypervisor import Template
from luminaguard.vm.linux import memory_file
from luminaguard.vm.savedmemory import load_memory, sealed_copy
from luminaguard.vm.templates import RAM, read_manifest, read_state


class LoadedTemplate:
    """Two memory files: device state, sealed, and memory, which is being filled and then sealed.

    QEMU may map the memory meanwhile: most of a start then passes beside the check. Nothing of the
    guest runs until `filled` has returned.
    """

    def __init__(self, memory: int, state: int, fill: Callable[[], None]) -> None:
        """Take over the descriptors and begin to fill; use `open_template` instead."""
        self.memory = memory
        self.state = state
        filler = ThreadPoolExecutor(1, thread_name_prefix="luminaguard-template")
        self._filling = filler.submit(fill)
        filler.shutdown(wait=False)

    @property
    def is_damaged(self) -> bool:
        """Whether the memory is already known not to be what was saved; it never becomes usable."""
        return self._filling.done() and self._filling.exception() is not None

    async def filled(self) -> None:
        """Return once the memory is there, checked and sealed.

        Raises:
            TemplateError: the file is missing, short, or not what was saved.
        """
        if self._filling.done():
            self._filling.result()
        else:
            await run_sync(self._filling.result)

    def close(self) -> None:
        """Close both files; clones that mapped them keep what they have. Idempotent."""
        wait((self._filling,))  # it must not go on writing to a number that means another file
        for descriptor in (self.memory, self.state):
            if descriptor >= 0:
                os.close(descriptor)
        self.memory = self.state = -1


def open_template(template: Template) -> LoadedTemplate:
    """Check a template's manifest and device state, and begin with its memory.

    Blocking, a few milliseconds; reading the memory goes on for about 80 ms more.

    Raises:
        TemplateError: a file is missing, or is not what was saved.
    """
    manifest = read_manifest(template.directory, template.key)
    expected = template.spec.memory_mib * 1024 * 1024
    if manifest.memory.size_bytes != expected:
        raise TemplateError("the template's memory has another size than its machine")
    state = sealed_copy("luminaguard-state", read_state(template.directory, manifest))
    try:
        memory = memory_file("luminaguard-template", expected)
    except BaseException:
        os.close(state)
        raise
    ram = template.directory / RAM
    return LoadedTemplate(memory, state, lambda: load_memory(manifest.memory, ram, memory))
