"""The names used of Apple's classes: the double has them all, and on a Mac PyObjC has them too."""

import sys
from collections.abc import Iterator
from typing import get_args, get_origin, get_type_hints

import pytest

from applevz import FakeMac
from luminaguard.vm.backends.apple import framework as vz
from luminaguard.vm.backends.apple import pyobjc

CONSTANTS = {"VZDiskImageCachingModeCached": 2, "VZDiskImageSynchronizationModeNone": 3}
"""Source: Virtualization.framework, VZDiskImageCachingMode.h, VZDiskImageSynchronizationMode.h."""


def used() -> Iterator[tuple[str, str, bool]]:
    """Yield (class, selector as PyObjC spells it, whether it is the class's own)."""
    for name, hint in get_type_hints(vz.Virtualization).items():
        if hint is int:
            continue
        if get_origin(hint) is vz.Class:
            (kind,) = get_args(hint)
        else:
            kind = vz.Machine if hint is vz.MachineClass else object
            own = [each for each in vars(hint) if callable(vars(hint)[each])]
            yield from ((name, each, True) for each in own if not each.startswith("_"))
        for each, value in vars(kind).items():
            if callable(value) and not each.startswith("_"):
                yield name, each, False


USED = sorted(used())


def test_all_that_is_used_is_found_by_this_test() -> None:
    assert len(USED) > 35
    assert ("VZVirtualMachine", "isSupported", True) in USED
    assert ("VZVirtualMachine", "saveMachineStateToURL_completionHandler_", False) in USED


@pytest.mark.parametrize(("kind", "selector", "of_class"), USED)
def test_the_double_has_every_selector(kind: str, selector: str, of_class: bool) -> None:
    mac = FakeMac()
    fake = getattr(mac.framework().vz, kind)
    assert hasattr(fake if of_class else fake.alloc(), selector)


@pytest.mark.skipif(sys.platform != "darwin", reason="needs macOS: PyObjC's own classes")
@pytest.mark.parametrize(("kind", "selector", "of_class"), USED)
def test_pyobjc_has_every_selector(kind: str, selector: str, of_class: bool) -> None:
    real = getattr(pyobjc.load().vz, kind)
    if of_class:
        assert hasattr(real, selector)
    else:
        assert real.instancesRespondToSelector_(selector.replace("_", ":").encode())


@pytest.mark.skipif(sys.platform != "darwin", reason="needs macOS: PyObjC's own constants")
@pytest.mark.parametrize(("name", "value"), CONSTANTS.items())
def test_pyobjc_has_every_constant(name: str, value: int) -> None:
    assert getattr(pyobjc.load().vz, name) == value


@pytest.mark.parametrize(("name", "value"), CONSTANTS.items())
def test_the_doubles_constants_are_apples(name: str, value: int) -> None:
    assert getattr(FakeMac().framework().vz, name) == value
