"""Which QEMU is taken, and what is said of one that is not."""

import sys
from pathlib import Path

import pytest

from luminaguard.errors import HypervisorUnavailable, VmError
from luminaguard.vm.backends.qemu.version import qemu_version

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the doubles are shell scripts")


def program(place: Path, script: str) -> str:
    path = place / "qemu-system-x86_64"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_version_is_told_as_qemu_tells_it(tmp_path: Path) -> None:
    said = "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"
    script = f'echo "QEMU emulator version {said}"; echo "Copyright (c) 2003-2022"'
    assert qemu_version(program(tmp_path, script)) == said


@pytest.mark.parametrize("version", ["2.11.1", "6.2.0 (Debian 1:6.2+dfsg-2ubuntu6)"])
def test_an_old_version_is_refused_and_the_needed_one_named(tmp_path: Path, version: str) -> None:
    binary = program(tmp_path, f'echo "QEMU emulator version {version}"')
    with pytest.raises(HypervisorUnavailable, match=r"too old: at least 7\.0") as refused:
        qemu_version(binary)
    assert "newer QEMU" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 0", "is no QEMU: it says ''"),
        ("echo hello", "is no QEMU: it says 'hello'"),
        ("exit 3", "does not tell its version"),
        ("kill -9 $$", "does not tell its version"),
    ],
)
def test_what_is_no_qemu_or_a_wreck_of_one_is_named(tmp_path: Path, script: str, said: str) -> None:
    with pytest.raises(VmError, match=said) as broken:
        qemu_version(program(tmp_path, script))
    assert broken.value.hint
