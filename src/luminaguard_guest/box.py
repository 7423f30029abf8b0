"""The box: a forking server in namespaces of its own, from which every command starts.

Made once, before a template is saved, so that a command costs one fork and no namespace. It is the
first process of its pid namespace: whatever a command leaves behind ends up as its child. Root
inside, so that it can become the ordinary user in each child; what it starts can gain nothing.
"""

import fcntl
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from luminaguard_guest import child, interpreter, mounts, privileges, skeleton
from luminaguard_guest.boxwire import FROM_BOX, TO_BOX, Attach, Detach, Receiver
from luminaguard_guest.cgroups import SERVER, Calls, write
from luminaguard_guest.command import Command, Groups
from luminaguard_guest.confinement import Confinement
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.lsm import Lsm
from luminaguard_guest.profile import Profile
from luminaguard_guest.wire import Done, Execute, Failed, Kill, Message, Ping

_NAMESPACES = (
    mounts.CLONE_NEWNS
    | mounts.CLONE_NEWPID
    | mounts.CLONE_NEWNET
    | mounts.CLONE_NEWIPC
    | mounts.CLONE_NEWUTS
    | mounts.CLONE_NEWCGROUP
)

# Source: Linux include/uapi/linux/sockios.h, include/uapi/linux/if.h
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1

_IDLE_MS = 30
"""Quiet time after which the next child is made: not while the last command's changes are read."""


def start(profile: Profile, lsm: Lsm) -> socket.socket:
    """Fork the box off the agent; return the agent's end of its socket.

    Its commands are held as `profile` says; the policy of `lsm` is loaded already.

    The box says `Done` for request 0 when it is ready, or `Failed` with the reason.
    """
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours
    try:
        ours.close()
        _become_box(theirs, profile, lsm)
    except BaseException as error:  # noqa: BLE001 - the agent must learn why there is no box
        with suppress(OSError):
            theirs.sendall(FROM_BOX.encode(0, Failed(f"{type(error).__name__}: {error}")))
    finally:
        os._exit(1)


def _become_box(connection: socket.socket, profile: Profile, lsm: Lsm) -> None:
    write(f"{SERVER}/cgroup.procs", "0")
    calls = Calls()
    mounts.unshare(_NAMESPACES)
    if os.fork():
        # Only children enter the new pid namespace; the agent adopts and reaps this middle one.
        return
    skeleton.enter(lsm)
    socket.sethostname("luminaguard")
    _loopback_up()
    privileges.forbid_gaining()
    confinement = Confinement(profile, lsm)
    confinement.prove()
    interpreter.preload()
    Box(connection, calls, confinement).serve()


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


class Box:
    """Starts commands, kills them, reaps everything, and tells the agent how they ended."""

    def __init__(self, connection: socket.socket, calls: Groups, confinement: Confinement) -> None:
        """Serve the agent at the other end of `connection`."""
        self._confinement = confinement
        self._connection = connection
        self._receiver = Receiver(TO_BOX)
        self._calls = calls
        self._commands: dict[int, Command] = {}
        self._spare: tuple[int, socket.socket] | None = None
        self._wakeup_read, self._wakeup_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def serve(self) -> NoReturn:
        """Serve until the agent is gone, which is the end of the machine."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        poller.register(self._wakeup_read, select.POLLIN)
        self._keep_spare()
        self._say(0, Done())
        while True:
            ready = {descriptor for descriptor, _ in poller.poll(self._patience_ms())}
            if self._wakeup_read in ready:
                self._drain_wakeups()
            self._reap()
            if self._connection.fileno() in ready:
                self._listen()
            elif not ready and not self._commands:
                self._keep_spare()

    def _patience_ms(self) -> int | None:
        deadlines = [
            command.deadline_s
            for command in self._commands.values()
            if command.deadline_s is not None
        ]
        if deadlines:
            return max(int((min(deadlines) - time.monotonic()) * 1000) + 1, 0)
        return None if self._spare or self._commands else _IDLE_MS

    def _keep_spare(self) -> None:
        """Have a child waiting for the next command: most of a start then lies behind it."""
        if self._spare is None:
            with suppress(OSError):
                self._spare = child.fork(self._confinement)

    def _drain_wakeups(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wakeup_read, 4096):
                pass

    def _say(self, request_id: int, message: Message) -> None:
        self._connection.sendall(FROM_BOX.encode(request_id, message))

    def _listen(self) -> None:
        if not self._receiver.read(self._connection):
            os._exit(0)
        for request_id, message, descriptors in self._receiver.messages():
            try:
                self._do(request_id, message, descriptors)
            except (OSError, GuestFault) as error:
                self._say(request_id, Failed(str(error)))
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _do(self, request_id: int, message: Message, descriptors: list[int]) -> None:
        match message:
            case Execute():
                self._start(request_id, message, descriptors)
            case Ping():
                self._keep_spare()
                self._say(request_id, Done())
            case Kill():
                if command := self._commands.get(request_id):
                    command.kill()
            case Attach(targets=targets):
                self._attach(targets, descriptors)
                self._say(request_id, Done())
            case Detach(targets=targets):
                for target in targets:
                    mounts.unmount(os.fsdecode(target))
                self._say(request_id, Done())
            case _:
                self._say(request_id, Failed("the box does not know this request"))

    def _attach(self, targets: Sequence[bytes], trees: Sequence[int]) -> None:
        skeleton.writable_root(writable=True)
        try:
            for tree, target in zip(trees, targets, strict=True):
                os.makedirs(target, exist_ok=True)
                mounts.attach(tree, target)
        finally:
            skeleton.writable_root(writable=False)

    def _start(self, request_id: int, request: Execute, stdio: list[int]) -> None:
        group = self._calls.take()
        try:
            pid, connection = self._spare or child.fork(self._confinement)
        except OSError:
            group.give_back()
            raise
        self._spare = None
        command = self._commands[request_id] = Command(pid, connection, group)
        command.start(request, stdio)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self._note_end(pid, status)
        for request_id, command in list(self._commands.items()):
            finished = command.finish()
            if finished is not None:
                del self._commands[request_id]
                command.group.give_back()
                self._say(request_id, finished)

    def _note_end(self, pid: int, status: int) -> None:
        if self._spare is not None and self._spare[0] == pid:
            self._spare[1].close()
            self._spare = None
        for command in self._commands.values():
            if command.pid == pid:
                command.ended(status)
