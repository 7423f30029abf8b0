"""The guest agent is reached over the socket device, however the first attempts end."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from fcdouble.guest import WireGuest
from fcdouble.vsockside import VsockSide
from luminaguard.errors import GuestLost, WireError
from luminaguard.vm.backends.firecracker.vsock import reach_agent

pytestmark = pytest.mark.anyio

PORT = 5201
Answer = Callable[[socket.socket], None]


class Firecracker:
    """Listens as Firecracker does; each connection is treated as the next of `answers` says."""

    def __init__(self, directory: Path, answers: list[Answer]) -> None:
        self.path = directory / "vsock.sock"
        self.asked: list[bytes] = []
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.path))
        return connection

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(32))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                answer(connection)


def hang_up(_: socket.socket) -> None:
    """As long as nobody listens in the guest."""


def granted_then_reset(connection: socket.socket) -> None:
    connection.sendall(b"OK 1073741824\n")


def granted(connection: socket.socket) -> None:
    connection.sendall(b"OK 1073741825\n")
    WireGuest({}, lambda _: None).serve(connection)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Firecracker]]:
    all_made: list[Firecracker] = []

    def make(*answers: Answer) -> Firecracker:
        all_made.append(Firecracker(tmp_path, list(answers)))
        return all_made[-1]

    yield make
    for one in all_made:
        one.close()


async def test_a_guest_that_listens_is_reached_at_once(made: Callable[..., Firecracker]) -> None:
    firecracker = made(granted)
    client = await reach_agent(firecracker.connect, PORT, limit_s=5, alive=lambda: True)
    await client.ping()
    client.close()
    assert firecracker.asked == [b"CONNECT 5201\n"]


async def test_a_guest_that_still_boots_is_asked_again(made: Callable[..., Firecracker]) -> None:
    firecracker = made(hang_up, hang_up, granted)
    client = await reach_agent(firecracker.connect, PORT, limit_s=5, alive=lambda: True)
    client.close()
    assert len(firecracker.asked) == 3


async def test_a_connection_that_dies_with_the_old_ones_is_made_anew(
    made: Callable[..., Firecracker],
) -> None:
    firecracker = made(granted_then_reset, granted)
    client = await reach_agent(firecracker.connect, PORT, limit_s=5, alive=lambda: True)
    await client.ping()
    client.close()


async def test_a_guest_that_never_listens_is_given_up_in_time(
    made: Callable[..., Firecracker],
) -> None:
    firecracker = made(hang_up)
    with anyio.fail_after(5), pytest.raises(GuestLost, match=r"within 0\.3 s.*nobody listens"):
        await reach_agent(firecracker.connect, PORT, limit_s=0.3, alive=lambda: True)


async def test_a_device_that_says_something_else_is_not_believed(
    made: Callable[..., Firecracker],
) -> None:
    firecracker = made(lambda connection: connection.sendall(b"OK 99999999999999999999999999\n"))
    with pytest.raises(WireError, match="not of its form"):
        await reach_agent(firecracker.connect, PORT, limit_s=5, alive=lambda: True)


async def test_nobody_waits_for_a_firecracker_that_has_ended() -> None:
    def nobody() -> socket.socket:
        raise ConnectionRefusedError

    with anyio.fail_after(2), pytest.raises(GuestLost, match="has ended"):
        await reach_agent(nobody, PORT, limit_s=30, alive=lambda: False)


async def test_the_double_answers_only_while_its_guest_runs(tmp_path: Path) -> None:
    side = VsockSide(tmp_path / "vsock.sock")
    side.start(WireGuest({}, lambda _: None))
    side.run(running=False)

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(tmp_path / "vsock.sock"))
        return connection

    with pytest.raises(GuestLost):
        await reach_agent(connect, PORT, limit_s=0.2, alive=lambda: True)
    side.run(running=True)
    client = await reach_agent(connect, PORT, limit_s=5, alive=lambda: True)
    client.close()
    side.close()
