"""The agent finds its way to the host, and a lost connection costs it nothing but that."""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from luminaguard_guest.faults import GuestFault
from luminaguard_guest.port import Port
from luminaguard_guest.ports import open_port
from luminaguard_guest.vsock import PORT, VsockPort
from luminaguard_guest.wire import FROM_GUEST, FROM_HOST, Decoder, Done, Message, Ping
from luminaguard_guest.workspace import block_device


class World:
    """A port that listens on a unix socket instead of the guest's address family."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "port.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.path)
        listener.listen(4)
        self.is_host = True
        self.port = VsockPort(listener, lambda _peer: self.is_host)
        self.connections: list[socket.socket] = []

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self.path)
        connection.settimeout(5)
        self.connections.append(connection)
        return connection

    def heard(self, count: int) -> list[tuple[int, Message]]:
        """Do what the agent's loop does until so many messages came."""
        found: list[tuple[int, Message]] = []
        limit_s = time.monotonic() + 5
        while len(found) < count:
            assert time.monotonic() < limit_s
            self.wait()
            found.extend(self.port.read())
        return found

    def wait(self) -> None:
        """Wait for the port as the agent does: by its one descriptor."""
        assert select.select([self.port.descriptor], [], [], 5)[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.port.close()
    for connection in made.connections:
        connection.close()


def ping(connection: socket.socket, request_id: int) -> None:
    connection.sendall(FROM_HOST.encode(request_id, Ping()))


def answers(connection: socket.socket, count: int) -> list[tuple[int, Message]]:
    decoder = Decoder(FROM_GUEST)
    found: list[tuple[int, Message]] = []
    while len(found) < count:
        found.extend(decoder.feed(connection.recv(65536)))
    return found


def test_requests_come_in_and_answers_go_out(world: World) -> None:
    connection = world.connect()
    ping(connection, 7)
    assert world.heard(1) == [(7, Ping())]
    world.port.say(7, Done())
    world.port.flush()
    assert answers(connection, 1) == [(7, Done())]
    assert not world.port.has_backlog


def test_a_restored_guest_is_reached_over_a_new_connection(world: World) -> None:
    first = world.connect()
    ping(first, 1)
    world.heard(1)
    first.sendall(FROM_HOST.encode(2, Ping())[:3])  # half a frame, then the connection is gone
    second = world.connect()
    ping(second, 3)
    assert world.heard(1) == [(3, Ping())]
    world.port.say(3, Done())
    world.port.flush()
    assert answers(second, 1) == [(3, Done())]


def test_a_connection_that_ended_leaves_a_port_that_waits_for_the_next(world: World) -> None:
    first = world.connect()
    ping(first, 1)
    world.heard(1)
    first.close()
    world.wait()
    assert list(world.port.read()) == []
    world.port.say(1, Done())
    world.port.flush()
    assert not world.port.has_backlog  # nobody is there who asked for it
    second = world.connect()
    ping(second, 2)
    assert world.heard(1) == [(2, Ping())]


def test_what_the_host_does_not_take_waits_without_being_lost(world: World) -> None:
    connection = world.connect()
    ping(connection, 1)
    world.heard(1)
    count = 0
    while not world.port.is_full:
        world.port.say(count, Done())
        world.port.flush()
        count += 1
    assert world.port.has_backlog
    decoder = Decoder(FROM_GUEST)
    found: list[tuple[int, Message]] = []
    while len(found) < count:
        found.extend(decoder.feed(connection.recv(1 << 20)))
        if world.port.has_backlog:
            world.wait()  # readable, although what it waits for is room
            assert list(world.port.read()) == []
            world.port.flush()
    assert found == [(number, Done()) for number in range(count)]


def test_nobody_but_the_host_is_listened_to(world: World) -> None:
    world.is_host = False
    connection = world.connect()
    ping(connection, 1)
    world.wait()
    assert list(world.port.read()) == []
    with suppress(ConnectionResetError):  # it was turned away with its request unread
        assert connection.recv(1) == b""


def test_the_serial_port_comes_first(world: World) -> None:
    read_end, write_end = socket.socketpair()
    serial = Port(read_end.fileno())
    assert open_port(lambda: serial, lambda: world.port) is serial
    assert open_port(lambda: None, lambda: world.port) is world.port
    with pytest.raises(GuestFault, match="no port"):
        open_port(lambda: None, lambda: None)
    read_end.close()
    write_end.close()


def test_host_and_guest_mean_the_same_port() -> None:
    from luminaguard.vm.backends.firecracker.shape import AGENT_PORT

    assert AGENT_PORT == PORT


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    for name in ("vda", "vdb", "ram0"):
        (tmp_path / "block" / name).mkdir(parents=True)
    (tmp_path / "cmdline").write_text(
        "quiet luminaguard.lg-root=vda luminaguard.lg-workspace=vdb\n"
    )
    return tmp_path


def found(blocks: Path, serial: str) -> str:
    return block_device(serial, str(blocks / "block"), str(blocks / "cmdline"))


def test_a_disk_with_a_serial_number_is_known_by_it(blocks: Path) -> None:
    (blocks / "block/vdb/serial").write_text("lg-root\n")
    assert found(blocks, "lg-root") == "vdb"


def test_a_disk_without_one_is_named_on_the_kernels_command_line(blocks: Path) -> None:
    (blocks / "block/vda/serial").write_text("2049123\n")
    assert found(blocks, "lg-root") == "vda"
    assert found(blocks, "lg-workspace") == "vdb"


@pytest.mark.parametrize(
    "line", ["", "luminaguard.lg-scratch=vdz", "luminaguard.lg-scratch=../vda", "lg-scratch=vda"]
)
def test_a_disk_that_is_not_there_is_not_made_up(blocks: Path, line: str) -> None:
    (blocks / "cmdline").write_text(line)
    with pytest.raises(GuestFault, match="no disk lg-scratch"):
        found(blocks, "lg-scratch")
