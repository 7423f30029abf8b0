"""Whatever a guest does to a tree: its changeset, applied to the host, gives the guest's tree.

The guest is the kernel itself: random edits on a real overlay mount, whose upper layer is read by
the agent's own code. The second round runs in the same mount after the first was committed.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.workspace.send.ignore import IgnoreRules
from measuring import Sent, overlay, sent, shape_of, stream_of

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="mounting an overlay with trusted attributes needs root"
)

NAMES = st.sampled_from(["a", "b", "c", "d"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENT = st.sampled_from([b"", b"x", b"one\n", b"two\n", b"\0" * 9, b"long" * 5000])
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o400])

Edit = tuple[object, ...]
SOME_TREE: list[Edit] = [
    ("write", path, b"from the start\n") for path in ("a/b/c", "a/b/d", "a/c", "b/a", "c")
]
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), PATHS, CONTENT),
        st.tuples(st.just("append"), PATHS, CONTENT),
        st.tuples(st.just("remove"), PATHS),
        st.tuples(st.just("mkdir"), PATHS),
        st.tuples(st.just("rename"), PATHS, PATHS),
        st.tuples(st.just("link"), PATHS, PATHS),
        st.tuples(st.just("hardlink"), PATHS, PATHS),
        st.tuples(st.just("chmod"), PATHS, MODES),
        st.tuples(st.just("touch"), PATHS),
        st.tuples(st.just("sparse"), PATHS),
        st.tuples(st.just("renew"), PATHS, NAMES),
    ),
    max_size=14,
)


def _write(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def _append(place: Path, content: bytes) -> None:
    with place.open("ab") as file:
        file.write(content)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()


def _chmod(place: Path, mode: int) -> None:
    if not place.is_symlink():
        place.chmod(mode | 0o300 if place.is_dir() else mode)


def _sparse(place: Path) -> None:
    with place.open("wb") as file:
        file.seek(9000)
        file.write(b"end")
        file.truncate(20000)


def _renew(place: Path, name: str) -> None:
    """Delete a directory and make it again: the overlay calls that opaque."""
    _remove(place)
    _write(place / name, b"renewed\n")


DOINGS: dict[str, Callable[..., object]] = {
    "write": _write,
    "append": _append,
    "remove": _remove,
    "mkdir": lambda place: place.mkdir(parents=True),
    "rename": lambda place, to: place.rename(to),
    "link": lambda place, to: place.symlink_to(os.path.relpath(to, place.parent)),
    "hardlink": lambda place, to: os.link(place, to, follow_symlinks=False),
    "chmod": _chmod,
    "touch": os.utime,
    "sparse": _sparse,
    "renew": _renew,
}


def do(tree: Path, edits: list[Edit]) -> None:
    for verb, path, *rest in edits:
        with contextlib.suppress(OSError, shutil.Error):
            takes_path = verb in {"rename", "link", "hardlink"}
            arguments = [tree / str(one) if takes_path else one for one in rest]
            DOINGS[str(verb)](tree / str(path), *arguments)


@pytest.mark.root
@pytest.mark.guarantee("G2")
@settings(max_examples=60, deadline=None)
@given(base=EDITS, first=EDITS, second=EDITS, files_are_old=st.booleans())
def test_a_changeset_applied_to_the_host_gives_the_tree_that_the_guest_saw(
    base: list[Edit], first: list[Edit], second: list[Edit], files_are_old: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        host = place / "host"
        host.mkdir()
        do(host, [*SOME_TREE, *base])
        one = Sent(host, place, rules=IgnoreRules())
        if files_are_old:
            one.forget_digests()
        try:
            with overlay(host, place) as (merged, upper):
                for edits in (first, second, []):
                    do(merged, edits)
                    before = shape_of(host)
                    changeset = one.measure(stream_of(upper))
                    assert changeset.is_empty == (before == shape_of(merged))
                    assert [change.path for change in changeset.changes] == sorted(
                        path
                        for path in before.keys() | shape_of(merged).keys()
                        if before.get(path) != shape_of(merged).get(path)
                    )
                    one.settle(changeset)
                    assert shape_of(host) == shape_of(merged)
        finally:
            one.close()


@pytest.mark.root
def test_a_directory_made_anew_has_lost_what_was_in_it(tmp_path: Path) -> None:
    host = tmp_path / "host"
    do(host, SOME_TREE)
    with sent(host, tmp_path, rules=IgnoreRules()) as one:
        with overlay(host, tmp_path) as (merged, upper):
            do(merged, [("renew", "a", "c")])
            changeset = one.measure(stream_of(upper))
        assert [(change.path, change.kind.value) for change in changeset.changes] == [
            ("a/b", "rmdir"),
            ("a/b/c", "delete"),
            ("a/b/d", "delete"),
            ("a/c", "modify"),
        ]


@pytest.mark.root
def test_a_renamed_directory_is_measured_with_everything_in_it(tmp_path: Path) -> None:
    host = tmp_path / "host"
    do(host, [("write", "a/b/c", b"one\n"), ("write", "a/d", b"two\n")])
    with (
        sent(host, tmp_path, rules=IgnoreRules()) as one,
        overlay(host, tmp_path) as (merged, upper),
    ):
        one.forget_digests()
        (merged / "a").rename(merged / "moved")
        changeset = one.measure(stream_of(upper))
        assert {change.path: change.kind.value for change in changeset.changes} == {
            "a": "rmdir",
            "a/b": "rmdir",
            "a/b/c": "delete",
            "a/d": "delete",
            "moved": "mkdir",
            "moved/b": "mkdir",
            "moved/b/c": "create",
            "moved/d": "create",
        }
        one.settle(changeset)
        assert one.measure(stream_of(upper)).is_empty
        (merged / "moved/b").rename(merged / "b")
        (merged / "b/new").write_bytes(b"new")
        one.settle(one.measure(stream_of(upper)))
        assert shape_of(host) == shape_of(merged)
