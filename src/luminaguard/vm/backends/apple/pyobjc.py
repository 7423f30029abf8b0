"""The real framework, by PyObjC. Importing this module anywhere is safe; `load` needs a Mac."""

import importlib
import sys
from collections.abc import Callable
from functools import cache
from typing import Protocol, Self, cast

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.backends.apple.framework import (
    Class,
    Dispatch,
    Foundation,
    Framework,
    NSError,
    Virtualization,
    words,
)


@cache
def load() -> Framework:
    """Return Apple's frameworks.

    Raises:
        HypervisorUnavailable: this is no Mac, or PyObjC is not installed.
    """
    if sys.platform != "darwin":
        raise HypervisorUnavailable(
            f"Virtualization.framework is part of macOS, and this is {sys.platform}",
            hint="choose another backend: luminaguard doctor shows what works here",
        )
    try:
        return Framework(
            vz=cast("Virtualization", importlib.import_module("Virtualization")),
            foundation=cast("Foundation", importlib.import_module("Foundation")),
            dispatch=cast("Dispatch", importlib.import_module("dispatch")),
            make_delegate=_delegate_class(cast("_ObjC", importlib.import_module("objc"))),
        )
    except ImportError as missing:
        raise HypervisorUnavailable(
            f"PyObjC's {missing.name or 'Virtualization'} is not installed",
            hint="pip install 'luminaguard[apple]'",
        ) from missing


class _Delegate(Protocol):
    """An object of the class made below."""

    tell: Callable[[str], None]

    def init(self) -> Self: ...


class _ObjC(Protocol):
    """The module `objc`."""

    def lookUpClass(self, name: str) -> type: ...  # noqa: N802 - PyObjC's name


def _delegate_class(objc: _ObjC) -> Callable[[Callable[[str], None]], object]:
    """Return what makes delegates; their class is defined once, as Objective-C demands.

    It names no protocol: the framework asks for selectors, and a protocol that no program uses need
    not exist when it is looked up. PyObjC takes a method that returns nothing for one of type void.
    """
    base = objc.lookUpClass("NSObject")

    def did_stop(self: _Delegate, _machine: object) -> None:
        self.tell("the guest ended by itself")

    def did_stop_with_error(self: _Delegate, _machine: object, error: NSError) -> None:
        self.tell(words(error))

    methods = {
        "guestDidStopVirtualMachine_": did_stop,
        "virtualMachine_didStopWithError_": did_stop_with_error,
    }
    metaclass = cast("Callable[..., Class[_Delegate]]", type(base))
    kind = metaclass("LuminaGuardMachineDelegate", (base,), methods)

    def make(tell: Callable[[str], None]) -> object:
        delegate = kind.alloc().init()
        delegate.tell = tell
        return delegate

    return make
