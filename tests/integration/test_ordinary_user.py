"""The same machines for somebody without any rights: a user that exists nowhere but in a number."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Generator, Sequence
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
NAME = "luminaguard-test"
RANGE = (1_500_000_000, 65_536)
"""Ids of the host that nobody else has, for that user's machines."""
SEEN = ("passwd", "group", "subuid", "subgid")
BOOT = """
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
        async with await hypervisor.boot(VmSpec(image=image)) as machine:
            lacking = machine.isolation.jail.missing.get("distinct-uid")
            sys.stdout.write(f"BOOTED {lacking}")
    except HypervisorUnavailable as refusal:
        sys.stdout.write(f"REFUSED {refusal} HINT {refusal.hint}")
    finally:
        hypervisor.close()

anyio.run(main)
"""
OPEN = """
from luminaguard.vm.confinement.subuids import SubordinateUids
SubordinateUids.open()
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


@pytest.fixture
def range_of_uids(home: Path) -> list[str]:
    """A command prefix under which that user has a name, and a range in /etc/subuid.

    The files lie over the host's in a mount namespace of the test's: /etc itself stays as it is.
    """
    if shutil.which("newuidmap") is None:
        pytest.skip("newuidmap is not installed: apt-get install uidmap")
    etc = home / "etc"
    etc.mkdir()
    own = {
        "passwd": f"{NAME}:x:{UID}:{UID}::{home}:/bin/sh",
        "group": f"{NAME}:x:{UID}:",
        "subuid": f"{NAME}:{RANGE[0]}:{RANGE[1]}",
        "subgid": f"{NAME}:{RANGE[0]}:{RANGE[1]}",
    }
    for name in SEEN:
        known = Path("/etc", name)
        if not known.exists():
            pytest.skip(f"{known} does not exist, so nothing can be laid over it")
        (etc / name).write_text(f"{known.read_text()}{own[name]}\n")
    cover = "; ".join(f"mount --bind '{etc}/{name}' /etc/{name}" for name in SEEN)
    return ["unshare", "--mount", "sh", "-ec", f'{cover}; exec "$@"', "sh"]


def as_user(
    home: Path, *command: str, within: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a program as that user; `within`: what root does first."""
    # The shell in between: what setpriv starts itself may still be opened with root's rights.
    become = [*within, "setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--"]
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


ESCAPED = tuple(f"security/test_escaped_qemu{part}.py" for part in ("", "_calls", "_floods"))
PROCESS = (
    *("conformance", "integration/test_process_life.py"),
    *("security/test_process_walls.py", "security/test_process_attacks.py"),
)
GVISOR = (*("conformance", "integration/test_gvisor_life.py", "security/test_gvisor_walls.py"),)
GVISOR_CHOSEN = (
    "(test_hypervisor and gvisor and not template and not saved) or "
    "(test_gvisor_life and (end_with or cancelled or either_image or hold_no or leaves)) or "
    "(test_gvisor_walls and not doctors and not memory)"
)
"""In one run: each user's first machine has the image unpacked."""
LIFE = "integration/test_qemu_life.py"
ENDS = (
    f"{LIFE}::test_machines_end_with_the_process_that_made_them",
    f"{LIFE}::test_cancelling_a_restore_leaves_no_machine",
)


def run_as_user(
    home: Path, python: str, suites: Sequence[str], chosen: str, within: Sequence[str] = ()
) -> None:
    """Run tests as that user; all that are chosen must pass, and none of them be skipped."""
    options = ["-p", "no:cacheprovider", "-c", str(PROJECT / "pyproject.toml"), "-rs"]
    tests = [str(PROJECT / "tests" / suite) for suite in suites]
    command = [python, "-B", "-m", "pytest", *tests, *options, "-k", chosen]
    ran = as_user(home, *command, within=within)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout
    wait_until_nobody_is_left()


NEEDS_RUNSC = pytest.mark.skipif(
    shutil.which("runsc") is None, reason="gVisor's runsc is not installed: apt-get install runsc"
)


@pytest.mark.parametrize(
    ("suites", "chosen"),
    [
        (["conformance"], "qemu and not damaged and not saved and not without_snapshots"),
        pytest.param(GVISOR, GVISOR_CHOSEN, marks=NEEDS_RUNSC),
        (PROCESS, "process and not template and not saved"),
        ([LIFE], "end_with or no_moment or unseen or cancelling"),
        (ESCAPED, "not same_user and not its_cgroup"),
    ],
)
def test_an_ordinary_user_gets_the_same_machines(
    home: Path, python: str, suites: Sequence[str], chosen: str
) -> None:
    run_as_user(home, python, suites, chosen)


@pytest.mark.guarantee("G8")
def test_a_range_of_uids_gives_each_machine_of_an_ordinary_user_one_of_its_own(
    home: Path, python: str, range_of_uids: list[str]
) -> None:
    run_as_user(home, python, [*ESCAPED, *ENDS], "not its_cgroup", range_of_uids)


def refusing(home: Path, name: str) -> list[str]:
    """Return a prefix under which one of the host's tools does nothing but refuse."""
    (home / name).write_text(f"#!/bin/sh\necho '{name}: not today' >&2; exit 1\n")
    (home / name).chmod(0o755)
    lay = f"mount --bind '{home}/{name}' '{shutil.which(name)}'; exec \"$@\""
    return ["sh", "-ec", lay, "sh"]


def test_a_range_that_the_kernel_refuses_is_said_and_stops_nobody(
    home: Path, python: str, range_of_uids: list[str], guest_image: GuestImage
) -> None:
    (home / "boot.py").write_text(BOOT)
    image = home / "cache" / "images" / "default" / guest_image.digest
    command = [python, "-B", "boot.py", str(image), guest_image.digest]
    ran = as_user(home, *command, within=[*range_of_uids, *refusing(home, "nsenter")])
    assert ran.stdout.startswith("BOOTED"), ran.stdout + ran.stderr
    assert "nsenter: not today" in ran.stdout
    wait_until_nobody_is_left()


def test_a_range_that_cannot_be_mapped_is_said(
    home: Path, python: str, range_of_uids: list[str]
) -> None:
    within = [*range_of_uids, *refusing(home, "newuidmap")]
    ran = as_user(home, python, "-B", "-c", OPEN, within=within)
    assert "NoSubordinates" in ran.stderr
    assert "newuidmap: not today" in ran.stderr
    wait_until_nobody_is_left()


def test_a_host_without_user_namespaces_is_refused_with_the_mend(
    home: Path, python: str, guest_image: GuestImage
) -> None:
    (home / "boot.py").write_text(BOOT)
    image = home / "cache" / "images" / "default" / guest_image.digest
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    outer = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    ran = as_user(home, *outer, python, "-B", "boot.py", str(image), guest_image.digest)
    assert ran.stdout.startswith("REFUSED"), ran.stdout + ran.stderr
    assert "mount, pid, net and ipc namespaces are missing" in ran.stdout
    assert "max_user_namespaces" in ran.stdout
    wait_until_nobody_is_left()


def wait_until_nobody_is_left() -> None:
    limit = time.monotonic() + 10
    first, count = RANGE
    while left := processes_of(range(UID, UID + 1), range(first, first + count)):
        assert time.monotonic() < limit, left
        time.sleep(0.05)


def processes_of(*ranges: range) -> list[int]:
    found: list[int] = []
    for entry in os.listdir("/proc"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            uid = os.stat(f"/proc/{entry}").st_uid if entry.isdigit() else -1
            if any(uid in one for one in ranges):
                found.append(int(entry))
    return found
