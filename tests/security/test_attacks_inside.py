"""From a command in a guest: every attack of the doctor's catalogue is held.

The catalogue is `luminaguard doctor`'s own; `tools/remove_controls.py` shows that each attack goes
through once its control is taken away (docs/reference/attacks.md).
"""

from collections.abc import Callable

import pytest

from luminaguard.doctor.attack import Attack, Result, Verdict, Where
from luminaguard.doctor.registry import ATTACKS

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

MINE = [attack for attack in ATTACKS if attack.where is Where.INSIDE]


@pytest.mark.parametrize("attack", MINE, ids=lambda attack: attack.name)
def test_an_attack_by_a_command_is_held(attack: Attack, try_it: Callable[[Attack], Result]) -> None:
    result = try_it(attack)
    if result.finding.verdict is Verdict.UNAVAILABLE:
        pytest.skip(f"{result.finding.reason} (to get it: {result.finding.get})")
    assert result.finding.verdict is Verdict.ENFORCED, (result.finding.reason, result.as_json())
