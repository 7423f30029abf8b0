"""The guest reads its hardening profile strictly: anything odd in it, and there is no guest."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.vm.hardening import PROFILES, STRICT
from luminaguard_guest import profile
from luminaguard_guest.faults import GuestFault


@pytest.mark.parametrize("sent", PROFILES.values(), ids=PROFILES)
def test_what_the_host_sends_arrives_whole(sent) -> None:
    read = profile.parse(sent.to_bytes())
    assert json.loads(json.dumps(asdict(read))) == json.loads(sent.to_bytes())


def changed(path: str, value: object) -> bytes:
    table = json.loads(STRICT.to_bytes())
    *parents, last = path.split(".")
    place = table
    for parent in parents:
        place = place[parent]
    place[last] = value
    return json.dumps(table).encode()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b"[]", b"null", b"\xff", b"[" * 30_000, b'{"name": "strict"}'),
        STRICT.to_bytes()[:-1],
        STRICT.to_bytes() + b"x",
        STRICT.to_bytes().ljust(64 * 1024 + 1),
        changed("more", 1),
        changed("rules.more", []),
        changed("name", ""),
        changed("name", "x" * 65),
        changed("name", 1),
        changed("shares", []),
        changed("shares.processes", -1),
        changed("shares.processes", 1.5),
        changed("shares.processes", True),
        changed("shares.processes", "1"),
        changed("shares.processes", 2**60),
        changed("limits.open_files", None),
        changed("rules.allowed", "read"),
        changed("rules.allowed", [1]),
        changed("rules.allowed", ["read", "read"]),
        changed("rules.allowed", [f"n{number}" for number in range(1025)]),
    ],
    ids=lambda content: repr(content[:40]),
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(GuestFault):
        profile.parse(content)


@pytest.mark.parametrize("path", ["name", "shares.cpu_weight", "limits.file_bytes", "rules.absent"])
def test_a_missing_field_is_refused(path: str) -> None:
    table = json.loads(STRICT.to_bytes())
    *parents, last = path.split(".")
    place = table
    for parent in parents:
        place = place[parent]
    del place[last]
    with pytest.raises(GuestFault, match="has not exactly the fields"):
        profile.parse(json.dumps(table).encode())


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_else_happens(content: bytes) -> None:
    with pytest.raises(GuestFault):
        profile.parse(content)
