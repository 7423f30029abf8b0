"""A Mac in memory: the classes of Virtualization.framework that the backend uses, with their rules.

What Apple documents, and what others found, is enforced: a machine is used on its own queue only,
states follow each other as documented, a configuration that is not whole is refused, and a saved
state comes back only into the configuration and identifier that it was saved from.
"""

import json
import queue
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Self, TypeVar, cast

from luminaguard.image.image import GuestImage
from luminaguard.vm.backends.apple import framework as vz
from luminaguard.vm.backends.apple.backend import AppleHypervisor
from luminaguard.vm.backends.apple.configuration import AGENT_PORT
from luminaguard.vm.backends.apple.host import MacFacts
from luminaguard.vm.backends.apple.jail import mac_jail
from wireagent import GuestMind, WireAgent

INVALID_CONFIGURATION, WRONG_STATE, RESTORE_FAILED = 2, 3, 12
"""Codes of VZError. Source: Virtualization.framework, VZError.h."""
_SQUASHFS = b"hsqs"


@dataclass(frozen=True)
class FakeError:
    """An NSError."""

    number: int
    text: str

    def code(self) -> int:
        return self.number

    def localizedDescription(self) -> str:
        return "Invalid virtual machine configuration."

    def localizedFailureReason(self) -> str | None:
        return self.text


class FakeQueue:
    """A serial dispatch queue: one thread."""

    def __init__(self) -> None:
        self.blocks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, daemon=True, name="dispatch-queue")
        self.thread.start()

    def _run(self) -> None:
        while (block := self.blocks.get()) is not None:
            block()


@dataclass
class FakeUrl:
    name: str

    def path(self) -> str:
        return self.name


class FakeConfigurationPart:
    """Any configuration object: keeps what it was given."""

    mac: "FakeMac"

    def init(self) -> Self:
        return self


class FakeLoader(FakeConfigurationPart):
    kernel = initrd = line = ""

    def initWithKernelURL_(self, url: FakeUrl) -> Self:
        self.kernel = url.path()
        return self

    def setInitialRamdiskURL_(self, url: FakeUrl) -> None:
        self.initrd = url.path()

    def setCommandLine_(self, line: str) -> None:
        self.line = line


class FakeIdentifier(FakeConfigurationPart):
    data = b""

    def init(self) -> Self:
        self.data = b"id:" + secrets.token_bytes(16)
        return self

    def initWithDataRepresentation_(self, data: bytes) -> Self | None:
        self.data = data
        return self if data.startswith(b"id:") else None

    def dataRepresentation(self) -> bytes:
        return self.data


class FakePlatform(FakeConfigurationPart):
    identifier: FakeIdentifier | None = None

    def setMachineIdentifier_(self, identifier: FakeIdentifier) -> None:
        self.identifier = identifier


class FakeAttachment(FakeConfigurationPart):
    file = ""
    read_only = True
    modes = (-1, -1)

    def initWithURL_readOnly_cachingMode_synchronizationMode_error_(
        self, url: FakeUrl, read_only: bool, caching: int, synchronization: int, error: None, /
    ) -> tuple[Self | None, FakeError | None]:
        self.file, self.read_only, self.modes = url.path(), read_only, (caching, synchronization)
        if not Path(self.file).is_file():
            return None, FakeError(5, "The file is not a disk image.")
        return self, None

    def initWithURL_append_error_(
        self, url: FakeUrl, append: bool, error: None, /
    ) -> tuple[Self | None, FakeError | None]:
        self.file = url.path()
        return self, None


class FakeDisk(FakeConfigurationPart):
    attachment: FakeAttachment
    serial = ""

    def initWithAttachment_(self, attachment: FakeAttachment) -> Self:
        self.attachment = attachment
        return self

    def setBlockDeviceIdentifier_(self, identifier: str) -> None:
        assert len(identifier.encode("ascii")) <= 20, "a virtio serial number has 20 bytes"
        self.serial = identifier


class FakeSerial(FakeConfigurationPart):
    attachment: FakeAttachment | None = None

    def setAttachment_(self, attachment: FakeAttachment) -> None:
        self.attachment = attachment


class FakeConfiguration(FakeConfigurationPart):
    """VZVirtualMachineConfiguration."""

    def init(self) -> Self:
        self.loader: FakeLoader | None = None
        self.platform: FakePlatform | None = None
        self.cpus = self.memory = 0
        self.disks: Sequence[FakeDisk] = ()
        self.sockets: Sequence[object] = ()
        self.entropy: Sequence[object] = ()
        self.serial: Sequence[FakeSerial] = ()
        return self

    def setBootLoader_(self, loader: FakeLoader) -> None:
        self.loader = loader

    def setPlatform_(self, platform: FakePlatform) -> None:
        self.platform = platform

    def setCPUCount_(self, count: int) -> None:
        self.cpus = count

    def setMemorySize_(self, size_bytes: int) -> None:
        self.memory = size_bytes

    def setStorageDevices_(self, devices: Sequence[FakeDisk]) -> None:
        self.disks = devices

    def setSocketDevices_(self, devices: Sequence[object]) -> None:
        self.sockets = devices

    def setEntropyDevices_(self, devices: Sequence[object]) -> None:
        self.entropy = devices

    def setSerialPorts_(self, ports: Sequence[FakeSerial]) -> None:
        self.serial = ports

    def validateWithError_(self, error: None) -> tuple[bool, FakeError | None]:
        wrong = self._wrong()
        return wrong is None, None if wrong is None else FakeError(INVALID_CONFIGURATION, wrong)

    def validateSaveRestoreSupportWithError_(self, error: None) -> tuple[bool, FakeError | None]:
        wrong = self.mac.refuses_saving(self)
        return wrong is None, None if wrong is None else FakeError(INVALID_CONFIGURATION, wrong)

    def fingerprint(self) -> dict[str, object]:
        """What a saved state must find again."""
        assert self.loader is not None
        assert self.platform is not None
        assert self.platform.identifier is not None
        return {
            "identifier": self.platform.identifier.data.hex(),
            "shape": [self.cpus, self.memory, len(self.entropy), len(self.serial)],
            "disks": [[disk.serial, disk.attachment.read_only] for disk in self.disks],
            "boot": [self.loader.kernel, self.loader.initrd, self.loader.line],
        }

    def _wrong(self) -> str | None:
        if not self.mac.entitled:
            return 'The process does not have the "com.apple.security.virtualization" entitlement.'
        if self.loader is None or not Path(self.loader.kernel).is_file():
            return "The boot loader is missing."
        if self.memory < 128 * 1024**2 or self.memory % 1024**2 or not 1 <= self.cpus <= 64:
            return "Invalid memory size or processor count."
        return None


class FakeConnection:
    """VZVirtioSocketConnection."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileDescriptor(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def __del__(self) -> None:
        self._end.close()


class FakeMachine:
    """VZVirtualMachine."""

    mac: "FakeMac"

    def initWithConfiguration_queue_(self, configuration: FakeConfiguration, on: FakeQueue) -> Self:
        assert configuration.validateWithError_(None)[0], "Apple raises an exception here"
        self.configuration, self.queue = configuration, on
        self.state = "stopped"
        self.mind = GuestMind()
        self.agents: list[WireAgent] = []
        self.delegate: FakeDelegate | None = None
        self.mac.machines.append(self)
        return self

    def setDelegate_(self, delegate: "FakeDelegate") -> None:
        self._here()
        self.delegate = delegate

    def socketDevices(self) -> Sequence["FakeMachine"]:
        self._here()
        return [self] * len(self.configuration.sockets)

    def startWithCompletionHandler_(self, handler: vz.Completion) -> None:
        self._change("start", {"stopped"}, "running", handler)

    def pauseWithCompletionHandler_(self, handler: vz.Completion) -> None:
        self._change("pause", {"running"}, "paused", handler)
        for agent in self.agents:
            agent.running.clear()

    def resumeWithCompletionHandler_(self, handler: vz.Completion) -> None:
        for agent in self.agents:
            agent.running.set()
        self._change("resume", {"paused"}, "running", handler)

    def stopWithCompletionHandler_(self, handler: vz.Completion) -> None:
        self._hang_up()
        self._change("stop", {"running", "paused"}, "stopped", handler)

    def saveMachineStateToURL_completionHandler_(
        self, url: FakeUrl, handler: vz.Completion, /
    ) -> None:
        assert not any(agent.is_connected() for agent in self.agents), "saved while connected"
        if self.state == "paused":
            kept = self.configuration.fingerprint() | {"noise": secrets.token_hex(4096)}
            Path(url.path()).write_text(json.dumps(kept), encoding="ascii")
        self._change("save", {"paused"}, "paused", handler)

    def restoreMachineStateFromURL_completionHandler_(
        self, url: FakeUrl, handler: vz.Completion, /
    ) -> None:
        kept = cast("dict[str, object]", json.loads(Path(url.path()).read_text(encoding="ascii")))
        kept.pop("noise")
        identifier = kept["identifier"]
        others = [one for one in self.mac.machines if one is not self and one.state != "stopped"]
        taken = [
            one for one in others if one.configuration.fingerprint()["identifier"] == identifier
        ]
        if kept != self.configuration.fingerprint() or (taken and not self.mac.twins):
            error = FakeError(RESTORE_FAILED, "The virtual machine failed: “invalid argument”.")
            handler(cast("vz.NSError", error))
            return
        self._change("restore", {"stopped"}, "paused", handler)

    def connectToPort_completionHandler_(
        self,
        port: int,
        handler: Callable[[vz.SocketConnection | None, vz.NSError | None], None],
        /,
    ) -> None:
        self._here()
        listening = port == AGENT_PORT and self.state == "running" and self.mac.agent_listens()
        if not listening:
            handler(None, cast("vz.NSError", FakeError(54, "Connection reset by peer")))
            return
        ours, theirs = socket.socketpair()
        agent = WireAgent(theirs, self.mind, self._look_at_disks)
        self.agents.append(agent)
        agent.start()
        handler(FakeConnection(ours), None)

    def end_by_itself(self, why: str | None) -> None:
        """Let the guest power off, or the machine fail."""

        def end() -> None:
            self.state = "stopped"
            self._hang_up()
            assert self.delegate is not None
            self.delegate.tell(why or "the guest ended by itself")

        self.queue.blocks.put(end)

    def disk(self, serial: str) -> FakeDisk:
        """Return one of its disks."""
        return next(disk for disk in self.configuration.disks if disk.serial == serial)

    def _look_at_disks(self) -> str | None:
        with open(self.disk("lg-workspace").attachment.file, "rb") as image:
            return None if image.read(4) == _SQUASHFS else "no file system on lg-workspace"

    def _change(self, what: str, allowed: set[str], following: str, handler: vz.Completion) -> None:
        self._here()
        self.mac.did.append(what)
        if what in self.mac.silent:
            return
        error = self.mac.failing.get(what)
        if error is None and self.state not in allowed:
            error = FakeError(WRONG_STATE, f"It is {self.state}.")
        if error is None:
            self.state = following
        handler(cast("vz.NSError | None", error))

    def _hang_up(self) -> None:
        for agent in self.agents:
            agent.hang_up()

    def _here(self) -> None:
        assert threading.current_thread() is self.queue.thread, "used off its queue"


@dataclass
class FakeDelegate:
    tell: Callable[[str], None]


@dataclass
class FakeMac:
    """The host: what it can do, what goes wrong, and what was done to it."""

    entitled: bool = True
    supported: bool = True
    twins: bool = True
    """Whether a saved state may be in use twice at a time."""
    rosetta: int = 2
    deaf_for: int = 1
    """Attempts to connect before a guest agent listens; -1: it never does."""
    refuses_saving: Callable[[FakeConfiguration], str | None] = lambda _: None
    failing: dict[str, FakeError] = field(default_factory=dict[str, FakeError])
    silent: set[str] = field(default_factory=set[str])
    """Operations that are never answered."""
    machines: list[FakeMachine] = field(default_factory=list[FakeMachine])
    did: list[str] = field(default_factory=list[str])
    queues: list[FakeQueue] = field(default_factory=list[FakeQueue])

    def agent_listens(self) -> bool:
        if self.deaf_for > 0:
            self.deaf_for -= 1
            return False
        return self.deaf_for == 0

    @property
    def living(self) -> list[FakeMachine]:
        """Machines that were not stopped."""
        return [one for one in self.machines if one.state != "stopped"]

    def framework(self) -> vz.Framework:
        """Return the classes, as PyObjC's modules would hold them."""
        return vz.Framework(
            vz=cast("vz.Virtualization", _Module(self)),
            foundation=cast("vz.Foundation", _FoundationModule()),
            dispatch=cast("vz.Dispatch", self),
            make_delegate=FakeDelegate,
        )

    def dispatch_queue_create(self, label: bytes, attributes: None) -> FakeQueue:
        self.queues.append(FakeQueue())
        return self.queues[-1]

    def dispatch_async(self, on: FakeQueue, block: Callable[[], None]) -> None:
        on.blocks.put(block)

    def close(self) -> None:
        """End every thread."""
        for machine in self.machines:
            for agent in machine.agents:
                agent.hang_up()
                agent.join(5)
        for each in self.queues:
            each.blocks.put(None)
            each.thread.join(5)


_Kind = TypeVar("_Kind", bound="FakeConfigurationPart | FakeMachine")


class _Class(Generic[_Kind]):
    def __init__(self, kind: type[_Kind], mac: FakeMac) -> None:
        self._kind, self._mac = kind, mac

    def alloc(self) -> _Kind:
        made = self._kind()
        made.mac = self._mac
        return made

    def isSupported(self) -> bool:
        return self._mac.supported

    def availability(self) -> int:
        return self._mac.rosetta


class _Module:
    """The module `Virtualization`."""

    VZDiskImageCachingModeCached = 2
    VZDiskImageSynchronizationModeNone = 3

    def __init__(self, mac: FakeMac) -> None:
        self.VZLinuxBootLoader = _Class(FakeLoader, mac)
        self.VZGenericMachineIdentifier = _Class(FakeIdentifier, mac)
        self.VZGenericPlatformConfiguration = _Class(FakePlatform, mac)
        self.VZDiskImageStorageDeviceAttachment = _Class(FakeAttachment, mac)
        self.VZVirtioBlockDeviceConfiguration = _Class(FakeDisk, mac)
        self.VZVirtioSocketDeviceConfiguration = _Class(FakeConfigurationPart, mac)
        self.VZVirtioEntropyDeviceConfiguration = _Class(FakeConfigurationPart, mac)
        self.VZFileSerialPortAttachment = _Class(FakeAttachment, mac)
        self.VZVirtioConsoleDeviceSerialPortConfiguration = _Class(FakeSerial, mac)
        self.VZVirtualMachineConfiguration = _Class(FakeConfiguration, mac)
        self.VZVirtualMachine = _Class(FakeMachine, mac)
        self.VZLinuxRosettaDirectoryShare = _Class(FakeConfigurationPart, mac)


class _FoundationModule:
    class NSURL:
        @staticmethod
        def fileURLWithPath_(path: str) -> FakeUrl:
            assert path.startswith("/"), "Apple resolves other paths against the working directory"
            return FakeUrl(path)


def arm_image(directory: Path, *, digest: str = "0" * 64) -> GuestImage:
    """Return an image whose kernel looks like one for Apple silicon."""
    directory.mkdir(parents=True, exist_ok=True)
    image = GuestImage(directory=directory, digest=digest)
    image.kernel.write_bytes(bytes(56) + b"ARM\x64" + bytes(64))
    image.initrd.write_bytes(b"initrd")
    image.rootfs.write_bytes(_SQUASHFS)
    image.policy("apparmor").write_bytes(b"policy")
    return image


APPLE_SILICON = MacFacts(platform="darwin", version=(15, 1), build="24.1.0", arch="arm64")
Made = Callable[..., AppleHypervisor]
"""Makes a hypervisor: `facts`, `waived` and `limit_s` may be given."""
WAIVED = frozenset(mac_jail(runtime_private=True).missing)
"""What a user's configuration has to name on a Mac."""
