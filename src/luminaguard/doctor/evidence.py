"""From what came out of a guest, or of a jail, to evidence: believed only where it fits together.

Every line carries the host's nonce and the attack's name. An attack that did not begin, began
twice, spoke after its end, or whose guest does not answer truthfully to questions with known
answers, has no evidence, and what has no evidence is never held.
"""

import json
from collections.abc import Iterable, Mapping
from typing import cast

from luminaguard.doctor.attack import DONE, Evidence, Step
from luminaguard.domain.calls import JsonValue

_LINES = 20_000
_STEPS = 200
"""Of one attack; the first and the last of more are kept."""
CONTROL = "truthful"
"""Name of the check that goes before every batch."""


def read_evidence(output: bytes, nonce: str, names: Iterable[str]) -> dict[str, Evidence]:
    """Return the evidence for each of `names` in what a batch printed."""
    told: dict[str, list[Mapping[str, object]]] = {name: [] for name in names}
    for line in output.splitlines()[:_LINES]:
        fact = _fact(line)
        if fact is not None and fact.get("nonce") == nonce and fact.get("attack") in told:
            told[str(fact["attack"])].append(fact)
    return {name: _evidence(facts) for name, facts in told.items()}


def distrusted(evidence: Evidence) -> str | None:
    """Return why a guest's answers cannot be believed, from its check; None when they can.

    The check made two calls that must work, and two that must fail in one way each.
    """
    if evidence.trouble or not evidence.ran or evidence.ended != DONE:
        return evidence.trouble or "the check of the guest's answers did not run to its end"
    answers = {step.did: step for step in evidence.steps}
    wanted = {
        "the process id by system call": (None, True),
        "close": ("EBADF", None),
        "open a file that is not there": ("ENOENT", None),
    }
    for did, (refused, value) in wanted.items():
        step = answers.get(did)
        if step is None or step.refused != refused or (value is not None and step.value != value):
            return f"the guest does not answer truthfully: {did}: {step and step.as_json()}"
    opened = answers.get("open /dev/null")
    if opened is None or opened.refused is not None:
        return "the guest says that it cannot open /dev/null"
    return None


def _fact(line: bytes) -> Mapping[str, object] | None:
    try:
        fact: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, object]", fact) if isinstance(fact, dict) else None


def _evidence(facts: list[Mapping[str, object]]) -> Evidence:
    if not facts:
        return Evidence(trouble="it never ran: nothing came back")
    begins = [index for index, fact in enumerate(facts) if fact.get("begin") is True]
    if begins != [0]:
        return Evidence(trouble="it did not begin once, at the beginning")
    ends = [index for index, fact in enumerate(facts) if "ended" in fact]
    if ends not in ([], [len(facts) - 1]):
        return Evidence(ran=True, trouble="it went on after its end")
    problems = [str(fact["problem"]) for fact in facts if "problem" in fact]
    steps = tuple(_step(fact) for fact in facts if "did" in fact)
    return Evidence(
        ran=True,
        steps=steps if len(steps) <= _STEPS else steps[: _STEPS // 2] + steps[-_STEPS // 2 :],
        ended=str(facts[ends[0]]["ended"]) if ends else "",
        trouble=f"it went wrong: {problems[0]}" if problems else None,
    )


def _step(fact: Mapping[str, object]) -> Step:
    refused = fact.get("refused")
    return Step(
        did=str(fact["did"])[:120],
        refused=None if refused is None else str(refused)[:60],
        value=cast("JsonValue", fact.get("value")),
        filtered=fact.get("filtered") is True,
    )
