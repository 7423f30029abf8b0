"""Which way leads to the host: a serial port where the machine has one, else a socket device."""

from collections.abc import Callable

from luminaguard_guest.faults import GuestFault
from luminaguard_guest.port import NAME, Port, serial_port
from luminaguard_guest.vsock import has_vsock, open_vsock


def open_port(
    serial: Callable[[], Port | None] = serial_port,
    vsock: Callable[[], Port | None] = lambda: open_vsock() if has_vsock() else None,
) -> Port:
    """Open the agent's way to the host.

    Raises:
        GuestFault: the machine has none.
    """
    port = serial() or vsock()
    if port is None:
        raise GuestFault(f"there is no port {NAME}, and no socket device either")
    return port
