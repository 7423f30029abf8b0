"""The hardening profile as the host sends it: a small JSON file in the initial RAM disk.

Read strictly: a guest that is told anything it does not understand is not one to run commands in.
"""

import json
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, cast, get_type_hints

from luminaguard_guest.faults import GuestFault
from luminaguard_guest.seccomp import Rules

PLACE = "/run/luminaguard/hardening"
PROFILE = f"{PLACE}/profile.json"
POLICY = f"{PLACE}/policy"

_MOST_BYTES = 64 * 1024
_MOST_NAMES = 1024
_LONGEST_TEXT = 64
_HIGHEST = 2**53
"""Beyond it JSON numbers are not exact everywhere."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What all commands together may use; 0 means no limit."""

    processes: int
    memory_percent: int
    cpu_weight: int
    cpu_percent: int
    """Of each CPU."""
    disk_bytes_per_s: int
    disk_operations_per_s: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process may hold: its hard resource limits."""

    open_files: int
    processes: int
    file_bytes: int
    locked_bytes: int


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything that decides how commands are held."""

    name: str
    lsm: str
    ptrace_scope: int
    rules: Rules
    shares: Shares
    limits: Limits


def parse(content: bytes) -> Profile:
    """Read a profile.

    Raises:
        GuestFault: it is too long, no JSON, or anything but exactly the fields above.
    """
    if len(content) > _MOST_BYTES:
        raise GuestFault("the hardening profile is too long")
    try:
        value: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise GuestFault(f"the hardening profile is no JSON: {error}") from None
    return cast("Profile", _as(Profile, value, "profile"))


def read(place: str = PROFILE) -> Profile:
    """Read the profile that the host sent along: in a machine, with the initial RAM disk.

    Raises:
        GuestFault: there is none, or it is damaged.
    """
    try:
        with open(place, "rb", buffering=0) as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise GuestFault(f"there is no hardening profile: {error.strerror}") from None
    return parse(content)


def _as(kind: object, value: object, where: str) -> object:
    if kind is int:
        if type(value) is not int or not 0 <= value <= _HIGHEST:
            raise GuestFault(f"{where} is no whole number in its range")
        return value
    if kind is str:
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT:
            raise GuestFault(f"{where} is no short text")
        return value
    if is_dataclass(kind):
        return _as_table(cast("type[object]", kind), value, where)
    return _as_names(value, where)


def _as_table(kind: type[object], value: object, where: str) -> object:
    hints = get_type_hints(kind)
    names = [each.name for each in fields(cast("Any", kind))]
    if not isinstance(value, dict) or cast("dict[object, object]", value).keys() != set(names):
        raise GuestFault(f"{where} has not exactly the fields {', '.join(names)}")
    table = cast("dict[str, object]", value)
    return kind(*(_as(hints[name], table[name], f"{where}.{name}") for name in names))


def _as_names(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise GuestFault(f"{where} is no list")
    names = cast("list[object]", value)
    if len(names) > _MOST_NAMES or len(set(map(str, names))) != len(names):
        raise GuestFault(f"{where} is too long, or names something twice")
    return tuple(cast("str", _as(str, name, where)) for name in names)
