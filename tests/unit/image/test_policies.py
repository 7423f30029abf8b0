"""What a guest's kernel enforces is compiled on the host, the same every time, or not at all."""

import os
import sys

import pytest

from luminaguard.errors import ImageError
from luminaguard.image import policies
from luminaguard.image.image import GuestImage
from luminaguard.vm.hardening import PROFILES, Lsm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="images are built on Linux")
needs_compilers = pytest.mark.skipif(
    not all(map(policies.program, ("apparmor_parser", "secilc"))),
    reason="needs apparmor_parser and secilc",
)


@needs_compilers
def test_both_policies_come_out_the_same_each_time_whatever_the_host_is_set_to(
    tmp_path, monkeypatch
) -> None:
    written = []
    for name, zone in (("one", "UTC"), ("another-one", "Asia/Tokyo")):
        out = tmp_path / name
        out.mkdir()
        monkeypatch.setenv("TZ", zone)
        names = policies.compile_policies(out)
        written.append([(each, (out / each).read_bytes()) for each in names])
    assert written[0] == written[1]
    image = GuestImage(directory=tmp_path / "one", digest="0" * 64)
    assert {image.policy(lsm).name for lsm in Lsm} == {name for name, _ in written[0]}


@needs_compilers
def test_every_profile_is_in_both_policies(tmp_path) -> None:
    policies.compile_policies(tmp_path)
    for name in PROFILES:
        assert f"luminaguard-{name}\0".encode() in (tmp_path / "apparmor.policy").read_bytes()
        assert f"{name}_t".encode() in (tmp_path / "selinux.policy").read_bytes()


def fake_compilers(place, script: str, monkeypatch) -> None:
    for name in ("apparmor_parser", "secilc"):
        (place / name).write_text(f"#!/bin/sh\n{script}\n")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'line 7 is odd' >&2; exit 1", "apparmor_parser refused a policy: line 7 is odd"),
        ("for last; do :; done; : >OUT/apparmor.policy", "apparmor_parser wrote an empty policy"),
    ],
)
def test_a_compiler_that_fails_is_told_in_its_own_words(
    tmp_path, monkeypatch, script: str, message: str
) -> None:
    fake_compilers(tmp_path, script.replace("OUT", str(tmp_path)), monkeypatch)
    with pytest.raises(ImageError, match=message):
        policies.compile_policies(tmp_path)
