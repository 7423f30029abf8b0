"""What `luminaguard recover` says and does after a commit was cut off."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from luminaguard.cli.main import cli
from luminaguard.testing.commits import Scene
from luminaguard.testing.disk import Stopped, unsynced, watched
from luminaguard.testing.trees import file

BEFORE = {"a": file("old"), "b": file("old")}
AFTER = {"a": file("new"), "b": file("new")}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A commit that died after its first exchange, that of "a"."""
    scene = Scene(tmp_path / "scene", BEFORE, AFTER)
    is_done = False

    def stop(name: str, _arguments: tuple[object, ...]) -> None:
        nonlocal is_done
        if is_done and name != "close":
            raise Stopped
        is_done = is_done or name == "exchange"

    with pytest.raises(Stopped):
        scene.commit(watched(stop, unsynced()))
    return scene


def run(scene: Scene, *arguments: str) -> str:
    place = scene.path.parent
    environment = {
        "LUMINAGUARD_STATE_DIR": str(place / "state"),
        "LUMINAGUARD_CACHE_DIR": str(place / "cache"),
        "LUMINAGUARD_CONFIG": str(place / "config" / "config.toml"),
    }
    done = CliRunner().invoke(
        cli, ["recover", "-w", str(scene.path), *arguments], env=environment, catch_exceptions=False
    )
    assert done.exit_code == 0
    return done.stdout


def test_a_cut_off_commit_is_taken_back_and_said_so(scene: Scene) -> None:
    assert "as it was before" in run(scene)
    assert scene.tree == BEFORE
    assert "nothing to recover" in run(scene)


def test_a_path_changed_since_is_named_with_its_other_version_and_no_longer_blocks(
    scene: Scene,
) -> None:
    (scene.path / "a").write_text("mine")
    report = json.loads(run(scene, "--json"))
    assert report["ending"] == "unknown"
    assert report["blocked"] is False
    (unknown,) = report["unknown"]
    assert unknown["path"] == "a"
    assert Path(unknown["preserved"]).read_text() == "old"
    assert scene.tree == BEFORE | {"a": file("mine")}
    assert not scene.pending


def test_people_are_told_where_both_versions_lie(scene: Scene) -> None:
    (scene.path / "a").write_text("mine")
    said = run(scene)
    assert "  a: it was changed since" in said
    assert str(scene.store.preserved) in said
