"""The parts of the Apple backend by themselves: the host, kernels, the queue, the import."""

import gzip
import importlib
import struct
import subprocess
import sys
from dataclasses import replace
from typing import Any

import anyio
import pytest

from applevz import APPLE_SILICON, FakeError, FakeMac, Made
from luminaguard.errors import HypervisorUnavailable, ImageError, VmError
from luminaguard.vm.backends.apple import pyobjc
from luminaguard.vm.backends.apple.framework import words
from luminaguard.vm.backends.apple.host import MacFacts, Rosetta, mac_facts, require_macos, rosetta
from luminaguard.vm.backends.apple.kernel import bootable_kernel
from luminaguard.vm.backends.apple.work import Refused, WorkQueue
from luminaguard.vm.spec import VmSpec

IMAGE = bytes(56) + b"ARM\x64" + bytes(1000)
OFF_MACOS = pytest.mark.skipif(sys.platform == "darwin", reason="this is macOS")


@OFF_MACOS
def test_off_macos_the_real_framework_says_so() -> None:
    pyobjc.load.cache_clear()
    with pytest.raises(HypervisorUnavailable, match="part of macOS") as refusal:
        pyobjc.load()
    assert "doctor" in str(refusal.value.hint)


@OFF_MACOS
@pytest.mark.anyio
async def test_off_macos_every_use_is_unavailable_and_none_succeeds(
    make: Made, mac: FakeMac, spec: VmSpec
) -> None:
    hypervisor = make(facts=mac_facts())
    for use in (hypervisor.probe, lambda: hypervisor.boot(spec), lambda: hypervisor.template(spec)):
        with pytest.raises(HypervisorUnavailable, match=f"needs macOS, and this is {sys.platform}"):
            await use()
    assert not hypervisor.capabilities.snapshots
    assert mac.machines == []


def test_importing_the_backend_imports_nothing_of_apples() -> None:
    look = (
        "import sys, luminaguard.vm.backends.apple.backend;"
        "apples = ('objc', 'Foundation', 'Virtualization', 'dispatch');"
        "print([name for name in apples if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


class PlainObject:
    """Stands for NSObject."""

    @classmethod
    def alloc(cls) -> "PlainObject":
        return cls()

    def init(self) -> "PlainObject":
        return self


class PlainObjC:
    """Stands for the module `objc`."""

    def lookUpClass(self, name: str) -> type:  # noqa: N802 - PyObjC's name
        assert name == "NSObject"
        return PlainObject


def test_a_delegate_tells_why_a_machine_ended() -> None:
    told: list[str] = []
    delegate: Any = pyobjc._delegate_class(PlainObjC())(told.append)
    delegate.guestDidStopVirtualMachine_(None)
    delegate.virtualMachine_didStopWithError_(None, FakeError(1, "It crashed."))
    assert told[0] == "the guest ended by itself"
    assert "It crashed." in told[1]


def test_without_pyobjc_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(name=name)

    pyobjc.load.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(HypervisorUnavailable, match="Virtualization is not installed") as refusal:
        pyobjc.load()
    assert refusal.value.hint == "pip install 'luminaguard[apple]'"


def test_an_old_macos_is_refused_by_version() -> None:
    with pytest.raises(HypervisorUnavailable, match=r"13 or newer.*macOS 12\.6"):
        require_macos(replace(APPLE_SILICON, version=(12, 6)))


@pytest.mark.parametrize(
    ("version", "arch", "may"),
    [((14, 0), "arm64", True), ((13, 7), "arm64", False), ((15, 0), "x86_64", False)],
)
def test_saving_needs_macos_14_on_apple_silicon(
    version: tuple[int, int], arch: str, may: bool
) -> None:
    facts = MacFacts(platform="darwin", version=version, build="1", arch=arch)
    assert facts.may_save is may


@pytest.mark.anyio
async def test_a_program_without_the_entitlement_is_told_how_to_sign(
    make: Made, mac: FakeMac, spec: VmSpec
) -> None:
    mac.entitled = False
    with pytest.raises(HypervisorUnavailable, match=r"com\.apple\.security\.virtualization") as no:
        await make().boot(spec)
    assert "codesign" in str(no.value.hint)
    assert mac.machines == []


@pytest.mark.anyio
async def test_a_mac_without_virtualization_is_refused(
    make: Made, mac: FakeMac, spec: VmSpec
) -> None:
    mac.supported = False
    with pytest.raises(HypervisorUnavailable, match="no virtualization"):
        await make().boot(spec)


@pytest.mark.parametrize(
    ("answer", "state"),
    [(0, Rosetta.NOT_SUPPORTED), (1, Rosetta.NOT_INSTALLED), (2, Rosetta.INSTALLED)],
)
def test_rosetta_is_reported_as_macos_does(mac: FakeMac, answer: int, state: Rosetta) -> None:
    mac.rosetta = answer
    assert rosetta(mac.framework()) is state


def zboot(payload: bytes, kind: bytes) -> bytes:
    header = b"MZ\0\0zimg" + struct.pack("<II", 64, len(payload)) + bytes(8) + kind
    return header.ljust(64, b"\0") + payload


@pytest.mark.parametrize(
    "kernel", [IMAGE, gzip.compress(IMAGE), zboot(gzip.compress(IMAGE), b"gzip")]
)
def test_an_arm64_kernel_is_unpacked_however_it_is_shipped(kernel: bytes) -> None:
    assert bootable_kernel(kernel, "arm64") == IMAGE


@pytest.mark.parametrize(
    "kernel",
    [b"MZ" + bytes(600), gzip.compress(IMAGE)[:-20], gzip.compress(b"x"), zboot(b"", b"zstd")],
)
def test_a_kernel_that_cannot_boot_there_is_refused(kernel: bytes) -> None:
    with pytest.raises(ImageError, match="kernel"):
        bootable_kernel(kernel, "arm64")


def test_on_intel_the_kernel_is_taken_as_it_is() -> None:
    assert bootable_kernel(b"bzImage", "x86_64") == b"bzImage"


@pytest.mark.anyio
async def test_a_handler_that_is_never_called_ends_the_wait(mac: FakeMac) -> None:
    work = WorkQueue(mac.framework(), "test")
    with pytest.raises(VmError, match=r"within 0\.05 s"):
        await work.ask("answer", lambda _: None, limit_s=0.05)


@pytest.mark.anyio
async def test_a_refusal_carries_apples_code_and_an_exception_its_words(mac: FakeMac) -> None:
    work = WorkQueue(mac.framework(), "test")
    with pytest.raises(Refused, match="It is stopped") as refusal:
        await work.ask("pause", lambda done: done(FakeError(3, "It is stopped.")), limit_s=5)
    assert refusal.value.apple_code == 3

    def broken() -> None:
        raise RuntimeError("unrecognized selector")

    with pytest.raises(VmError, match="unrecognized selector"):
        await work.do(broken)


@pytest.mark.anyio
async def test_cancellation_waits_for_what_was_begun(mac: FakeMac) -> None:
    work = WorkQueue(mac.framework(), "test")
    answered: list[bool] = []

    def slow() -> None:
        answered.append(True)

    with anyio.CancelScope() as scope:
        scope.cancel()
        await work.do(slow)
    assert answered == [True]


def test_an_error_without_words_is_still_an_error() -> None:
    assert words(None) == "no reason was given"
