"""The harvest of an upper layer, on a directory of this host."""

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from luminaguard_guest import overlay, wire
from luminaguard_guest.faults import GuestFault

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guest is Linux")


def records(upper: Path, *skip: bytes) -> dict[bytes, wire.Message]:
    found: dict[bytes, wire.Message] = {}
    for message in overlay.harvest(str(upper), skip):
        if not isinstance(message, wire.FileBytes):
            found[getattr(message, "path")] = message  # noqa: B009 - every record has one
    return found


def content(upper: Path, *skip: bytes) -> list[tuple[int, int]]:
    return [
        (message.offset, len(message.content))
        for message in overlay.harvest(str(upper), skip)
        if isinstance(message, wire.FileBytes)
    ]


def test_files_links_and_specials_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o750)
    (tmp_path / "d/file").write_text("abc")
    (tmp_path / "d/file").chmod(0o4755)
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fsencode(tmp_path / "sock"))
    found = records(tmp_path)
    assert found[b"link"] == wire.UpperSymlink(b"link", b"/etc/passwd")
    assert found[b"pipe"] == wire.UpperSpecial(b"pipe", "fifo")
    assert found[b"sock"] == wire.UpperSpecial(b"sock", "socket")
    assert found[b"d"] == wire.UpperDirectory(b"d", 0o750, opaque=False, redirect=None)
    file = found[b"d/file"]
    assert isinstance(file, wire.UpperFile)
    assert (file.mode, file.size) == (0o4755, 3)


def test_each_directory_comes_before_its_contents(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"a{number}/b/c").mkdir(parents=True)
    seen: set[bytes] = set()
    for path in records(tmp_path):
        assert not path or path.rpartition(b"/")[0] in seen
        seen.add(path)
    assert len(seen) == 61


def test_holes_are_not_sent_and_every_other_byte_is(tmp_path: Path) -> None:
    size = 100 * 1024 * 1024
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(size)
        file.seek(50 * 1024 * 1024)
        file.write(b"x" * 200_000)
    runs = content(tmp_path)
    assert sum(length for _, length in runs) < 1024 * 1024
    assert min(offset for offset, _ in runs) <= 50 * 1024 * 1024
    assert max(offset + length for offset, length in runs) >= 50 * 1024 * 1024 + 200_000
    assert all(length <= wire.CHUNK_BYTES for _, length in runs)


def test_skipped_directories_are_listed_without_bytes(tmp_path: Path) -> None:
    for name in ("build", "buildings"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("content")
    assert set(records(tmp_path, b"build")) == set(records(tmp_path))
    assert content(tmp_path, b"build") == [(0, 7)]


def test_a_link_in_place_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "d").symlink_to(outside)
    assert set(records(upper)) == {b"", b"d"}


def test_a_tree_deeper_than_any_path_is_walked_and_one_without_end_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d" * 20, dir_fd=descriptor)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    assert len(records(tmp_path)) == 301
    monkeypatch.setattr(overlay, "_DEPTH", 100)
    with pytest.raises(GuestFault, match="deep"):
        records(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors were left open"


@pytest.mark.root
def test_deletions_and_overlay_attributes_are_reported(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make deletion marks")
    os.mknod(tmp_path / "gone", 0o600 | stat.S_IFCHR, 0)
    os.link(tmp_path / "gone", tmp_path / "gone-too")
    os.mknod(tmp_path / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    for name in ("opaque", "moved", "marked"):
        (tmp_path / name).mkdir()
    try:
        os.setxattr(tmp_path / "opaque", "trusted.overlay.opaque", b"y")
    except OSError as error:
        pytest.skip(f"this file system takes no trusted attributes: {error}")
    os.setxattr(tmp_path / "moved", "trusted.overlay.redirect", b"/was/here")
    os.setxattr(tmp_path / "marked", "trusted.overlay.opaque", b"x")
    (tmp_path / "marked/deleted").touch()
    os.setxattr(tmp_path / "marked/deleted", "trusted.overlay.whiteout", b"")
    (tmp_path / "marked/empty").touch()
    found = records(tmp_path)
    assert found[b"gone"] == wire.Whiteout(b"gone")
    assert found[b"gone-too"] == wire.Whiteout(b"gone-too")
    assert found[b"null"] == wire.UpperSpecial(b"null", "char")
    assert found[b"marked/deleted"] == wire.Whiteout(b"marked/deleted")
    assert isinstance(found[b"marked/empty"], wire.UpperFile)
    attributes = {
        path: (record.opaque, record.redirect)
        for path, record in found.items()
        if isinstance(record, wire.UpperDirectory)
    }
    assert attributes == {
        b"": (False, None),
        b"opaque": (True, None),
        b"moved": (False, b"/was/here"),
        b"marked": (False, None),
    }
