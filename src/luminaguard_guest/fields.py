"""How each kind of message field is written: one encoding per value, strictly read."""

import struct
from collections.abc import Callable
from typing import cast

_U32 = struct.Struct(">I")
_I64 = struct.Struct(">q")


class WireFault(ValueError):
    """The peer broke the protocol, or a message does not fit into it."""


def require(holds: bool, what: str) -> None:  # noqa: FBT001 - a condition reads best in first place
    """Raise `WireFault(what)` unless the condition holds."""
    if not holds:
        raise WireFault(what)


_Decoded = tuple[object, int]


def _put_int(value: object, out: list[bytes]) -> None:
    try:
        out.append(_I64.pack(value))
    except struct.error as error:
        raise WireFault("an integer does not fit into 64 bits") from error


def _put_bool(value: object, out: list[bytes]) -> None:
    out.append(b"\1" if value else b"\0")


def _put_bytes(value: object, out: list[bytes]) -> None:
    content = cast("bytes", value)
    out.append(_U32.pack(len(content)))
    out.append(content)


def _put_str(value: object, out: list[bytes]) -> None:
    _put_bytes(cast("str", value).encode("utf-8", "backslashreplace"), out)


def _put_optional(value: object, out: list[bytes]) -> None:
    _put_bool(value is not None, out)
    if value is not None:
        _put_bytes(value, out)


def _put_many(value: object, out: list[bytes]) -> None:
    items = cast("tuple[bytes, ...]", value)
    out.append(_U32.pack(len(items)))
    for item in items:
        _put_bytes(item, out)


def _take(body: bytes, at: int, count: int) -> bytes:
    part = body[at : at + count]
    require(len(part) == count, "a message ends in the middle of a field")
    return part


def _get_int(body: bytes, at: int) -> _Decoded:
    return _I64.unpack(_take(body, at, 8))[0], at + 8


def _get_bool(body: bytes, at: int) -> _Decoded:
    byte = _take(body, at, 1)[0]
    require(byte <= 1, "a truth value is neither 0 nor 1")
    return byte == 1, at + 1


def _get_bytes(body: bytes, at: int) -> tuple[bytes, int]:
    length: int = _U32.unpack(_take(body, at, 4))[0]
    return _take(body, at + 4, length), at + 4 + length


def _get_str(body: bytes, at: int) -> _Decoded:
    raw, at = _get_bytes(body, at)
    try:
        return raw.decode("utf-8"), at
    except UnicodeDecodeError as error:
        raise WireFault("text is not UTF-8") from error


def _get_optional(body: bytes, at: int) -> _Decoded:
    present, at = _get_bool(body, at)
    return _get_bytes(body, at) if present else (None, at)


def _get_many(body: bytes, at: int) -> _Decoded:
    count: int = _U32.unpack(_take(body, at, 4))[0]
    at += 4
    require(count * 4 <= len(body) - at, "a list claims more items than its message has room for")
    items: list[bytes] = []
    for _ in range(count):
        item, at = _get_bytes(body, at)
        items.append(item)
    return tuple(items), at


_Put = Callable[[object, list[bytes]], None]
_Get = Callable[[bytes, int], _Decoded]

KINDS: dict[object, tuple[_Put, _Get]] = {
    int: (_put_int, _get_int),
    bool: (_put_bool, _get_bool),
    bytes: (_put_bytes, _get_bytes),
    str: (_put_str, _get_str),
    bytes | None: (_put_optional, _get_optional),
    tuple[bytes, ...]: (_put_many, _get_many),
}
"""Type of a dataclass field → how to write it, how to read it."""
