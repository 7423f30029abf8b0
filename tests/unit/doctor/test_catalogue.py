"""The catalogue is whole: names, layers, scripts that compile, system calls with right numbers."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from luminaguard.doctor import kit
from luminaguard.doctor.attack import Attack, GuestScript, JailScript, Where
from luminaguard.doctor.layers import LAYERS, how_to_get
from luminaguard.doctor.registry import ATTACKS

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


def test_no_two_attacks_share_a_name_and_names_are_plain() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)


def test_there_are_as_many_attacks_as_were_promised() -> None:
    by_place = {where: sum(attack.where is where for attack in ATTACKS) for where in Where}
    assert sum(by_place.values()) >= 40
    assert by_place[Where.LIFECYCLE] >= 10


def test_every_attack_counts_for_a_layer_of_its_place_and_every_layer_is_attacked() -> None:
    places = {layer.key: layer.where for layer in LAYERS}
    assert {attack.layer: attack.where for attack in ATTACKS} == places


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_every_attack_says_what_has_to_stop_it(attack: Attack) -> None:
    assert attack.control


def test_guest_scripts_are_python_in_the_words_of_the_kit() -> None:
    words = set(dir(kit)) | set(dir(__builtins__)) | set(__builtins__)
    for attack in ATTACKS:
        if isinstance(attack.script, GuestScript):
            tree = ast.parse(attack.script.code)
            called = {
                node.func.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            made = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
            assert called - made <= words, attack.name


def test_jail_scripts_are_shell() -> None:
    for attack in ATTACKS:
        if isinstance(attack.script, JailScript):
            subprocess.run(["bash", "-n", "-c", attack.script.code], check=True, timeout=10)


@pytest.mark.skipif(not HEADER.exists(), reason="the kernel's headers are not installed")
def test_a_wrong_number_is_never_taken_for_a_missing_call() -> None:
    listed = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", HEADER.read_text(encoding="ascii")))
    for name, (number, _) in kit.NUMBERS.items():
        assert int(listed[name]) == number, name


def test_every_layer_of_the_jail_can_be_had_somehow() -> None:
    assert "root" in how_to_get("distinct-uid")
    assert how_to_get("a layer of tomorrow")
