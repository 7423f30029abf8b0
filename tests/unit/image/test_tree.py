"""The root directory while it is put together."""

import stat

import pytest

from luminaguard.errors import ImageError
from luminaguard.image.deb import Alternative
from luminaguard.image.skeleton import furnish
from luminaguard.image.tree import Tree, merged


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def nodes(tree):
    return dict(iter(tree))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("bin/ls", "usr/bin/ls"),
        ("sbin/init", "usr/sbin/init"),
        ("lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("usr/bin/git", "usr/bin/git"),
        ("binaries/x", "binaries/x"),
        ("library", "library"),
        ("etc/bin/x", "etc/bin/x"),
    ],
)
def test_the_four_old_directories_live_below_usr(path, expected) -> None:
    assert merged(path) == expected


def test_old_paths_still_work_by_links(tree) -> None:
    assert {name: nodes(tree)[name].target for name in ("bin", "sbin", "lib", "lib64")} == {
        "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
    }  # fmt: skip


def test_a_file_may_not_be_written_through_a_link(tree, tmp_path) -> None:
    outside = tmp_path.parent / "outside"
    outside.mkdir()
    tree.symlink("etc/trap", str(outside))
    with pytest.raises(ImageError, match="no directory"):
        tree.file("etc/trap/x", b"written")
    assert list(outside.iterdir()) == []


def test_a_file_does_not_replace_a_directory(tree) -> None:
    tree.directory("var/lib/x")
    with pytest.raises(ImageError, match="replace a directory"):
        tree.file("var/lib/x", b"")


def test_replacing_one_of_two_hard_links_leaves_the_other(tree) -> None:
    tree.file("usr/bin/a", b"old")
    tree.hard_link("usr/bin/b", "usr/bin/a")
    tree.file("usr/bin/a", b"new")
    assert tree.content("usr/bin/b").read_bytes() == b"old"


def test_a_hard_link_to_nothing_is_refused(tree) -> None:
    with pytest.raises(ImageError, match="no file of the image"):
        tree.hard_link("usr/bin/b", "etc/shadow")


def test_parents_come_before_children_whatever_came_first(tree) -> None:
    tree.file("z/y/x", b"")
    tree.file("a/b", b"")
    order = [path for path, _ in tree]
    assert order == sorted(order)
    assert order.index("z/y") < order.index("z/y/x")


def test_the_guest_has_its_user_its_mount_points_and_no_identity(tree) -> None:
    furnish(tree, ())
    users = tree.content("etc/passwd").read_text().splitlines()
    assert "guest:x:1000:1000::/home/guest:/bin/bash" in users
    for path in ("proc", "sys", "dev", "run", "tmp", "home", "root", "mnt", "var/tmp"):
        assert stat.S_ISDIR(nodes(tree)[path].mode), path
    assert stat.S_IMODE(nodes(tree)["tmp"].mode) == 0o1777
    assert tree.content("etc/machine-id").read_bytes() == b""


def test_the_alternative_of_highest_priority_that_is_there_gets_the_name(tree) -> None:
    tree.file("usr/bin/mawk", b"")
    tree.file("usr/bin/original-awk", b"")
    furnish(
        tree,
        [
            Alternative(link="usr/bin/awk", target="usr/bin/original-awk", priority=1),
            Alternative(link="usr/bin/awk", target="usr/bin/mawk", priority=5),
            Alternative(link="usr/bin/awk", target="usr/bin/gawk", priority=10),
        ],
    )
    assert nodes(tree)["usr/bin/awk"].target == "/usr/bin/mawk"
