"""A plain QEMU ends with its machine, and with its owner."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from luminaguard.errors import VmError
from luminaguard.vm.backends.qemu.portable.process import PlainProcess

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has job objects instead")

OWNER = """
import sys, time
from pathlib import Path
from luminaguard.vm.backends.qemu.portable.process import PlainProcess
process = PlainProcess(["sleep", "100"], [], Path(sys.argv[1]))
process.watch(1)
print(process.pid, flush=True)
time.sleep(100)
"""


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False, text=True
    )
    return listed.stdout.strip()[:1] not in {"", "Z"}


def gone(pid: int) -> bool:
    until_s = time.monotonic() + 10
    while runs(pid) and time.monotonic() < until_s:
        time.sleep(0.02)
    return not runs(pid)


@pytest.mark.anyio
async def test_it_ends_for_certain_and_only_once(tmp_path: Path) -> None:
    process = PlainProcess(["sleep", "100"], [], tmp_path / "said")
    process.watch(1)
    assert process.alive
    await process.end()
    await process.end()
    assert not process.alive
    assert gone(process.pid)


def test_it_does_not_outlive_an_owner_that_was_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path / "said"], stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert runs(pid)
        owner.send_signal(signal.SIGKILL)
    assert gone(pid)


@pytest.mark.anyio
async def test_its_last_words_are_kept(tmp_path: Path) -> None:
    process = PlainProcess(["sh", "-c", "echo no such board >&2"], [], tmp_path / "said")
    process.watch(1)
    with anyio.fail_after(10):
        while process.alive:  # noqa: ASYNC110 - nobody tells of its end
            await anyio.sleep(0.01)
    assert process.last_words() == "no such board"
    await process.end()


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="could not be started"):
        PlainProcess(["/nonexistent/qemu"], [], tmp_path / "said")
