"""Hardening profiles: frozen values, known by name, that decide on every system call there is."""

import re
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from luminaguard.errors import ConfigError
from luminaguard.vm.hardening import PROFILES, RELAXED, STRICT, Lsm, profile_named
from luminaguard.vm.syscalls import ABSENT, CHECKED, PLAIN, REFUSED
from luminaguard_guest.syscalls import NUMBERS

PAGE = Path(__file__).parents[3] / "docs/reference/hardening.md"


def test_profiles_are_found_by_name_under_either_access_control() -> None:
    assert profile_named("strict") == STRICT
    assert profile_named("relaxed", lsm="selinux") == replace(RELAXED, lsm=Lsm.SELINUX)


@pytest.mark.parametrize(
    ("name", "lsm", "hint"),
    [
        ("lax", "apparmor", "known: strict, relaxed"),
        ("strict", "tomoyo", "known: apparmor, selinux"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, lsm: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        profile_named(name, lsm=lsm)
    assert caught.value.hint == hint


def test_any_difference_makes_another_digest() -> None:
    variants = [
        STRICT,
        RELAXED,
        profile_named("strict", lsm="selinux"),
        replace(STRICT, shares=replace(STRICT.shares, processes=511)),
        replace(STRICT, limits=replace(STRICT.limits, open_files=1)),
        replace(STRICT, rules=replace(STRICT.rules, allowed=STRICT.rules.allowed[1:])),
    ]
    assert len({each.digest for each in variants}) == len(variants)
    assert STRICT.digest == replace(STRICT).digest


def test_every_known_system_call_is_in_exactly_one_group() -> None:
    groups = chain(PLAIN, CHECKED, *REFUSED.values(), *ABSENT.values())
    counted = Counter(groups)
    assert [name for name, times in counted.items() if times > 1] == []
    assert set(counted) == {name for table in NUMBERS.values() for name in table}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_no_profile_allows_what_reaches_the_kernel_itself(profile) -> None:
    never = {
        *REFUSED["mounts and roots"], *REFUSED["kernel code"], *REFUSED["namespaces of others"],
        *REFUSED["tracing and logs of the kernel"], *REFUSED["the machine"], *REFUSED["clock"],
        *ABSENT["io_uring"], *ABSENT["keys"], *ABSENT["userfaultfd"], *ABSENT["clone3"],
    }  # fmt: skip
    assert not never & {*profile.rules.allowed, *profile.rules.checked}
    assert {"clone", "unshare", "socket", "ioctl", "mknodat"} <= set(profile.rules.checked)


def test_relaxed_allows_more_than_strict_and_nothing_less() -> None:
    assert set(STRICT.rules.allowed) < set(RELAXED.rules.allowed)
    for name in ("processes", "memory_percent", "cpu_weight"):
        assert getattr(RELAXED.shares, name) > getattr(STRICT.shares, name)
    for name in ("open_files", "processes", "file_bytes", "locked_bytes"):
        assert getattr(RELAXED.limits, name) > getattr(STRICT.limits, name)


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("| \n").split("|")]


def mib(size: int) -> str:
    return f"{size // 1024**2:,} MiB"


def test_the_documented_table_says_what_the_profiles_are() -> None:
    rows = [cells(line) for line in PAGE.read_text(encoding="utf-8").splitlines() if "|" in line]
    table = {row[0]: row[1:] for row in rows if len(row) == 3}
    both = (STRICT, RELAXED)
    expected = {
        "processes together, and per user": [f"{each.shares.processes:,}" for each in both],
        "open files of a process": [f"{each.limits.open_files:,}" for each in both],
        "size of a file": [mib(each.limits.file_bytes) for each in both],
        "locked memory of a process": [mib(each.limits.locked_bytes) for each in both],
        "memory together": [f"{each.shares.memory_percent} %" for each in both],
        "CPU weight against 100": [str(each.shares.cpu_weight) for each in both],
        "CPU time": [f"{STRICT.shares.cpu_percent} % of each", "no limit"],
        "disk bandwidth, each way": [f"{mib(STRICT.shares.disk_bytes_per_s)}/s", "no limit"],
        "disk operations, each way": [f"{STRICT.shares.disk_operations_per_s:,}/s", "no limit"],
        "Yama's ptrace_scope": [str(each.ptrace_scope) for each in both],
    }
    assert {name: table.get(name) for name in expected} == expected
    assert all(each.shares.processes == each.limits.processes for each in both)
    assert RELAXED.shares.cpu_percent == RELAXED.shares.disk_bytes_per_s == 0


def test_the_documented_groups_of_system_calls_are_the_ones_in_force() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for groups in (REFUSED, ABSENT):
        for what, names in groups.items():
            listed = ", ".join(f"`{name}`" for name in names)
            assert f"| {what} | {listed} |" in text, what
    for name, rule in CHECKED.items():
        assert f"| `{name}` | {rule} |" in text
    more = sorted(set(RELAXED.rules.allowed) - set(STRICT.rules.allowed))
    shown = re.search(r"`relaxed` also allows (.*?)\.\n", text, re.DOTALL)
    assert shown is not None
    assert re.findall(r"`(\w+)`", shown[1]) == more
