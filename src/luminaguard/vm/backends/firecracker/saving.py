"""From the files that Firecracker saved to a template with its manifest."""

import os
from pathlib import Path

from luminaguard.errors import TemplateError
from luminaguard.vm.linux import read_at
from luminaguard.vm.templates import STATE, write_template

_STATE_LIMIT_BYTES = 64 * 1024**2


def keep_saved(directory: Path, key: str, state: int, memory: int, size_bytes: int) -> None:
    """Write a template into an empty directory. Blocking; every file is on disk when it returns.

    Args:
        directory: Where it goes.
        key: What the manifest names it.
        state: Descriptor of the device state as Firecracker wrote it.
        memory: Descriptor of the memory, whole; empty pages are left out of the template.
        size_bytes: Size that the memory must have.

    Raises:
        TemplateError: what was saved has not the expected size.
    """
    if os.fstat(memory).st_size != size_bytes:
        raise TemplateError("the saved memory has another size than its machine")
    size = os.fstat(state).st_size
    if not 0 < size <= _STATE_LIMIT_BYTES:
        raise TemplateError("the saved device state has an impossible size")
    fd = os.open(directory / STATE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(fd, "wb") as target:
        target.write(read_at(state, size, 0))
    write_template(directory, key=key, memory_fd=memory, size_bytes=size_bytes)
