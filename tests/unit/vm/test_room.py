"""The directory that a machine without disks is shown."""

import os
import stat
from pathlib import Path

from luminaguard.vm.hardening import STRICT
from luminaguard.vm.owned import make_owned, remove_dead
from luminaguard.vm.room import Room


def test_a_room_can_be_read_by_another_user_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        own = make_owned(tmp_path / "rooms", "luminaguard-")
        room = Room(own)
        room.write(STRICT)
        room.limit_scratch(4096)
    finally:
        os.umask(before)
    for place in (room.shown, *room.shown.rglob("*")):
        wanted = 0o755 if place.is_dir() else 0o644
        assert stat.S_IMODE(place.stat().st_mode) == wanted, place
    assert (room.shown / "profile.json").read_bytes() == STRICT.to_bytes()
    assert (room.shown / "scratch-bytes").read_text() == "4096\n"
    sources = os.listdir(room.shown / "agent" / "luminaguard_guest")
    assert {"process.py", "sandbox.py"} <= set(sources)
    assert all(name.endswith(".py") for name in sources)
    remove_dead(tmp_path / "rooms")
    assert room.shown.is_dir(), "its owner lives"
    room.remove()
    room.remove()
    assert list((tmp_path / "rooms").iterdir()) == []
