"""System calls behind serving page faults, in one place so that the rest type-checks everywhere."""

import mmap
import os
import socket
import sys

from luminaguard.errors import HypervisorUnavailable

if sys.platform == "linux":
    import fcntl
    import select


def _unavailable() -> HypervisorUnavailable:
    return HypervisorUnavailable("page faults can be served on Linux only")


def control(fd: int, request: int, argument: bytes) -> None:
    """Ask the kernel something of an open file. Source: ioctl(2)."""
    if sys.platform != "linux":
        raise _unavailable()
    fcntl.ioctl(fd, request, argument)


def map_private(fd: int, size_bytes: int) -> mmap.mmap:
    """Map a file copy-on-write."""
    if sys.platform != "linux":
        raise _unavailable()
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    return mmap.mmap(fd, size_bytes, flags=mmap.MAP_PRIVATE, prot=protection)


def receive(connection: socket.socket, size_bytes: int) -> tuple[bytes, list[int]]:
    """Return a message and the descriptors that came with it, one at most, not blocking."""
    if sys.platform != "linux":
        raise _unavailable()
    said, descriptors, _, _ = socket.recv_fds(connection, size_bytes, 1)
    for fd in descriptors:
        os.set_blocking(fd, False)
    return said, list(descriptors)


def wait(fds: tuple[int, ...], limit_s: float | None) -> dict[int, bool]:
    """Wait until something happens on one of these; return which, and whether it can be read."""
    if sys.platform != "linux":
        raise _unavailable()
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    found = poller.poll(None if limit_s is None else limit_s * 1000)
    return {fd: bool(events & select.POLLIN) for fd, events in found}
