"""Every attack goes through without its control: the table that shows it is whole."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from luminaguard.doctor.registry import ATTACKS

ROOT = Path(__file__).resolve().parents[3]
NO_CONTROL_HERE = {"guess-where-programs-lie"}
"""Its control is off under emulation, and the doctor says so."""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("remove", ROOT / "tools/remove_controls.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_attack_has_a_control_that_can_be_taken_out(tool: ModuleType) -> None:
    covered = {attack for removal in tool.removals() for attack in removal.attacks}
    assert covered == {attack.name for attack in ATTACKS} - NO_CONTROL_HERE


def test_no_edit_is_stale(tool: ModuleType) -> None:
    assert [line for one in tool.removals() for line in tool.stale(one, ROOT / "src")] == []


def test_every_attack_is_listed_in_the_documentation() -> None:
    listed = (ROOT / "docs/reference/attacks.md").read_text(encoding="utf-8")
    assert [attack.name for attack in ATTACKS if f"`{attack.name}`" not in listed] == []
