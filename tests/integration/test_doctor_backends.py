"""`luminaguard doctor` on hosts that lack what a backend needs, or have a wreck of it."""

import json
import os
import sys
from pathlib import Path

import pytest

from commandline import CommandLine
from luminaguard.image.image import GuestImage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="about hosts with Linux")

WRECKS = {
    "firecracker": 'echo "Firecracker v0.9.0"',
    "jailer": 'echo "Jailer v0.9.0"',
    "qemu-system-x86_64": "exit 3",
    "qemu-system-aarch64": "exit 3",
    "runsc": "exit 3",
}
"""Program → what it does in place of its work."""
RELEASES = {**WRECKS, "runsc": 'echo "runsc version 0.0~20200101.0"'}


@pytest.fixture
def user(tmp_path: Path) -> CommandLine:
    return CommandLine(home=tmp_path, workspace=tmp_path, cache=tmp_path / "cache")


def programs(place: Path, found: dict[str, str]) -> str:
    """Return a PATH with these programs on it and no others of a backend."""
    place.mkdir()
    for name, script in found.items():
        (place / name).write_text(f"#!/bin/sh\n{script}\n")
        (place / name).chmod(0o755)
    return str(place)


def test_backends_come_first_on_a_host_that_has_none_of_them(
    user: CommandLine, tmp_path: Path
) -> None:
    done = user.run("doctor", PATH=programs(tmp_path / "bin", {}))
    assert done.returncode == 125
    lines = done.stdout.splitlines()
    assert lines[0] == "backends"
    text = " ".join(done.stdout.split())
    assert "qemu-system-x86_64 is missing mend: apt-get install qemu-system-x86" in text or (
        "qemu-system-aarch64 is missing mend: apt-get install qemu-system-arm" in text
    )
    assert "runsc is missing mend: apt-get install runsc" in text
    assert "firecracker is missing mend: " in text
    assert "luminaguard image build" in done.stderr
    assert list(user.cache.glob("doctor-*")) == []


def test_programs_are_told_the_same_where_nothing_can_be_attacked(
    user: CommandLine, tmp_path: Path
) -> None:
    done = user.run("doctor", "--json", PATH=programs(tmp_path / "bin", {}))
    report = json.loads(done.stdout)
    assert done.returncode == 125
    assert (report["format"], report["verdict"], report["complete"]) == (1, None, False)
    assert {one["name"]: one["state"] for one in report["backends"]}.items() >= {
        "firecracker": "unavailable",
        "qemu": "unavailable",
        "apple": "unavailable",
        "gvisor": "unavailable",
    }.items()
    assert all(one["hint"] for one in report["backends"])


@pytest.mark.parametrize("found", [WRECKS, RELEASES], ids=["wrecks", "old releases"])
def test_wrecks_and_old_releases_are_told_and_nothing_of_them_goes_on(
    user: CommandLine, tmp_path: Path, found: dict[str, str]
) -> None:
    path = programs(tmp_path / "bin", found)
    done = user.run("doctor", "--backends", "--json", PATH=path)
    assert done.returncode == 125, done.stderr
    told = {one["name"]: one for one in json.loads(done.stdout)["backends"]}
    assert "runsc" in told["gvisor"]["detail"]
    assert told["gvisor"]["hint"]
    if found is RELEASES:
        assert "too old" in told["gvisor"]["detail"]
    assert all(told[name]["state"] != "works" for name in ("firecracker", "qemu", "gvisor"))
    assert running(path) == []


def running(path: str) -> list[str]:
    """Return the command lines that name a program in this directory."""
    found: list[str] = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.startswith(os.fsencode(path)) for word in words):
            found.append(b" ".join(words).decode(errors="replace"))
    return found


def test_only_backends_tries_no_attack(user: CommandLine, tmp_path: Path) -> None:
    done = user.run("doctor", "--backends", "--only", "seccomp", PATH=str(tmp_path))
    assert done.returncode == 125
    assert "--only" in done.stderr


@pytest.mark.vm
@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        ("exit 3", "broken", "does not tell its version"),
        ('echo "QEMU emulator version 6.2.0"', "unavailable", "too old"),
    ],
    ids=["wreck", "old release"],
)
def test_a_qemu_that_is_none_is_told_where_there_is_an_image_to_try_it_with(
    user: CommandLine, tmp_path: Path, guest_image: GuestImage, script: str, state: str, said: str
) -> None:
    user.cache.mkdir(mode=0o700)
    (user.cache / "images" / "default").mkdir(parents=True)
    (user.cache / "images" / "default" / guest_image.digest).symlink_to(guest_image.directory)
    (user.cache / "images" / "default" / "current").write_text(f"{guest_image.digest}\n")
    names = ("qemu-system-x86_64", "qemu-system-aarch64")
    path = programs(tmp_path / "bin", dict.fromkeys(names, script))
    done = user.run("doctor", "--backends", "--json", PATH=path)
    told = {one["name"]: one for one in json.loads(done.stdout)["backends"]}["qemu"]
    assert (told["state"], said in told["detail"]) == (state, True), told
    assert told["hint"]
    assert running(path) == []
