"""Measured bytes go with the process that measured them."""

import os
from pathlib import Path

from luminaguard.workspace.spoolroom import SpoolRoom


def test_a_room_is_private_and_gone_when_it_closes(tmp_path: Path) -> None:
    shared = tmp_path / "spool"
    room = SpoolRoom(shared)
    spool = room.spool(quota_bytes=100)
    digest = spool.add(b"bytes")
    assert spool.path(digest).read_bytes() == b"bytes"
    assert spool.path(digest).stat().st_mode & 0o777 == 0o600
    assert spool.directory.stat().st_mode & 0o777 == 0o700
    room.close()
    room.close()
    assert list(shared.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(
    tmp_path: Path,
) -> None:
    shared = tmp_path / "spool"
    living = SpoolRoom(shared)
    kept = living.spool(quota_bytes=100)
    child = os.fork()
    if child == 0:
        SpoolRoom(shared).spool(quota_bytes=100).add(b"left behind")
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list(shared.iterdir())) == 2
    other = SpoolRoom(shared)
    other.spool(quota_bytes=100)
    assert kept.directory.is_dir()
    assert len(list(shared.iterdir())) == 2
    other.close()
    living.close()
