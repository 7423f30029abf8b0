"""Honest streams: what a well-behaved guest did, measured against what it was sent."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from luminaguard.domain.changeset import ChangeKind, Changeset
from luminaguard.domain.harvest import (
    FileBytes,
    UpperDirectory,
    UpperFile,
    UpperRecord,
    UpperSymlink,
    Whiteout,
)
from luminaguard.errors import ChangesetConflict, Unrepresentable
from luminaguard.workspace.measure.elsewhere import moved_on_host
from measuring import make_tree, sent

TREE = {"a.txt": "one\n", "d/x": "x\n", "d/y": "y\n", ".gitignore": "build/\n*.log\n"}
CONFIG = '[remote "o"]\n\turl = https://me:hunter2@example.org/x\n'


def directory(path: str, *, opaque: bool = False, redirect: bytes | None = None) -> UpperRecord:
    return UpperDirectory(path.encode(), 0o755, opaque, redirect)


def file(path: str, content: bytes, mode: int = 0o644) -> list[UpperRecord]:
    head: list[UpperRecord] = [UpperFile(path.encode(), mode, len(content), 0)]
    return [*head, FileBytes(0, content)] if content else head


def kinds(changeset: Changeset) -> dict[str, ChangeKind]:
    return {change.path: change.kind for change in changeset.changes}


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ([], {}),
        ([directory("d")], {}),
        (file("a.txt", b"one\n"), {}),
        (file("a.txt", b"two\n"), {"a.txt": ChangeKind.MODIFY}),
        (file("a.txt", b"one\n", 0o755), {"a.txt": ChangeKind.CHMOD}),
        (file("a.txt", b""), {"a.txt": ChangeKind.MODIFY}),
        (file("b.txt", b""), {"b.txt": ChangeKind.CREATE}),
        ([Whiteout(b"a.txt")], {"a.txt": ChangeKind.DELETE}),
        (
            [Whiteout(b"d")],
            {"d": ChangeKind.RMDIR, "d/x": ChangeKind.DELETE, "d/y": ChangeKind.DELETE},
        ),
        (
            [directory("d", opaque=True), *file("d/x", b"x\n")],
            {"d/y": ChangeKind.DELETE},
        ),
        ([directory("new")], {"new": ChangeKind.MKDIR}),
        ([UpperDirectory(b"d", 0o700, False, None)], {"d": ChangeKind.CHMOD}),
        ([UpperSymlink(b"l", b"a.txt")], {"l": ChangeKind.SYMLINK}),
        ([UpperSymlink(b"a.txt", b"d/x")], {"a.txt": ChangeKind.RETYPE}),
        (
            file("d", b"now a file"),
            {"d": ChangeKind.RETYPE, "d/x": ChangeKind.DELETE, "d/y": ChangeKind.DELETE},
        ),
        (
            [directory("a.txt"), *file("a.txt/in", b"")],
            {"a.txt": ChangeKind.RETYPE, "a.txt/in": ChangeKind.CREATE},
        ),
    ],
)
def test_each_kind_of_change_is_told(
    tmp_path: Path, stream: Sequence[UpperRecord], expected: dict[str, ChangeKind]
) -> None:
    with sent(make_tree(tmp_path / "ws", TREE), tmp_path) as one:
        one.forget_digests()
        assert kinds(one.measure(stream)) == expected


def test_changes_carry_both_states_and_the_bytes_lie_in_the_spool(tmp_path: Path) -> None:
    with sent(make_tree(tmp_path / "ws", TREE), tmp_path) as one:
        one.forget_digests()
        (change,) = one.measure(file("a.txt", b"two\n")).changes
        assert change.before is not None
        assert change.before.sha256 is not None
        assert change.before.size == 4
        assert one.bytes_of(change) == b"two\n"


def test_holes_of_a_sparse_file_are_zeros(tmp_path: Path) -> None:
    with sent(make_tree(tmp_path / "ws", TREE), tmp_path) as one:
        stream = [UpperFile(b"s", 0o644, 10_000, 0), FileBytes(5000, b"mid"), FileBytes(9999, b"!")]
        (change,) = one.measure(stream).changes
        assert one.bytes_of(change) == bytes(5000) + b"mid" + bytes(4996) + b"!"


def test_the_digest_covers_everything_that_is_committed(tmp_path: Path) -> None:
    with sent(make_tree(tmp_path / "ws", TREE), tmp_path) as one:
        streams = [
            file("n", b"1"),
            file("n", b"2"),
            file("n", b"1", 0o755),
            file("m", b"1"),
            [UpperSymlink(b"n", b"1")],
            [*file("n", b"1"), Whiteout(b"a.txt")],
        ]
        digests = {one.measure(stream).digest for stream in streams}
        assert len(digests) == len(streams)
        assert one.measure(streams[0]).digest == one.measure(streams[0]).digest


def test_what_the_host_ignores_is_counted_as_scratch_and_not_kept(tmp_path: Path) -> None:
    with sent(make_tree(tmp_path / "ws", TREE), tmp_path) as one:
        stream = [
            directory("build"),
            *file("build/out.o", b"x" * 1000),
            directory("__pycache__"),
            *file("__pycache__/m.cpython-311.pyc", b"x" * 24),
            directory(".venv"),
            *file(".venv/pyvenv.cfg", b"x" * 3),
            *file("d.log", b"12345"),
            *file("kept.txt", b"kept"),
            UpperFile(b"bad\xff.log", 0o644, 0, 0),
        ]
        changeset = one.measure(stream)
        assert kinds(changeset) == {"kept.txt": ChangeKind.CREATE}
        assert changeset.scratch.files == 5
        assert changeset.scratch.size_bytes == 1000 + 24 + 3 + 5
        assert "build/out.o" in changeset.scratch.examples
        assert len(list(one.spool.directory.iterdir())) == 1


def test_a_guest_s_own_ignore_file_hides_nothing(tmp_path: Path) -> None:
    with sent(make_tree(tmp_path / "ws", TREE), tmp_path) as one:
        changeset = one.measure([*file(".gitignore", b"*\n"), *file("evil.sh", b"evil")])
        assert set(kinds(changeset)) == {".gitignore", "evil.sh"}


def test_includes_take_scratch_back_with_its_directories(tmp_path: Path) -> None:
    with sent(make_tree(tmp_path / "ws", TREE), tmp_path, include=["*.o"]) as one:
        stream = [
            directory("build"),
            directory("build/sub"),
            *file("build/sub/a.o", b"o"),
            *file("build/b.txt", b"t"),
        ]
        changeset = one.measure(stream)
        assert kinds(changeset) == {
            "build": ChangeKind.MKDIR,
            "build/sub": ChangeKind.MKDIR,
            "build/sub/a.o": ChangeKind.CREATE,
        }
        assert changeset.scratch.files == 1


def test_what_was_sent_although_ignored_is_a_change_and_not_scratch(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", TREE | {"kept.log": "x"})
    with sent(host, tmp_path, include=["kept.log"]) as one:
        assert kinds(one.measure([Whiteout(b"kept.log")])) == {"kept.log": ChangeKind.DELETE}


def test_a_file_with_cut_out_credentials_may_be_touched_but_not_changed(tmp_path: Path) -> None:
    with sent(make_tree(tmp_path / "ws", {".git/config": CONFIG}), tmp_path) as one:
        assert one.base.image.entries[".git/config"].substituted
        redacted = b'[remote "o"]\n\turl = https://example.org/x\n'
        same = [directory(".git"), *file(".git/config", redacted)]
        assert one.measure(same).is_empty
        for stream in (
            [directory(".git"), *file(".git/config", redacted + b"[core]\n")],
            [directory(".git"), *file(".git/config", CONFIG.encode())],
            [directory(".git"), *file(".git/config", redacted, 0o755)],
            [directory(".git"), Whiteout(b".git/config")],
            [Whiteout(b".git")],
            [directory("copy", redirect=b"/.git")],
        ):
            with pytest.raises(Unrepresentable, match="config"):
                one.measure(stream)


def test_after_a_commit_only_new_changes_are_measured(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", TREE)
    with sent(host, tmp_path) as one:
        upper = [*file("a.txt", b"two\n"), *file("new", b"new"), directory("d"), Whiteout(b"d/x")]
        before = one.base.digest
        one.settle(one.measure(upper))
        assert one.base.digest != before
        assert moved_on_host(one.root, one.base) == ()
        assert one.measure(upper).is_empty
        upper = [*file("a.txt", b"three\n"), directory("d"), Whiteout(b"d/x")]
        changeset = one.measure(upper)
        assert kinds(changeset) == {"a.txt": ChangeKind.MODIFY, "new": ChangeKind.DELETE}
        one.settle(changeset)
        assert one.measure(upper).is_empty
        assert {path.name for path in host.iterdir()} == {"a.txt", "d", ".gitignore"}


def test_after_a_commit_the_user_s_edit_of_a_committed_file_is_a_conflict(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", TREE)
    with sent(host, tmp_path) as one:
        one.settle(one.measure(file("a.txt", b"two\n")))
        (host / "a.txt").write_text("by the user\n")
        assert moved_on_host(one.root, one.base) == ("a.txt",)
        assert one.measure(file("a.txt", b"two\n")).is_empty
        with pytest.raises(ChangesetConflict):
            one.measure(file("a.txt", b"three\n"))


def test_many_conflicts_are_named_together(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "ws", TREE)
    with sent(host, tmp_path) as one:
        for path in ("a.txt", "d/x", "d/y"):
            (host / path).write_text("by the user\n")
        with pytest.raises(ChangesetConflict, match="3 paths") as caught:
            one.measure([Whiteout(b"a.txt"), directory("d"), Whiteout(b"d/x"), Whiteout(b"d/y")])
        assert caught.value.context["paths"] == ("a.txt", "d/x", "d/y")
