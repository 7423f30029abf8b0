"""The doctor's private room in the cache directory does not outlive it for long."""

from pathlib import Path

from luminaguard.doctor.examine import make_room


def test_a_room_is_private_and_gone_when_it_is_closed(tmp_path: Path) -> None:
    room = make_room(tmp_path)
    assert room.path.stat().st_mode & 0o777 == 0o700
    (room.path / "x").write_text("x")
    room.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_doctor_left_is_removed_and_a_living_ones_room_stays(tmp_path: Path) -> None:
    (tmp_path / "doctor-killed").mkdir()
    living = make_room(tmp_path)
    other = make_room(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {living.path.name, other.path.name}
    living.close()
    other.close()
