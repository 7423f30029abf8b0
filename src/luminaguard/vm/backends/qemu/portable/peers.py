"""Whose process is at the other end of a loopback connection. Windows tells; elsewhere unused.

Source: Microsoft, GetExtendedTcpTable with TCP_TABLE_OWNER_PID_CONNECTIONS; MIB_TCPROW_OWNER_PID.
"""

import ctypes
import socket
import struct
import sys
from collections.abc import Callable

from luminaguard.errors import VmError

Owner = Callable[[tuple[str, int], tuple[str, int]], int | None]
"""(local address, remote address) of a connection's end → process that holds that end."""

_OWNER_PID_CONNECTIONS = 4
_ROW = struct.Struct("<IIIIII")
"""State, local address, local port, remote address, remote port, process id."""
_TOO_SMALL = 122
"""ERROR_INSUFFICIENT_BUFFER."""
_ATTEMPTS = 8


def owner_in_table(table: bytes, local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """Return the process that holds the end `local` of a connection to `remote`.

    `table`: a MIB_TCPTABLE_OWNER_PID. Addresses and ports in it are in network byte order, a port
    in the low half of its word.
    """
    (count,) = struct.unpack_from("<I", table)
    wanted = (_address(local), _address(remote))
    for number in range(min(count, (len(table) - 4) // _ROW.size)):
        _, here, here_port, there, there_port, pid = _ROW.unpack_from(table, 4 + number * _ROW.size)
        if ((here, here_port & 0xFFFF), (there, there_port & 0xFFFF)) == wanted:
            return pid
    return None


def _address(end: tuple[str, int]) -> tuple[int, int]:
    (host,) = struct.unpack("<I", socket.inet_aton(end[0]))
    return host, socket.htons(end[1])


def windows_owner(local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """Ask Windows.

    Raises:
        VmError: it does not tell.
    """
    if sys.platform != "win32":
        raise VmError("only Windows tells the owners of connections this way")
    helper = ctypes.WinDLL("iphlpapi")
    size, result = ctypes.c_ulong(0), _TOO_SMALL
    for _ in range(_ATTEMPTS):  # the table may grow between two calls
        buffer = ctypes.create_string_buffer(max(size.value, 4))
        result = helper.GetExtendedTcpTable(
            buffer, ctypes.byref(size), 0, socket.AF_INET, _OWNER_PID_CONNECTIONS, 0
        )
        if result == 0:
            return owner_in_table(buffer.raw, local, remote)
        if result != _TOO_SMALL:
            break
    raise VmError(f"Windows does not tell whose a connection is: error {result}")
