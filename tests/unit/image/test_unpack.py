"""Packages as hostile input: nothing of theirs may land outside the staging area."""

import shutil
import stat
import tarfile

import pytest

from debs import member, opened, write_deb
from luminaguard.errors import ImageError
from luminaguard.image.deb import alternatives, parse_alternatives, payload
from luminaguard.image.tree import Tree
from luminaguard.image.unpack import unpack

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


@pytest.fixture
def tree(tmp_path):
    staging = tmp_path / "outer/staging"
    staging.mkdir(parents=True)
    return Tree(staging)


def put(tree, *members, drop=()):
    unpack(opened(members), tree, origin="sample", drop=drop)
    return dict(iter(tree))


@pytest.mark.parametrize(
    "name",
    ["../evil", "./../evil", "usr/../../evil", "/etc/evil", "//evil", "usr//evil", "./usr/./x/.."],
)
def test_a_name_that_could_leave_the_root_is_refused(tree, tmp_path, name) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ImageError, match="unusable name"):
        put(tree, member(name, b"evil"))
    assert sorted(tmp_path.rglob("*")) == before


@needs_dpkg
def test_a_hostile_package_file_writes_nothing_outside(tree, tmp_path) -> None:
    deb = write_deb(tmp_path / "evil.deb", [member("./../../evil", b"evil")])
    with pytest.raises(ImageError, match="unusable name"), payload(deb) as archive:
        unpack(archive, tree, origin="evil", drop=())
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "outer/evil").exists()


def test_a_package_cannot_write_through_its_own_link(tree, tmp_path) -> None:
    target = tmp_path / "host"
    target.mkdir()
    link = member("./etc/x", type=tarfile.SYMTYPE, linkname=str(target))
    with pytest.raises(ImageError, match="no directory"):
        put(tree, link, member("./etc/x/evil", b"evil"))
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tree, kind) -> None:
    with pytest.raises(ImageError, match="device or pipe"):
        put(tree, member("./dev/mem", type=kind))


@pytest.mark.parametrize("target", ["../../etc/passwd", "/etc/passwd"])
def test_a_hard_link_to_a_file_of_the_host_is_refused(tree, target) -> None:
    with pytest.raises(ImageError, match="unusable name"):
        put(tree, member("./etc/x", type=tarfile.LNKTYPE, linkname=target))


def test_setuid_and_setgid_bits_are_gone(tree) -> None:
    nodes = put(tree, member("./usr/bin/su", b"", mode=0o6755))
    assert stat.S_IMODE(nodes["usr/bin/su"].mode) == 0o755


def test_dropped_paths_take_what_lies_below_along(tree) -> None:
    nodes = put(
        tree,
        member("./usr/share/doc/x/README", b"long"),
        member("./usr/share/docs", b"kept"),
        drop=("usr/share/doc",),
    )
    assert "usr/share/docs" in nodes
    assert not any(path.startswith("usr/share/doc/") for path in nodes)


def test_a_relative_link_still_points_right_after_its_directory_moved(tree) -> None:
    nodes = put(
        tree,
        member("./lib/x/libz.so", type=tarfile.SYMTYPE, linkname="../../usr/lib/y/libz.so.1"),
        member("./bin/sh", type=tarfile.SYMTYPE, linkname="dash"),
        member("./usr/bin/vi", type=tarfile.SYMTYPE, linkname="../../etc/vi"),
    )
    assert nodes["usr/lib/x/libz.so"].target == "../y/libz.so.1"
    assert nodes["usr/bin/sh"].target == "dash"
    assert nodes["usr/bin/vi"].target == "../../etc/vi"


@needs_dpkg
def test_a_damaged_package_is_named_with_the_way_out(tmp_path) -> None:
    deb = write_deb(tmp_path / "sample_1.0_all.deb", [member("./usr/bin/x", b"x" * 4096)])
    deb.write_bytes(deb.read_bytes()[:-3000])
    with pytest.raises(ImageError, match=r"sample_1\.0_all\.deb is damaged") as caught:
        payload(deb)
    assert str(deb) in (caught.value.hint or "")


@needs_dpkg
def test_alternatives_are_read_from_the_script_without_running_it(tmp_path) -> None:
    marker = tmp_path / "ran"
    script = (
        f"#!/bin/sh\ntouch {marker}\n"
        "update-alternatives --quiet --install /usr/bin/awk awk /usr/bin/mawk 5 \\\n"
        "  --slave /usr/bin/nawk nawk /usr/bin/mawk\n"
    )
    deb = write_deb(tmp_path / "mawk.deb", [member("./usr/bin/mawk", b"")], postinst=script)
    assert [(each.link, each.target) for each in alternatives(deb)] == [
        ("usr/bin/awk", "usr/bin/mawk"),
        ("usr/bin/nawk", "usr/bin/mawk"),
    ]
    assert not marker.exists()


def test_alternatives_that_the_script_computes_are_left_alone() -> None:
    script = "update-alternatives --install /usr/bin/x x /usr/bin/$name 5\n"
    assert parse_alternatives(script) == ()
