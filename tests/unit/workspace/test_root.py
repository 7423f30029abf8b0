"""Which trees may be a workspace."""

import os
from pathlib import Path

import pytest

from luminaguard.errors import WorkspaceRefused
from luminaguard.workspace.confined import Descent
from luminaguard.workspace.root import WorkspaceRoot


def refused(path: Path | str, *, protected: list[Path] | None = None) -> str:
    with pytest.raises(WorkspaceRefused) as caught:
        WorkspaceRoot.open(path, protected=protected or [])
    assert caught.value.hint
    return str(caught.value)


@pytest.mark.parametrize(
    "path", ["/", "/etc", "/usr", "/usr/lib", "/var", "/tmp", "/dev", "/proc/self", "/run"]
)
def test_a_system_directory_is_refused(path: str) -> None:
    assert "system" in refused(path)


def test_a_link_to_a_system_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "innocent").symlink_to("/etc")
    assert "system" in refused(tmp_path / "innocent")


def test_a_home_directory_is_refused_and_so_is_what_holds_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "people" / "someone"
    (home / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert "home" in refused(home)
    assert "home" in refused(home.parent)
    WorkspaceRoot.open(home / "project").close()


def test_an_account_s_home_is_refused_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    if os.geteuid() == 0:
        assert refused("/root")
    monkeypatch.delenv("HOME")
    assert refused(Path("~").expanduser())


def test_trees_around_and_inside_luminaguard_s_own_are_refused(tmp_path: Path) -> None:
    state = tmp_path / "project" / "state"
    inside = state / "journal"
    inside.mkdir(parents=True)
    for path in (tmp_path / "project", state, inside):
        assert "LuminaGuard" in refused(path, protected=[state])
    beside = tmp_path / "beside"
    beside.mkdir()
    WorkspaceRoot.open(beside, protected=[state]).close()


def test_a_tree_is_refused_whose_own_directory_is_yet_to_be_made(tmp_path: Path) -> None:
    assert "LuminaGuard" in refused(tmp_path, protected=[tmp_path / "not" / "yet"])


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "not a directory" in refused(tmp_path / "file")
    assert "No such file" in refused(tmp_path / "missing")
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "loop")


def test_the_root_stays_on_its_directory_when_the_path_is_swapped(tmp_path: Path) -> None:
    place = tmp_path / "ws"
    place.mkdir()
    (place / "mine").write_text("mine")
    with WorkspaceRoot.open(place) as root:
        assert root.is_same(place)
        place.rename(tmp_path / "moved")
        (tmp_path / "other").mkdir()
        place.symlink_to(tmp_path / "other")
        assert not root.is_same(place)
        with Descent(root.fd) as tree:
            assert tree.names("") == ["mine"]


def test_the_identity_names_device_inode_and_path(tmp_path: Path) -> None:
    with WorkspaceRoot.open(tmp_path) as root:
        status = tmp_path.stat()
        assert root.identity == f"{status.st_dev}:{status.st_ino} {tmp_path}"


def test_a_descent_never_goes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("x")
    (tmp_path / "link").symlink_to("real")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with Descent(fd) as tree:
            assert tree.status("real/x") is not None
            assert tree.status("link/x") is None
            assert tree.names("link") == []
            with pytest.raises(OSError, match=r"link|directory"):
                tree.directory("link")
            (tmp_path / "real" / "l").symlink_to("x")
            with pytest.raises(OSError, match="link"), tree.file("real/l"):
                pass
            assert sorted(tree.names("real")) == ["l", "x"]
    finally:
        os.close(fd)
