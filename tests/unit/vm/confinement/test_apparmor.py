"""Whether QEMU's AppArmor profile is there, and whether the kernel says that it holds."""

import shutil
import subprocess
from pathlib import Path

import pytest

from luminaguard.vm.confinement.apparmor import (
    PROFILE,
    SOURCE,
    AppArmor,
    find_profile,
)


def labeled(proc: Path, label: str, *, where: str = "apparmor/current") -> Path:
    file = proc / "7" / "attr" / where
    file.parent.mkdir(parents=True)
    file.write_text(f"{label}\n")
    return proc


def test_a_kernel_without_apparmor_has_no_profile(tmp_path: Path) -> None:
    found = find_profile(tmp_path)
    assert found.profile is None
    assert found.problem(1) == "this kernel has no AppArmor"


def test_a_profile_that_is_not_loaded_is_named_with_the_command_that_loads_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "apparmor/policy/profiles/firefox.3").mkdir(parents=True)
    problem = find_profile(tmp_path).problem(1)
    assert problem == f"not loaded; load it: sudo apparmor_parser -r {SOURCE}"
    assert SOURCE.is_file()


def test_a_loaded_profile_is_chosen(tmp_path: Path) -> None:
    (tmp_path / f"apparmor/policy/profiles/{PROFILE}.12").mkdir(parents=True)
    assert find_profile(tmp_path).profile == PROFILE


@pytest.mark.parametrize("where", ["apparmor/current", "current"])
def test_only_an_enforced_profile_counts(tmp_path: Path, where: str) -> None:
    chosen = AppArmor(profile=PROFILE)
    held = labeled(tmp_path / "held", f"{PROFILE} (enforce)", where=where)
    assert chosen.problem(7, held) is None
    complaining = labeled(tmp_path / "complaining", f"{PROFILE} (complain)", where=where)
    assert "(complain)" in str(chosen.problem(7, complaining))
    free = labeled(tmp_path / "free", "unconfined", where=where)
    assert "QEMU runs as unconfined" in str(chosen.problem(7, free))


def test_a_kernel_that_tells_no_label_is_not_believed(tmp_path: Path) -> None:
    assert AppArmor(profile=PROFILE).problem(7, tmp_path) == "the kernel does not tell its label"


def test_the_shipped_profile_compiles() -> None:
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if parser is None:
        pytest.skip("apparmor_parser is not installed: apt-get install apparmor")
    command = [parser, "--skip-kernel-load", "--skip-cache", "--stdout", str(SOURCE)]
    ran = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert PROFILE.encode() in ran.stdout
