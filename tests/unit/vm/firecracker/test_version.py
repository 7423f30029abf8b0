"""Old versions are refused, new ones named, and a program that tells nonsense is not run."""

from pathlib import Path

import pytest

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.backends.firecracker.version import (
    NEWEST,
    OLDEST,
    parse_version,
    program_version,
    require_known,
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Firecracker v1.16.1\n\nSupported snapshot data format versions: v4.0.0", "1.16.1"),
        ("Firecracker v1.8.0-dev", "1.8.0-dev"),
        ("1.10.2", "1.10.2"),
        ("jailer v0.25.0", "0.25.0"),
    ],
)
def test_a_version_is_found_in_what_a_program_says(text: str, said: str) -> None:
    assert str(parse_version(text)) == said


def test_text_without_a_version_is_none() -> None:
    assert parse_version("Firecracker") is None


@pytest.mark.parametrize("text", ["1.7.9", "0.25.0", "1.0.0"])
def test_an_older_version_is_refused_and_the_needed_one_named(text: str) -> None:
    version = parse_version(text)
    assert version is not None
    with pytest.raises(HypervisorUnavailable, match=f"at least {OLDEST}") as refused:
        require_known(version)
    assert refused.value.hint


@pytest.mark.parametrize("text", ["1.8.0", "1.16.1", "1.17.0", "1.17.9"])
def test_a_known_version_is_taken_as_it_is(text: str) -> None:
    version = parse_version(text)
    assert version is not None
    assert require_known(version) == text


@pytest.mark.parametrize("text", ["1.18.0", "2.0.0"])
def test_a_newer_version_is_taken_and_named_as_newer(text: str) -> None:
    version = parse_version(text)
    assert version is not None
    assert (
        require_known(version) == f"{text} (newer than {NEWEST}, the newest that LuminaGuard knows)"
    )


def program(directory: Path, script: str) -> Path:
    path = directory / "firecracker"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_program_tells_its_version(tmp_path: Path) -> None:
    assert str(program_version(program(tmp_path, "echo Firecracker v1.12.0"))) == "1.12.0"


@pytest.mark.parametrize("script", ["exit 1", "echo 'hello\033[2J'"])
def test_a_program_that_does_not_tell_is_unavailable(tmp_path: Path, script: str) -> None:
    with pytest.raises(HypervisorUnavailable) as refused:
        program_version(program(tmp_path, script))
    assert "\033" not in str(refused.value)
    assert refused.value.hint


def test_what_is_no_program_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(HypervisorUnavailable, match="does not tell"):
        program_version(tmp_path / "none")
