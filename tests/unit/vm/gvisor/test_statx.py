"""The library that leaves a flag out: it loads, does what statx does, and says what went wrong."""

import ctypes
import errno
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from luminaguard.vm.backends.gvisor import statx

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="the library is made for Linux on x86-64",
)

HERE, NO_AUTOMOUNT, BASIC = -100, 0x800, 0x7FF
UNKNOWN_FLAG = 0x8000_0000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    statx.install(tmp_path)
    return tmp_path


def library(root: Path) -> Path:
    return root / (root / "etc/ld.so.preload").read_text().strip().lstrip("/")


def test_it_answers_as_the_kernel_does_with_the_flag_left_out(root: Path) -> None:
    loaded = ctypes.CDLL(str(library(root)), use_errno=True)
    answer = ctypes.create_string_buffer(256)
    path = os.fsencode(root)
    assert loaded.statx(HERE, path, NO_AUTOMOUNT, BASIC, answer) == 0
    inode = int.from_bytes(answer.raw[32:40], "little")
    assert inode == root.stat().st_ino
    assert loaded.statx(HERE, path + b"/absent", NO_AUTOMOUNT, BASIC, answer) == -1
    assert ctypes.get_errno() == errno.ENOENT
    assert loaded.statx(HERE, path, UNKNOWN_FLAG, BASIC, answer) == -1
    assert ctypes.get_errno() == errno.EINVAL


def test_programs_run_with_it_and_take_its_function(root: Path) -> None:
    environment = {"LD_PRELOAD": str(library(root)), "LD_DEBUG": "bindings", "LC_ALL": "C"}
    said = subprocess.run(
        ["/bin/ls", "-d", str(root)],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    )
    assert said.stdout == f"{root}\n"
    taken = [line for line in said.stderr.splitlines() if "symbol `statx'" in line]
    if taken:  # where this host's ls asks by statx at all
        assert all(str(library(root)) in line.split(" to ")[1] for line in taken)


def test_nobody_else_may_write_it(root: Path) -> None:
    for place in (library(root), root / "etc/ld.so.preload"):
        assert place.stat().st_mode & 0o777 == 0o644
