"""What a machine shares with the host stays within its room, even if Firecracker is taken over."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from luminaguard.errors import VmError
from luminaguard.vm.backends.firecracker.room import Room, sweep
from luminaguard.vm.linux import anonymous_file, memory_file

OTHER = 1_900_000_001


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "machines" / "firecracker" / "one", _root(tmp_path, "one"), None)
    yield made
    made.close()


def _root(base: Path, name: str) -> Path:
    return base / "machines" / "firecracker" / name / "root"


def outside(room: Room, inside: str) -> Path:
    return room.root / inside.lstrip("/")


def test_a_file_without_a_name_gets_one_in_the_room_and_stays_the_same_file(
    room: Room, tmp_path: Path
) -> None:
    fd = anonymous_file(tmp_path)
    os.write(fd, b"content")
    inside = room.lend(fd, "disk", writable=True)
    assert inside == "/rw/disk"
    assert outside(room, inside).stat().st_ino == os.fstat(fd).st_ino
    os.close(fd)


def test_a_file_that_cannot_get_a_name_is_copied_with_its_holes(room: Room) -> None:
    fd = memory_file("disk", 64 << 20)
    os.pwrite(fd, b"content", 32 << 20)
    copy = outside(room, room.lend(fd, "disk"))
    about = copy.stat()
    assert about.st_size == 64 << 20
    assert about.st_blocks * 512 < 1 << 20
    with copy.open("rb") as file:
        file.seek(32 << 20)
        assert file.read(7) == b"content"
    os.close(fd)


def test_a_file_whose_name_was_taken_away_is_copied(room: Room, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"image")
    fd = os.open(path, os.O_RDONLY)
    path.unlink()
    assert outside(room, room.lend(fd, "image")).read_bytes() == b"image"
    os.close(fd)


def test_a_name_is_never_given_twice(room: Room, tmp_path: Path) -> None:
    fd = anonymous_file(tmp_path)
    room.lend(fd, "disk")
    with pytest.raises(VmError, match="cannot be handed"):
        room.lend(fd, "disk")
    os.close(fd)


def test_a_placeholder_takes_no_space(room: Room) -> None:
    about = outside(room, room.placeholder("slot", 8 << 30, writable=True)).stat()
    assert (about.st_size, about.st_blocks) == (8 << 30, 0)


def test_a_link_in_the_machines_directory_leads_nowhere(room: Room, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    (room.root / "rw" / "saved").symlink_to(secret)
    with pytest.raises(VmError, match="left no saved"):
        room.collect("saved", 1000)
    with pytest.raises(VmError, match="cannot be handed"):
        room.lend(os.open(secret, os.O_RDONLY), "saved", writable=True)
    assert secret.read_text() == "the host's"


def test_a_link_to_another_socket_is_not_followed(room: Room, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "other.sock"))
    listener.listen(1)
    (room.root / "rw" / "api.sock").symlink_to(tmp_path / "other.sock")
    with pytest.raises(OSError, match="no socket"):
        room.connect("api.sock")
    listener.close()


def test_a_socket_is_reached_however_long_its_path_is(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    room = Room(deep, deep / "root", None)
    listener = room.listen("faults.sock")
    connection = room.connect("faults.sock")
    accepted, _ = listener.accept()
    accepted.sendall(b"!")
    connection.settimeout(5)
    assert connection.recv(1) == b"!"
    for one in (listener, connection, accepted):
        one.close()
    room.close()


def test_what_is_no_file_is_not_collected(room: Room) -> None:
    os.mkfifo(room.root / "rw" / "pipe")
    with pytest.raises(VmError, match="no file"):
        room.collect("pipe", 10)
    (room.root / "rw" / "long").write_bytes(bytes(11))
    with pytest.raises(VmError, match="no file of the expected size"):
        room.collect("long", 10)
    (room.root / "rw" / "fits").write_bytes(bytes(10))
    os.close(room.collect("fits", 10))


def test_a_closed_room_leaves_nothing(tmp_path: Path) -> None:
    room = Room(tmp_path / "one", tmp_path / "one" / "root", None)
    room.close()
    room.close()
    assert not list(tmp_path.iterdir())


def test_rooms_of_the_dead_are_removed_and_those_of_the_living_kept(tmp_path: Path) -> None:
    living = Room(tmp_path / "firecracker" / "a", tmp_path / "firecracker" / "a" / "root", None)
    dead = tmp_path / "firecracker" / "b"
    (dead / "root").mkdir(parents=True)
    (dead / ".lock").touch()
    sweep(tmp_path)
    assert living.root.is_dir()
    assert not dead.exists()
    living.close()


@pytest.mark.root
def test_a_machine_with_a_user_of_its_own_can_write_only_what_is_its_own(tmp_path: Path) -> None:
    room = Room(tmp_path / "one", tmp_path / "one" / "root", OTHER)
    fd = anonymous_file(tmp_path)
    read_only = room.lend(fd, "memory")
    writable = room.lend(memory_file("scratch", 100), "scratch", writable=True)
    assert room.why_not_read_only(read_only) is None
    assert outside(room, read_only).stat().st_uid == 0
    assert outside(room, read_only).stat().st_mode & 0o777 == 0o444
    assert outside(room, writable).stat().st_uid == OTHER
    assert (room.root / "rw").stat().st_uid == OTHER
    assert (room.root / "ro").stat().st_uid == 0
    os.chmod(outside(room, read_only), 0o666)
    assert room.why_not_read_only(read_only) == "the template's memory can be written"
    os.close(fd)
    room.close()
