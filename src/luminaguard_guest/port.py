"""The virtio-serial port that leads to the host: never blocks, never loses its place."""

import os
import time
from collections.abc import Iterator

from luminaguard_guest.wire import FROM_GUEST, FROM_HOST, Decoder, Message

NAME = "luminaguard.agent"
_PORTS = "/sys/class/virtio-ports"
_READ_BYTES = 64 * 1024
_WRITE_BYTES = 32 * 1024
"""What the driver takes at most in one write. Source: Linux drivers/char/virtio_console.c"""
_BACKLOG_BYTES = 256 * 1024


class Port:
    """Messages in, messages out. Sources of output stop while `is_full`."""

    def __init__(self, descriptor: int) -> None:
        """Take over a descriptor of the opened port."""
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._decoder = Decoder(FROM_HOST)
        self._outgoing = bytearray()

    @property
    def has_backlog(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._outgoing)

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be written that nothing should be added."""
        return len(self._outgoing) >= _BACKLOG_BYTES

    def read(self) -> Iterator[tuple[int, Message]]:
        """Give the messages that arrived, each with its request id."""
        try:
            content = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            content = b""
        else:
            if not content:
                # The host's end is closed, which the port reports as readable without an end.
                time.sleep(0.01)
        return self._decoder.feed(content)

    def say(self, request_id: int, message: Message) -> None:
        """Queue a message."""
        self._outgoing += FROM_GUEST.encode(request_id, message)

    def flush(self) -> None:
        """Write as much as the host takes now."""
        while self._outgoing:
            try:
                written = os.write(self.descriptor, self._outgoing[:_WRITE_BYTES])
            except BlockingIOError:
                return
            del self._outgoing[:written]


def serial_port() -> Port | None:
    """Open the agent's port by its name; udev's links do not exist here. None without one."""
    for name in os.listdir(_PORTS) if os.path.isdir(_PORTS) else []:
        with open(f"{_PORTS}/{name}/name", "rb", buffering=0) as file:
            if file.read().strip() == NAME.encode():
                return Port(os.open(f"/dev/{name}", os.O_RDWR | os.O_CLOEXEC))
    return None
