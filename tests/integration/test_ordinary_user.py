"""The same machines for somebody without any rights: a user that exists nowhere but in a number."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from luminaguard.image.image import GuestImage

pytestmark = [
    pytest.mark.vm,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
]

UID = 100_000 + os.getpid() % 400_000
"""Nobody's, and another one in every test run."""
PROJECT = Path(__file__).parents[2]
LIMIT_S = 110.0
REFUSED = """
import anyio, sys
from pathlib import Path
from luminaguard.errors import HypervisorUnavailable
from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.spec import VmSpec

async def main():
    image = GuestImage(directory=Path(sys.argv[1]), digest=sys.argv[2])
    hypervisor = QemuHypervisor(Path("cache").absolute(), Path("run").absolute(), image=image)
    try:
        await hypervisor.boot(VmSpec(image=image))
    except HypervisorUnavailable as refusal:
        sys.stdout.write(f"REFUSED {refusal} HINT {refusal.hint}")
    finally:
        hypervisor.close()

anyio.run(main)
"""


@pytest.fixture
def home(guest_image: GuestImage) -> Generator[Path]:
    """A home directory of that user, with the image in its cache."""
    directory = Path(tempfile.mkdtemp(prefix="luminaguard-user-"))
    images = directory / "cache" / "images" / "default"
    shutil.copytree(guest_image.directory, images / guest_image.digest)
    (images / "current").write_text(f"{guest_image.digest}\n")
    for path in (directory, *directory.rglob("*")):
        os.chown(path, UID, UID)
    yield directory
    shutil.rmtree(directory)


def as_user(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program as that user."""
    # The shell in between: what setpriv starts itself may still be opened with root's rights.
    become = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--"]
    become += ["sh", "-c", 'exec "$@"', "sh"]
    environment = {
        "HOME": str(home),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LUMINAGUARD_CACHE_DIR": str(home / "cache"),
        "TMPDIR": str(home),
        "PYTHONPATH": f"{PROJECT / 'src'}:{sysconfig.get_path('purelib')}",
    }
    return subprocess.run(
        [*become, *command],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture
def python(home: Path) -> str:
    """An interpreter that this user can run."""
    version = sys.version_info[:2]
    check = f"import sys, pytest, luminaguard; sys.exit(sys.version_info[:2] != {version})"
    for candidate in (sys.executable, "/usr/bin/python3"):
        if as_user(home, candidate, "-c", check).returncode == 0:
            return candidate
    pytest.skip(f"an ordinary user can run neither {sys.executable} nor a like Python here")


@pytest.mark.parametrize(
    ("suite", "chosen"),
    [
        ("conformance", "qemu and not damaged and not saved"),
        ("integration/test_qemu_life.py", "end_with or no_moment or unseen or cancelling"),
        ("security/test_escaped_qemu.py", "not same_user"),
    ],
)
def test_an_ordinary_user_gets_the_same_machines(
    home: Path, python: str, suite: str, chosen: str
) -> None:
    options = ["-p", "no:cacheprovider", "-c", str(PROJECT / "pyproject.toml"), "-rs"]
    tests = str(PROJECT / "tests" / suite)
    ran = as_user(home, python, "-B", "-m", "pytest", tests, *options, "-k", chosen)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout
    wait_until_nobody_is_left()


def test_a_host_without_user_namespaces_is_refused_with_the_mend(
    home: Path, python: str, guest_image: GuestImage
) -> None:
    (home / "refused.py").write_text(REFUSED)
    image = home / "cache" / "images" / "default" / guest_image.digest
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    outer = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    ran = as_user(home, *outer, python, "-B", "refused.py", str(image), guest_image.digest)
    assert ran.stdout.startswith("REFUSED"), ran.stdout + ran.stderr
    assert "mount, pid, net and ipc namespaces are missing" in ran.stdout
    assert "max_user_namespaces" in ran.stdout
    wait_until_nobody_is_left()


def wait_until_nobody_is_left() -> None:
    limit = time.monotonic() + 10
    while left := processes_of(UID):
        assert time.monotonic() < limit, left
        time.sleep(0.05)


def processes_of(uid: int) -> list[int]:
    found: list[int] = []
    for entry in os.listdir("/proc"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid == uid:
                found.append(int(entry))
    return found
