"""For any tree and any change of it: a commit makes exactly that, a failure nothing at all."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.domain.changeset import EntryType
from luminaguard.errors import WorkspaceError
from luminaguard.testing.commits import Scene
from luminaguard.testing.disk import FailAt, StopAt, Stopped, unsynced, watched
from luminaguard.testing.trees import Node, directory, file, link, remove_tree
from luminaguard.workspace.settle.plan import Action, plan, with_opened

NAMES = st.sampled_from(["a", "b", "c", "ä", "with space", "-n", "new\nline"])
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o444, 0o400])
LEAVES = st.one_of(
    st.builds(file, st.binary(max_size=40), MODES),
    st.builds(link, st.sampled_from(["a", "../b", "/etc/passwd", "nowhere"])),
)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Node]:
    tree: dict[str, Node] = {}

    def fill(prefix: str, depth: int) -> None:
        for name in draw(st.sets(NAMES, max_size=4)):
            path = prefix + name
            if depth and draw(st.booleans()):
                tree[path] = directory(draw(st.sampled_from([0o755, 0o700, 0o555])))
                fill(path + "/", depth - 1)
            else:
                tree[path] = draw(LEAVES)

    fill("", 2)
    return tree


class Place:
    """A directory of its own for each example."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp())
        return self.path / "scene"

    def __exit__(self, *_args: object) -> None:
        remove_tree(self.path)


@pytest.mark.guarantee("G2")
@settings(deadline=None, max_examples=60)
@given(before=trees(), after=trees())
def test_a_commit_gives_exactly_the_after_state(
    before: dict[str, Node], after: dict[str, Node]
) -> None:
    with Place() as place:
        scene = Scene(place, before, after)
        scene.commit()
        assert scene.tree == after
        assert not scene.pending
        scene.root.close()


@pytest.mark.guarantee("G3")
@settings(deadline=None, max_examples=60)
@given(before=trees(), after=trees(), at=st.integers(0, 80))
def test_a_disk_that_fails_somewhere_leaves_exactly_one_of_the_two(
    before: dict[str, Node], after: dict[str, Node], at: int
) -> None:
    with Place() as place:
        scene = Scene(place, before, after)
        fail = FailAt(at, OSError(28, "No space left on device"))
        try:
            scene.commit(watched(fail, unsynced()))
        except WorkspaceError:
            scene.recover()
            assert scene.tree in (before, after)
        else:
            scene.recover()  # only cleaning up can be left
            assert scene.tree == after
        scene.root.close()


@pytest.mark.guarantee("G3")
@settings(deadline=None, max_examples=60)
@given(before=trees(), after=trees(), at=st.integers(0, 80), again=st.integers(0, 60))
def test_a_crash_and_a_crash_of_its_recovery_leave_exactly_one_of_the_two(
    before: dict[str, Node], after: dict[str, Node], at: int, again: int
) -> None:
    with Place() as place:
        scene = Scene(place, before, after)
        for act, count in ((scene.commit, at), (scene.recover, again)):
            try:
                act(watched(StopAt(count), unsynced()))
            except Stopped:
                continue
            break
        report = scene.recover()
        assert not report.unknown
        assert scene.tree in (before, after)
        scene.root.close()


@given(before=trees(), after=trees())
@settings(deadline=None, max_examples=60)
def test_each_step_of_a_plan_is_possible_where_it_stands_for_an_ordinary_user(
    before: dict[str, Node], after: dict[str, Node]
) -> None:
    """Played on a value: renames need open directories, what goes must be empty, and so on."""
    with Place() as place:
        scene = Scene(place, before, after)
        scene.root.close()
    entries = {path: node.entry() for path, node in before.items()}
    modes = {p: e.mode for p, e in entries.items() if e.type is EntryType.DIRECTORY}
    in_use = {p: m for p, m in modes.items() if any(s.parent == p for s in plan(scene.changeset))}
    for step in with_opened(plan(scene.changeset), in_use):
        assert entries.get(step.path) == step.before
        if step.action is Action.CHMOD:
            assert step.after is not None
            entries[step.path] = step.after
            continue
        moved = [step.parent, step.path] if step.before else [step.parent]
        for held in moved:
            if held and entries[held].type is EntryType.DIRECTORY:
                assert entries[held].mode & 0o700 == 0o700
        if step.before and step.before.type is EntryType.DIRECTORY:
            assert not any(path.startswith(f"{step.path}/") for path in entries)
        entries.pop(step.path, None)
        if step.after:
            entries[step.path] = step.after
    assert entries == {path: node.entry() for path, node in after.items()}
