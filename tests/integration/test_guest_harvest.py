"""The real harvest of real overlays: every kind of change, as it is, and nothing else."""

from pathlib import Path

import pytest

from guestcalls import WORKSPACE, Machines, harvested, python, shell, whole
from luminaguard.domain.harvest import (
    UpperDirectory,
    UpperFile,
    UpperSpecial,
    UpperSymlink,
    Whiteout,
)
from luminaguard.vm.hypervisor import GuestMount

pytestmark = [pytest.mark.vm, pytest.mark.anyio]


async def test_every_kind_of_change_is_reported_as_it_is(machines: Machines, tree: Path) -> None:
    script = r"""
        set -e
        echo more >> a.txt; touch -d @1700000000.123456789 a.txt
        rm -r gone
        rm -r d1/s1; mkdir d1/s1; echo new > d1/s1/only
        chmod 4711 tool
        ln -s ../outside link
        mkdir -p new/deep; echo 1 > new/deep/one; ln new/deep/one new/two
        mkfifo pipe
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
        truncate -s 300M sparse
        printf end | dd of=sparse bs=1 seek=200000000 conv=notrunc status=none
        touch "$(printf 'bad\377name')"
        mkdir empty; : > nothing
    """
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        report = await shell(machine, script)
        assert report.exit_code == 0, report.stderr
        records, content = await harvested(machine)

    root = records[b""]
    assert isinstance(root, UpperDirectory)
    assert not root.opaque
    changed = records[b"a.txt"]
    assert isinstance(changed, UpperFile)
    assert (changed.size, changed.mtime_ns) == (11, 1700000000123456789)
    assert whole(content[b"a.txt"], 11) == b"hello\nmore\n"
    assert isinstance(records[b"gone"], Whiteout)
    assert b"gone/z" not in records
    replaced = records[b"d1/s1"]
    assert isinstance(replaced, UpperDirectory)
    assert replaced.opaque
    assert b"d1/s1/x" not in records
    merged = records[b"d1"]
    assert isinstance(merged, UpperDirectory)
    assert not merged.opaque
    assert merged.redirect is None
    tool = records[b"tool"]
    assert isinstance(tool, UpperFile)
    assert tool.mode == 0o4711
    assert records[b"link"] == UpperSymlink(b"link", b"../outside")
    for name in (b"new/deep/one", b"new/two"):
        assert isinstance(records[name], UpperFile)
        assert whole(content[name], 2) == b"1\n"
    assert records[b"pipe"] == UpperSpecial(b"pipe", "fifo")
    assert records[b"sock"] == UpperSpecial(b"sock", "socket")
    assert isinstance(records[b"bad\xffname"], UpperFile)
    assert isinstance(records[b"empty"], UpperDirectory)
    assert content[b"nothing"] == []
    sparse = records[b"sparse"]
    assert isinstance(sparse, UpperFile)
    assert sparse.size == 300 * 1024 * 1024
    runs = content[b"sparse"]
    assert sum(len(part.content) for part in runs) < 1_000_000, "holes were sent"
    assert [part.offset for part in runs] == sorted(part.offset for part in runs)
    held = {
        part.offset + at: part.content[at : at + 3]
        for part in runs
        for at in [part.content.find(b"end")]
        if at >= 0
    }
    assert held == {200_000_000: b"end"}


async def test_a_renamed_directory_is_reported_with_where_it_came_from(
    machines: Machines, tree: Path
) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        report = await python(machine, "import os; os.rename('d1', 'd2'); os.rename('d2/s1', 's9')")
        assert report.exit_code == 0, report.stderr
        records, _ = await harvested(machine)
    moved, inner = records[b"d2"], records[b"s9"]
    assert isinstance(moved, UpperDirectory)
    assert isinstance(inner, UpperDirectory)
    assert (moved.redirect, inner.redirect) == (b"d1", b"/d1/s1")
    assert isinstance(records[b"d1"], Whiteout)
    assert isinstance(records[b"d2/s1"], Whiteout)


async def test_untouched_workspaces_and_reads_leave_nothing_to_harvest(
    machines: Machines, tree: Path
) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        await shell(machine, "find . -type f | xargs cat; ls -laR / >&- 2>&-; echo x > /tmp/y")
        records, _ = await harvested(machine)
    assert set(records) == {b""}


async def test_the_session_goes_on_after_a_harvest_and_the_next_one_holds_everything(
    machines: Machines, tree: Path
) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        await shell(machine, "echo 1 > one")
        first, _ = await harvested(machine)
        await shell(machine, "echo 2 > two; cat one")
        second, _ = await harvested(machine)
    assert set(second) - set(first) == {b"two"}
    assert set(first) <= set(second)


async def test_bytes_under_skipped_directories_are_left_out_and_the_files_still_listed(
    machines: Machines, tree: Path
) -> None:
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        await shell(machine, "mkdir -p build/x buildx; echo 1 > build/x/o; echo 2 > buildx/o")
        _, content = await harvested(machine, skip=[b"build"])
    assert content[b"build/x/o"] == []
    assert content[b"buildx/o"] != []


async def test_three_thousand_new_directories_and_a_deep_tree_are_harvested(
    machines: Machines, tree: Path
) -> None:
    code = """
import os
for number in range(3000):
    os.mkdir(f"many-{number}")
for depth in range(900):
    os.mkdir("d" * 20)
    os.chdir("d" * 20)
open("bottom", "w").write("deep")
"""
    async with machines(tree) as machine:
        await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
        report = await python(machine, code)
        assert report.exit_code == 0, report.stderr
        records, content = await harvested(machine)
    assert sum(path.startswith(b"many-") for path in records) == 3000
    bottom = b"/".join([b"d" * 20] * 900) + b"/bottom"
    assert whole(content[bottom], 4) == b"deep"
