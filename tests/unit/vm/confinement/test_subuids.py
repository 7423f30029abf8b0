"""Which part of an ordinary user's range its machines get."""

import os
from pathlib import Path

import pytest

from luminaguard.vm.confinement.subuids import SLOTS, NoSubordinates, own_range


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "subuid"


def test_a_user_without_a_range_hears_the_command_that_gives_one(table: Path) -> None:
    table.write_text("other:100000:65536\n")
    with pytest.raises(NoSubordinates, match=r"no range .* for ada: sudo usermod --add-subuids"):
        own_range("ada", table)
    with pytest.raises(NoSubordinates, match="usermod --add-subgids"):
        own_range("ada", table.with_name("subgid"))


@pytest.mark.parametrize("name", ["ada", str(os.geteuid())])
def test_a_range_is_found_by_name_or_by_number(table: Path, name: str) -> None:
    table.write_text(f"other:100000:65536\n{name}:200000:65536\n")
    found = own_range("ada", table)
    assert found.count == SLOTS
    assert found.first >= 200_000
    assert found.first + found.count <= 265_536


def test_machines_keep_clear_of_what_containers_use(table: Path) -> None:
    table.write_text("ada:200000:65536\n")
    found = own_range("ada", table)
    nobody = 200_000 + 65_534 - 1
    assert found.first > 200_000 + 50_000
    assert found.first + found.count <= nobody


def test_a_small_range_is_used_whole_and_not_left(table: Path) -> None:
    table.write_text("ada:200000:10\n")
    found = own_range("ada", table)
    assert (found.first, found.count) == (200_000, 10)


@pytest.mark.parametrize(
    "line", ["ada:0:65536", "ada:1000", "ada:-5:10", "ada:x:10", "ada:200000:0", "", "#ada:1:1"]
)
def test_a_line_that_gives_nothing_is_passed_over(table: Path, line: str) -> None:
    table.write_text(f"{line}\n")
    with pytest.raises(NoSubordinates):
        own_range("ada", table)
