"""What only Windows can show of QEMU's line and life there. Elsewhere skipped with the reason."""

import os
import subprocess
import sys
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.backends.qemu.portable.peers import windows_owner
from luminaguard.vm.backends.qemu.portable.process import PlainProcess
from luminaguard.vm.backends.qemu.portable.transport import LoopbackLine
from luminaguard.vm.linux import try_lock

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "win32", reason="needs Windows"),
]

CALLER = """
import socket, sys, time
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as line:
    line.sendall(b"hello")
    time.sleep(100)
"""
OWNER = """
import sys, time
from pathlib import Path
from luminaguard.vm.backends.qemu.portable.process import PlainProcess
sleep = [sys.executable, "-c", "import time; time.sleep(100)"]
process = PlainProcess(sleep, [], Path(sys.argv[1]))
process.watch(1 << 30)
print(process.pid, flush=True)
time.sleep(100)
"""


def port_of(line: LoopbackLine) -> str:
    return line.option.partition("port=")[2].partition(",")[0]


async def test_windows_says_whose_a_connection_is(tmp_path: Path) -> None:
    line = LoopbackLine(windows_owner)
    caller = PlainProcess([sys.executable, "-c", CALLER, port_of(line)], [], tmp_path / "said")
    try:
        with await line.connected(caller.pid) as ours:
            ours.settimeout(10)
            assert ours.recv(5) == b"hello"
    finally:
        await caller.end()


async def test_another_process_is_turned_away(tmp_path: Path) -> None:
    line = LoopbackLine(windows_owner)
    thief = PlainProcess([sys.executable, "-c", CALLER, port_of(line)], [], tmp_path / "said")
    try:
        with pytest.raises(HypervisorUnavailable, match=str(thief.pid)):
            await line.connected(thief.pid + 4)
    finally:
        await thief.end()


async def test_a_job_lets_its_process_start_no_other(tmp_path: Path) -> None:
    script = (
        "import time, subprocess, sys; time.sleep(2); subprocess.Popen([sys.executable, '-c', ''])"
    )
    process = PlainProcess([sys.executable, "-c", script], [], tmp_path / "said")
    process.watch(1 << 30)
    with anyio.fail_after(20):
        while process.alive:  # noqa: ASYNC110 - nobody tells of its end
            await anyio.sleep(0.1)
    assert "Error" in process.last_words()
    await process.end()


async def test_nothing_outlives_a_killed_owner(tmp_path: Path) -> None:
    owner = await anyio.open_process([sys.executable, "-c", OWNER, str(tmp_path / "said")])
    assert owner.stdout is not None
    pid = int(await owner.stdout.receive())
    owner.kill()
    with anyio.fail_after(10):
        await owner.aclose()
    assert await anyio.to_thread.run_sync(gone, pid)


def gone(pid: int) -> bool:
    until_s = time.monotonic() + 10
    while runs(pid) and time.monotonic() < until_s:
        time.sleep(0.1)
    return not runs(pid)


def runs(pid: int) -> bool:
    listed = subprocess.run(
        ["tasklist", "/FI", f"PID eq {pid}", "/NH"], capture_output=True, check=True, text=True
    )
    return str(pid) in listed.stdout.split()


def test_a_file_is_locked_by_one_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    second = os.open(path, os.O_RDWR)
    try:
        assert try_lock(first)
        assert not try_lock(second)
        os.close(first)
        assert try_lock(second)
    finally:
        os.close(second)
