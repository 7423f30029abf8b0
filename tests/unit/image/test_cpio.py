"""The archives that the kernel unpacks."""

import shutil
import stat
import subprocess

import pytest

from luminaguard.errors import ImageError
from luminaguard.image.cpio import CpioEntry, directory, file, pack
from luminaguard.image.initrd import agent_cpio, build_initrd
from luminaguard.image.modules import ModuleSet


def unpack(archive: bytes) -> list[CpioEntry]:
    """Read newc archives by the format's description, concatenated ones included."""
    entries: list[CpioEntry] = []
    at = 0
    while at < len(archive):
        if archive[at] == 0:  # padding between archives
            at += 1
            continue
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        at += -(-(110 + name_size) // 4) * 4
        if name != "TRAILER!!!":
            entries.append(CpioEntry(path=name, mode=mode, content=archive[at : at + size]))
        at += -(-size // 4) * 4
    return entries


def test_what_is_packed_is_what_is_read_back() -> None:
    entries = [
        directory("a"),
        file("a/x", b"1", 0o755),
        file("a/long-name", b"12345"),
        file("e", b""),
    ]
    assert unpack(pack(entries)) == entries


def test_archives_can_be_concatenated_as_the_kernel_reads_them() -> None:
    archive = pack([file("first", b"1")]) + pack([file("second", b"22")])
    assert [entry.path for entry in unpack(archive)] == ["first", "second"]


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio to read the archive")
def test_cpio_itself_reads_the_archive(tmp_path) -> None:
    archive = pack([directory("a"), file("a/x", b"hello")])
    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "a/x").read_bytes() == b"hello"


def agent(directory, order):
    for name in order:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
        path.chmod(0o600)
    return directory


def test_the_agent_archive_depends_on_nothing_but_the_sources(tmp_path) -> None:
    names = ["__init__.py", "agent.py", "sub/__init__.py", "sub/part.py"]
    first = agent(tmp_path / "one", names)
    second = agent(tmp_path / "two", reversed(names))
    (second / "__pycache__").mkdir()
    (second / "__pycache__/agent.cpython-311.pyc").write_bytes(b"stale")
    (second / "notes.txt").write_text("not code")
    assert agent_cpio(first) == agent_cpio(second)
    (second / "agent.py").write_text("# changed\n")
    assert agent_cpio(first) != agent_cpio(second)


def test_the_agent_lies_where_init_looks_for_it(tmp_path) -> None:
    archive = agent_cpio(
        agent(tmp_path / "p", ["sub/__init__.py", "z.py", "agent.py", "__init__.py"])
    )
    entries = {entry.path: entry for entry in unpack(archive)}
    assert entries["agent/luminaguard_guest/agent.py"].mode == stat.S_IFREG | 0o644
    assert stat.S_ISDIR(entries["agent/luminaguard_guest/sub"].mode)
    order = list(entries)
    files = [path for path in order if path.endswith(".py")]
    assert files == sorted(files)
    assert order.index("agent") < order.index("agent/luminaguard_guest/agent.py")


def test_a_directory_without_a_package_is_no_agent(tmp_path) -> None:
    with pytest.raises(ImageError, match="no Python package"):
        agent_cpio(tmp_path)


def test_the_initrd_lists_its_modules_in_load_order() -> None:
    modules = ModuleSet(files=(("virtio_ring", b"r"), ("virtio", b"v")), builtin=("ext4",))
    entries = {
        entry.path: entry
        for entry in unpack(build_initrd(init=b"#!init", busybox=b"bb", modules=modules))
    }
    order = entries["modules/order"].content.decode().split()
    assert [entries[f"modules/{name}"].content for name in order] == [b"r", b"v"]
    assert entries["init"].mode & 0o111
    assert entries["bin/busybox"].mode & 0o111
