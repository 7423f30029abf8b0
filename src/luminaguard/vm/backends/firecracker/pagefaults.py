"""Giving a restored guest its memory page by page: our side of Firecracker's `Uffd` backend.

Firecracker connects to a socket of ours, hands over the descriptor on which the kernel tells of
page faults, and says which part of the saved memory belongs where. One thread then copies what is
touched out of a sealed memory file, in stretches; the guest's other pages cost nothing.

A guest whose handler stops does not go on with wrong memory: it waits, and every wait for it is
bounded. Source: userfaultfd(2); ioctl_userfaultfd(2); Firecracker,
docs/snapshotting/handling-page-faults-on-snapshot-resume.md.
"""

import ctypes
import errno
import json
import os
import socket
import struct
import threading
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, cast

from luminaguard.vm.backends.firecracker.faultcalls import control, map_private, receive, wait
from luminaguard.vm.linux import data_extents

PAGE_BYTES = 4096
_STRETCH_BYTES = 64 * 1024
"""Copied for one fault: neighbours are mostly touched next."""
_CONNECT_S = 30.0
_MESSAGE_BYTES = 64 * 1024
_MAPPINGS = 64
_EVENT = struct.Struct("=BxHIQQQ")
"""`struct uffd_msg`: event, reserved, then for a fault flags and address, for a removal start, end.

Source: Linux, include/uapi/linux/userfaultfd.h.
"""
_FAULT, _REMOVED = 0x12, 0x15
_COPY, _ZERO, _WAKE = 0xC028AA03, 0xC020AA04, 0x8010AA02
"""UFFDIO_COPY, UFFDIO_ZEROPAGE, UFFDIO_WAKE. Source: the same header."""
_GONE = {errno.ESRCH, errno.ENOENT}
"""The process, or that part of its memory, is no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A stretch of the guest's memory in Firecracker's address space."""

    start: int
    size: int
    offset: int
    """In the saved memory."""

    def holds(self, address: int) -> bool:
        """Whether an address lies in it."""
        return self.start <= address < self.start + self.size


def read_mappings(said: bytes, memory_bytes: int) -> tuple[Mapping, ...]:
    """Return what Firecracker says of its memory's layout.

    Raises:
        ValueError: it is not of that form, or refers to memory that was never saved.
    """
    entries: object = json.loads(said)
    if not isinstance(entries, list) or not 0 < len(cast("list[object]", entries)) <= _MAPPINGS:
        raise ValueError("no list of mappings")
    found: list[Mapping] = []
    for entry in cast("list[object]", entries):
        if not isinstance(entry, dict):
            raise ValueError("a mapping is no object")  # noqa: TRY004 - one error for all oddities
        fields = cast("dict[str, object]", entry)
        start, size, offset = (fields.get(key) for key in ("base_host_virt_addr", "size", "offset"))
        if not (isinstance(start, int) and isinstance(size, int) and isinstance(offset, int)):
            raise ValueError("a mapping lacks a number")  # noqa: TRY004 - as above
        aligned = not (start % PAGE_BYTES or size % PAGE_BYTES or offset % PAGE_BYTES)
        if not aligned or start < 0 or size <= 0 or not 0 <= offset <= memory_bytes - size:
            raise ValueError("a mapping refers to memory that was never saved")
        found.append(Mapping(start=start, size=size, offset=offset))
    return tuple(found)


class FaultServer:
    """Serves one machine's page faults in a thread. An owner closes it with the machine."""

    def __init__(self, listener: socket.socket, memory: int) -> None:
        """Serve whoever connects first to `listener`, which is taken over.

        `memory`: descriptor of the saved memory; a duplicate is kept.
        """
        self._listener = listener
        self._size = os.fstat(memory).st_size
        self._memory = os.dup(memory)
        self._stop, self._stop_end = os.pipe()
        self.failure: str | None = None
        """Why it serves no longer; None while it does, or when it was closed."""
        self.served = 0
        """Faults answered so far."""
        self._thread = threading.Thread(target=self._run, name="luminaguard-pages", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; the machine has ended. Idempotent."""
        if self._stop_end >= 0:
            os.close(self._stop_end)
            self._stop_end = -1
            self._thread.join()
            os.close(self._stop)

    def _run(self) -> None:
        try:
            with self._listener:
                received = self._introduced()
            if received is None:
                return
            faults, mappings = received
            try:
                with _Source(self._memory, self._size) as source:
                    self._serve(faults, mappings, source)
            finally:
                os.close(faults)
        except (OSError, ValueError) as problem:
            self.failure = f"page faults can no longer be served: {problem}"
        finally:
            os.close(self._memory)

    def _introduced(self) -> tuple[int, tuple[Mapping, ...]] | None:
        """Wait for Firecracker; None when closed before. Bounded."""
        if not self._wait(self._listener.fileno(), _CONNECT_S):
            return None
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(_CONNECT_S)
            said, descriptors = receive(connection, _MESSAGE_BYTES)
        if len(descriptors) != 1:
            for fd in descriptors:
                os.close(fd)
            raise ValueError("Firecracker handed over no descriptor")
        try:
            mappings = read_mappings(said, self._size)
        except BaseException:
            os.close(descriptors[0])
            raise
        return descriptors[0], mappings

    def _serve(self, faults: int, mappings: tuple[Mapping, ...], source: "_Source") -> None:
        emptied = _Emptied()
        while self._wait(faults, None):
            try:
                said = os.read(faults, _EVENT.size * 64)
            except BlockingIOError:
                continue
            for event, _, _, first, second, _ in _EVENT.iter_unpack(said):
                if event == _FAULT:
                    self._answer(faults, mappings, source, emptied, second & -PAGE_BYTES)
                elif event == _REMOVED:
                    emptied.add(first, second)

    def _answer(
        self,
        faults: int,
        mappings: tuple[Mapping, ...],
        source: "_Source",
        emptied: "_Emptied",
        address: int,
    ) -> None:
        mapping = next((one for one in mappings if one.holds(address)), None)
        if mapping is None:
            raise ValueError("a fault outside the guest's memory")
        self.served += 1
        if emptied.holds(address):
            _zero(faults, address, PAGE_BYTES)
            return
        into = (address - mapping.start) & -_STRETCH_BYTES
        length = min(_STRETCH_BYTES, mapping.size - into)
        whole = emptied.untouched and _fill(
            faults, source, mapping.start + into, mapping.offset + into, length
        )
        if not whole:  # a part is there already
            offset = mapping.offset + address - mapping.start
            if not _fill(faults, source, address, offset, PAGE_BYTES):
                _wake(faults, address, PAGE_BYTES)

    def _wait(self, fd: int, limit_s: float | None) -> bool:
        """Wait until `fd` can be read; False when closed meanwhile.

        Raises:
            OSError: nothing came in time, or the other end is gone.
        """
        ready = wait((fd, self._stop), limit_s)
        if self._stop in ready:
            return False
        if not ready:
            raise OSError("Firecracker did not ask for memory in time")
        if not ready[fd]:
            raise OSError("the page fault descriptor is broken")
        return True


class _Source:
    """The saved memory, mapped privately: its address, and which stretches hold anything."""

    def __init__(self, memory: int, size: int) -> None:
        # Private and writable, because only then ctypes tells its address; nobody writes.
        self._mapped = map_private(memory, size)
        first = ctypes.c_char.from_buffer(self._mapped)
        self.address = ctypes.addressof(first)
        del first  # or the mapping could not be closed
        self._extents = data_extents(memory, size)
        self._starts = [start for start, _ in self._extents]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._mapped.close()

    def is_empty(self, offset: int, length: int) -> bool:
        """Whether a stretch is all hole: reading it would only fill the memory file."""
        before = bisect_right(self._starts, offset + length - 1) - 1
        return before < 0 or sum(self._extents[before]) <= offset


class _Emptied:
    """Pages that Firecracker gave back: they read as zeros from then on."""

    def __init__(self) -> None:
        self._pages: set[int] = set()

    @property
    def untouched(self) -> bool:
        """Whether there are none, so that whole stretches may be copied."""
        return not self._pages

    def add(self, start: int, end: int) -> None:
        self._pages.update(range(start & -PAGE_BYTES, end, PAGE_BYTES))

    def holds(self, address: int) -> bool:
        return address in self._pages


def _fill(faults: int, source: _Source, address: int, offset: int, length: int) -> bool:
    """Put saved memory in place; False when a part of it is there already."""
    if source.is_empty(offset, length):
        return _zero(faults, address, length)
    request = struct.pack("=QQQQq", address, source.address + offset, length, 0, 0)
    return _asked(faults, _COPY, request)


def _zero(faults: int, address: int, length: int) -> bool:
    return _asked(faults, _ZERO, struct.pack("=QQQq", address, length, 0, 0))


def _wake(faults: int, address: int, length: int) -> None:
    with suppress(OSError):
        _asked(faults, _WAKE, struct.pack("=QQ", address, length))


def _asked(faults: int, request: int, argument: bytes) -> bool:
    try:
        control(faults, request, argument)
    except OSError as problem:
        if problem.errno in {errno.EEXIST, errno.EAGAIN}:
            return False
        if problem.errno in _GONE:
            return True
        raise
    return True
