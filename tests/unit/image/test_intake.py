"""A build machine's answer is a hostile guest's word: it may add files below /usr/local only."""

import stat

import pytest

from luminaguard.domain.harvest import (
    FileBytes,
    UpperDirectory,
    UpperFile,
    UpperSpecial,
    UpperSymlink,
    Whiteout,
)
from luminaguard.errors import ImageError
from luminaguard.image.additions.intake import Intake, IntakeLimits
from luminaguard.image.tree import Tree

START = tuple(
    UpperDirectory(path, 0o755, opaque=False, redirect=None)
    for path in (b"", b"out", b"out/usr", b"out/usr/local", b"out/usr/local/lib")
)


@pytest.fixture
def tree(tmp_path) -> Tree:
    tree = Tree(tmp_path)
    tree.file("usr/local/there", b"debian's")
    return tree


def taken(tree, *records, limits=None) -> None:
    intake = Intake(tree, limits)
    try:
        for record in (*START, *records):
            intake.add(record)
    finally:
        intake.finish()


def file(path: bytes, size: int = 0, mode: int = 0o644) -> UpperFile:
    return UpperFile(b"out/usr/local/" + path, mode, size, 0)


def test_files_directories_and_links_come_in_with_plain_modes(tree) -> None:
    taken(
        tree,
        file(b"lib/a", 5, 0o6777),
        FileBytes(0, b"he"),
        FileBytes(2, b"llo"),
        file(b"lib/b", 4096, 0o600),
        FileBytes(4000, b"x"),
        UpperSymlink(b"out/usr/local/lib/c", b"../lib/a"),
    )
    nodes = dict(tree)
    assert tree.content("usr/local/lib/a").read_bytes() == b"hello"
    assert nodes["usr/local/lib/a"].mode == stat.S_IFREG | 0o755
    assert nodes["usr/local/lib/b"].mode == stat.S_IFREG | 0o644
    assert tree.content("usr/local/lib/b").read_bytes() == bytes(4000) + b"x" + bytes(95)
    assert nodes["usr/local/lib/c"].target == "../lib/a"


@pytest.mark.parametrize(
    "record",
    [
        UpperFile(b"stray", 0o644, 0, 0),
        UpperFile(b"out/usr/bin/bash", 0o755, 0, 0),
        UpperFile(b"out/etc/passwd", 0o644, 0, 0),
        UpperFile(b"out/usr/local/../bin/bash", 0o755, 0, 0),
        UpperFile(b"out/usr/local/lib//x", 0o644, 0, 0),
        UpperFile(b"out/usr/local/./x", 0o644, 0, 0),
        UpperFile(b"/etc/passwd", 0o644, 0, 0),
        UpperFile(b"out/usr/locally", 0o644, 0, 0),
        UpperFile(b"out", 0o644, 0, 0),
        UpperFile(b"out/usr/local/\xff", 0o644, 0, 0),
        UpperFile(b"out/usr/local/a\nb", 0o644, 0, 0),
        UpperFile(b"out/usr/local/" + b"x" * 1100, 0o644, 0, 0),
        UpperDirectory(b"out/usr/local/there", 0o755, opaque=False, redirect=None),
        UpperDirectory(b"out/usr/local/x", 0o755, opaque=False, redirect=b"/y"),
        UpperSymlink(b"out/usr/local/x", b"/etc/passwd"),
        UpperSymlink(b"out/usr/local/x", b"../../../etc/passwd"),
        UpperSymlink(b"out/usr/local/x", b"../local-not"),
        UpperSymlink(b"out/usr/local/there", b"lib"),
        UpperSymlink(b"out", b"usr"),
        UpperSpecial(b"out/usr/local/x", "char"),
        Whiteout(b"out/usr/local/there"),
        Whiteout(b"plan.json"),
        file(b"there"),
        file(b"lib"),
    ],
)
def test_what_has_no_place_in_an_image_is_refused(tree, record) -> None:
    with pytest.raises(ImageError, match="the build machine made"):
        taken(tree, record)
    assert tree.content("usr/local/there").read_bytes() == b"debian's"


@pytest.mark.parametrize(
    "records",
    [
        (FileBytes(0, b"x"),),
        (file(b"a", 1), FileBytes(0, b"xy")),
        (file(b"a", 4), FileBytes(2, b"x"), FileBytes(0, b"y")),
        (file(b"a", 4), FileBytes(0, b"xy"), FileBytes(1, b"y")),
        (file(b"a", 4), FileBytes(4, b"x")),
        (file(b"a"), file(b"a")),
        (file(b"a"), UpperDirectory(b"out/usr/local/lib/b", 0o755, opaque=False, redirect=None),
         FileBytes(0, b"")),
        (UpperSymlink(b"out/usr/local/l", b"lib"), file(b"l/x")),
        (file(b"a"), file(b"a/b")),
    ],
)  # fmt: skip
def test_a_stream_that_breaks_the_order_is_refused(tree, records) -> None:
    with pytest.raises(ImageError):
        taken(tree, *records)


def test_more_files_or_bytes_than_the_limit_are_refused(tree) -> None:
    with pytest.raises(ImageError, match="more than 3 files"):
        taken(tree, file(b"a"), file(b"b"), file(b"c"), limits=IntakeLimits(files=3))
    with pytest.raises(ImageError, match="more than 1 MiB"):
        taken(tree, file(b"d", 1 << 21), limits=IntakeLimits(size_bytes=1 << 20))
