"""The agent: first process of the guest, root, and the only one that talks to the host.

One thread, one event loop. Whatever a command does, the agent lives on and answers: every request
ends in an answer, a failure among them, and nothing is buffered without bound.
"""

import os
import platform
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

from luminaguard_guest import (
    box,
    boxwire,
    privileges,
    profile,
    settings,
)
from luminaguard_guest.calls import Call
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.ground import Ground, MachineGround
from luminaguard_guest.port import Port
from luminaguard_guest.ports import open_port
from luminaguard_guest.wire import (
    VERSION,
    Done,
    Execute,
    Failed,
    Finished,
    Harvest,
    HarvestEnd,
    Hello,
    Kill,
    Message,
    Mount,
    Ping,
    Reseed,
    Stdin,
    Unmount,
    Welcome,
    WireFault,
)

_OPEN_FILES = 65536
_CALLS = 16
_QUIET_S = 10.0
"""Longest that killed commands may take to be gone before a harvest."""


def main() -> NoReturn:
    """Set the guest up and serve the host until the machine ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    privileges.raise_open_files(_OPEN_FILES)
    privileges.set_oom_score(-1000)
    port = open_port()
    try:
        wanted = profile.read()
        lsm = settings.settle(wanted)
        to_box = box.start(wanted, lsm)
    except (OSError, GuestFault) as error:
        traceback.print_exc()
        only_fail(port, f"the guest cannot be set up: {error}")
    Agent(port, to_box, MachineGround(lsm)).serve()


def only_fail(port: Port, reason: str) -> NoReturn:
    """Answer every request with why there is nothing else to say."""
    while True:
        for request_id, _ in port.read():
            port.say(request_id, Failed(reason))
        port.flush()
        time.sleep(0.05)


class Agent:
    """Answers the host's requests, one loop over the port, the box and the pipes of commands."""

    def __init__(self, port: Port, to_box: socket.socket, ground: Ground) -> None:
        """Serve `port` on this ground; start commands through the box at `to_box`."""
        self._ground = ground
        self._port = port
        self._box = to_box
        self._from_box = boxwire.Receiver(boxwire.FROM_BOX)
        self._box_answers: dict[int, Message] = {}
        self._no_box: str | None = None
        self._events = selectors.DefaultSelector()
        self._calls: dict[int, Call] = {}
        self._harvest: tuple[int, Iterator[Message]] | None = None
        self._sent = 0
        self._shown: tuple[bytes, ...] = ()
        self._watched = selectors.EVENT_READ

    def serve(self) -> NoReturn:
        """Serve for ever."""
        self._events.register(self._port.descriptor, self._watched, self._serve_port)
        self._events.register(self._box, selectors.EVENT_READ, self._serve_box)
        self._await_box(0)
        while True:
            try:
                self._turn()
            except Exception:  # noqa: BLE001 - the first process must not end: the kernel would
                traceback.print_exc()

    def _turn(self) -> None:
        for key, _ in self._events.select(self._patience_s()):
            # An earlier act may have closed this descriptor, and opened another of its number.
            current = self._events.get_map().get(key.fd)
            if current is not None and current.data == key.data:
                act: Callable[[int], None] = key.data
                act(key.fd)
        now_s = time.monotonic()
        for call in list(self._calls.values()):
            call.expire(now_s, self._kill)
        for request_id, call in list(self._calls.items()):
            if call.tell():
                del self._calls[request_id]
        self._pump_harvest()
        self._port.flush()
        self._balance()
        self._reap()

    def _patience_s(self) -> float | None:
        if self._harvest is not None and not self._port.is_full:
            return 0
        deadlines = [
            call.deadline_s for call in self._calls.values() if call.deadline_s is not None
        ]
        return max(min(deadlines) - time.monotonic(), 0) if deadlines else None

    def _balance(self) -> None:
        """Watch for room in the port while something waits, and read output only with room."""
        wanted = selectors.EVENT_READ
        if self._port.has_backlog:
            wanted |= selectors.EVENT_WRITE
        if wanted != self._watched:
            self._watched = wanted
            self._events.modify(self._port.descriptor, wanted, self._serve_port)
        for call in self._calls.values():
            if self._port.is_full:
                call.pause()
            else:
                call.resume()

    def _reap(self) -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return

    def _serve_port(self, _descriptor: int) -> None:
        try:
            for request_id, message in self._port.read():
                self._answer(request_id, message)
        except WireFault as fault:
            # Host and guest no longer understand each other: there is no way to go on.
            only_fail(self._port, f"the host broke the protocol: {fault}")

    def _answer(self, request_id: int, message: Message) -> None:
        try:
            answer = self._act(request_id, message)
        except (OSError, GuestFault) as error:
            answer = Failed(str(error))
        except Exception as error:  # noqa: BLE001 - every request has an answer, whatever happened
            traceback.print_exc()
            answer = Failed(f"{type(error).__name__}: {error}")
        if answer is not None:
            self._port.say(request_id, answer)

    def _act(self, request_id: int, message: Message) -> Message | None:
        match message:
            case Hello():
                self._require_box()
                return Welcome(
                    VERSION, message.nonce, platform.python_version(), os.uname().release
                )
            case Ping():
                self._require_box()
                boxwire.send(self._box, boxwire.TO_BOX, request_id, message)
                self._await_box(request_id)
                self._require_box()
                return Done()
            case Reseed():
                self._ground.reseed(message.entropy, message.wall_clock_ns)
                return Done()
            case Mount():
                self._mount(request_id, message)
                return Done()
            case Unmount():
                self._unmount(request_id)
                return Done()
            case Harvest():
                self._begin_harvest(request_id, message)
                return None
            case _:
                return self._act_on_call(request_id, message)

    def _act_on_call(self, request_id: int, message: Message) -> Message | None:
        match message:
            case Execute():
                self._execute(request_id, message)
            case Stdin():
                if call := self._calls.get(request_id):
                    call.feed(message)
            case Kill():
                if request_id in self._calls:
                    self._kill(request_id)
            case _:
                return Failed("the guest does not know this request")
        return None

    # Commands -----------------------------------------------------------------------------------

    def _execute(self, request_id: int, request: Execute) -> None:
        self._require_box()
        if request_id in self._calls or len(self._calls) >= _CALLS:
            raise GuestFault("too many commands at once")
        call = Call(request_id, request, self._port, self._events)
        try:
            boxwire.send(self._box, boxwire.TO_BOX, request_id, request, *call.stdio)
        except (OSError, WireFault):
            call.close()
            raise
        call.started()
        self._calls[request_id] = call

    def _kill(self, request_id: int) -> None:
        boxwire.send(self._box, boxwire.TO_BOX, request_id, Kill())

    def _serve_box(self, _descriptor: int) -> None:
        if not self._from_box.read(self._box):
            self._lose_box("the guest's box is gone")
            return
        for request_id, message, _ in self._from_box.messages():
            call = self._calls.get(request_id)
            if call is None:
                self._box_answers[request_id] = message
            elif isinstance(message, Finished):
                call.finished(message)
            elif isinstance(message, Failed):
                del self._calls[request_id]
                call.failed(message.reason)

    def _lose_box(self, reason: str) -> None:
        self._no_box = reason
        self._events.unregister(self._box)
        for call in self._calls.values():
            call.failed(reason)
        self._calls.clear()

    def _require_box(self) -> None:
        if self._no_box is not None:
            raise GuestFault(self._no_box)

    def _await_box(self, request_id: int) -> None:
        """Wait for the box's answer to a request that starts no command."""
        while request_id not in self._box_answers and self._no_box is None:
            self._serve_box(self._box.fileno())
        answer = self._box_answers.pop(request_id, None)
        if isinstance(answer, Failed):
            if request_id == 0:
                self._lose_box(f"the guest has no box: {answer.reason}")
                return
            raise GuestFault(answer.reason)

    # Workspace ----------------------------------------------------------------------------------

    def _mount(self, request_id: int, request: Mount) -> None:
        self._require_box()
        trees = self._ground.assemble(request.path, request.filesystem)
        self._shown = tuple(tree.target for tree in trees)
        if not trees:  # the box sees what was mounted
            return
        descriptors = [tree.descriptor for tree in trees]
        try:
            attach = boxwire.Attach(self._shown)
            boxwire.send(self._box, boxwire.TO_BOX, request_id, attach, *descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._await_box(request_id)
        self._require_box()

    def _unmount(self, request_id: int) -> None:
        self._require_box()
        self._quieten()
        detach = boxwire.Detach(self._shown[::-1])
        boxwire.send(self._box, boxwire.TO_BOX, request_id, detach)
        self._await_box(request_id)
        self._require_box()
        self._ground.take_apart()
        self._shown = ()

    def _begin_harvest(self, request_id: int, request: Harvest) -> None:
        if self._harvest is not None:
            raise GuestFault("a harvest is under way")
        self._quieten()
        self._sent = 0
        self._harvest = (request_id, self._ground.changes(request.skip))

    def _quieten(self) -> None:
        """Kill every command and wait until nothing runs that could change a file."""
        limit_s = time.monotonic() + _QUIET_S
        while self._ground.is_busy():
            self._ground.kill_all()
            if time.monotonic() > limit_s:
                raise GuestFault("a command cannot be ended")
            time.sleep(0.002)

    def _pump_harvest(self) -> None:
        if self._harvest is None:
            return
        request_id, records = self._harvest
        try:
            while not self._port.is_full:
                record = next(records, None)
                if record is None:
                    self._end_harvest(request_id)
                    return
                self._port.say(request_id, record)
                self._sent += 1
        except (OSError, GuestFault, WireFault) as error:
            self._harvest = None
            self._port.say(request_id, Failed(str(error)))

    def _end_harvest(self, request_id: int) -> None:
        self._harvest = None
        self._port.say(request_id, HarvestEnd(self._sent))
