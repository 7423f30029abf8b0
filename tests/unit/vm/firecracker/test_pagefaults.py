"""A restored guest's memory comes page by page from the template, by the kernel's own mechanism."""

import ctypes
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luminaguard.vm.backends.firecracker.pagefaults import (
    PAGE_BYTES,
    FaultServer,
    Mapping,
    read_mappings,
)
from luminaguard.vm.linux import memory_file, seal

PAGES = 64
SIZE = PAGES * PAGE_BYTES


def said(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {"base_host_virt_addr": 1 << 40, "size": SIZE, "offset": 0}
    return {**whole, "page_size": PAGE_BYTES, **changes}


def test_the_layout_is_read_as_firecracker_tells_it() -> None:
    second = said(base_host_virt_addr=1 << 41, size=PAGE_BYTES, offset=SIZE - PAGE_BYTES)
    found = read_mappings(json.dumps([said(), second]).encode(), SIZE)
    assert found[0] == Mapping(start=1 << 40, size=SIZE, offset=0)
    assert found[1].holds((1 << 41) + PAGE_BYTES - 1)
    assert not found[1].holds((1 << 41) + PAGE_BYTES)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        {},
        [1],
        [said(size=0)],
        [said(size=-PAGE_BYTES)],
        [said(size=SIZE + PAGE_BYTES)],
        [said(offset=PAGE_BYTES)],
        [said(offset=-PAGE_BYTES)],
        [said(size="1")],
        [said(base_host_virt_addr=1)],
        [said()] * 65,
    ],
)
def test_a_layout_that_reaches_beyond_the_template_is_refused(entries: object) -> None:
    with pytest.raises(ValueError, match="mapping"):
        read_mappings(json.dumps(entries).encode(), SIZE)


@pytest.fixture
def template() -> Iterator[int]:
    """A sealed memory: page n holds n + 1, but for a hole in the middle."""
    fd = memory_file("template", SIZE)
    for page in range(PAGES):
        if not 16 <= page < 48:
            os.pwrite(fd, bytes([page + 1]) * PAGE_BYTES, page * PAGE_BYTES)
    seal(fd)
    yield fd
    os.close(fd)


@pytest.fixture
def server(tmp_path: Path, template: int) -> Iterator[Callable[[], tuple[FaultServer, str]]]:
    made: list[FaultServer] = []

    def make() -> tuple[FaultServer, str]:
        path = str(tmp_path / "faults.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(1)
        made.append(FaultServer(listener, template))
        return made[-1], path

    yield make
    for one in made:
        one.close()
        one.close()


def test_a_server_that_nobody_asks_is_closed_at_once(
    server: Callable[[], tuple[FaultServer, str]],
) -> None:
    started_s = time.monotonic()
    faults, _ = server()
    faults.close()
    assert time.monotonic() - started_s < 5
    assert faults.failure is None


@pytest.mark.parametrize("content", [b"nonsense", b"[]", json.dumps([said(offset=1)]).encode()])
def test_an_introduction_that_is_wrong_is_a_failure_and_leaks_nothing(
    server: Callable[[], tuple[FaultServer, str]], content: bytes
) -> None:
    faults, path = server()
    before = len(os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        read_end, write_end = os.pipe()
        socket.send_fds(connection, [content], [read_end])
        os.close(read_end)
        _wait_for(lambda: faults.failure is not None)
        os.close(write_end)
    assert len(os.listdir("/proc/self/fd")) < before


def test_an_introduction_without_a_descriptor_is_a_failure(
    server: Callable[[], tuple[FaultServer, str]],
) -> None:
    faults, path = server()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        connection.sendall(json.dumps([said()]).encode())
        _wait_for(lambda: faults.failure is not None)
    assert "no descriptor" in str(faults.failure)


def _wait_for(true: Callable[[], bool]) -> None:
    limit_s = time.monotonic() + 10
    while not true():
        assert time.monotonic() < limit_s
        time.sleep(0.005)


# The other side, in a process of its own, as Firecracker is one: it registers memory with the
# kernel, hands the descriptor over, touches pages, and says what it found.

_SYSCALL = 323  # userfaultfd, x86-64
_API, _REGISTER = 0xC018AA3F, 0xC020AA00
_MISSING = 1
_PRIVATE_ANONYMOUS = 0x22
_READ_WRITE = 3
_DONTNEED = 4
_EVENT_REMOVE = 1 << 3


def _open_faults(libc: ctypes.CDLL) -> int:
    import fcntl

    fd = libc.syscall(_SYSCALL, os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "userfaultfd")
    fcntl.ioctl(fd, _API, struct.pack("=QQQ", 0xAA, _EVENT_REMOVE, 0))
    return fd


def _can_fault() -> bool:
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return False
    try:
        os.close(_open_faults(ctypes.CDLL(None, use_errno=True)))
    except OSError:
        return False
    return True


def _play_guest(path: str, order: list[int], *, give_back: bool) -> list[int]:
    """Return the first byte of each page of `order`, touched in that order."""
    import fcntl

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    address = libc.mmap(None, SIZE, _READ_WRITE, _PRIVATE_ANONYMOUS, -1, 0)
    faults = _open_faults(libc)
    fcntl.ioctl(faults, _REGISTER, struct.pack("=QQQQ", address, SIZE, _MISSING, 0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        content = json.dumps([said(base_host_virt_addr=address)]).encode()
        socket.send_fds(connection, [content], [faults])
    found = [ctypes.string_at(address + page * PAGE_BYTES, 1)[0] for page in order]
    if give_back:
        libc.madvise(address, PAGE_BYTES, _DONTNEED)
        found += list(ctypes.string_at(address, 1))
    whole = ctypes.string_at(address, SIZE)
    return [*found, *(whole[page * PAGE_BYTES + 100] for page in range(PAGES))]


@pytest.mark.root
@pytest.mark.parametrize("give_back", [False, True])
def test_each_page_arrives_as_it_was_saved_whatever_is_touched_first(
    server: Callable[[], tuple[FaultServer, str]], give_back: bool
) -> None:
    if not _can_fault():
        pytest.skip("this kernel gives no userfaultfd")
    faults, path = server()
    order = [0, 63, 17, 15, 16, 48, 1]
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write_end, bytes(_play_guest(path, order, give_back=give_back)))
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answers:
        found = answers.read()
    os.waitpid(child, 0)
    saved = [0 if 16 <= page < 48 else page + 1 for page in range(PAGES)]
    touched = [saved[page] for page in order]
    if give_back:
        touched.append(0)  # what was given back reads as zeros, not as the template's
        saved[0] = 0
    assert list(found) == [*touched, *saved]
    assert 0 < faults.served <= PAGES
    assert faults.failure is None
