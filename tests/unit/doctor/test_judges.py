"""Judges want proof: silence, lies and errors of another kind never count as held."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.doctor.attack import DONE, Attack, Evidence, Judge, Step, Verdict
from luminaguard.doctor.evidence import read_evidence
from luminaguard.doctor.judges import (
    LIVES,
    TOOK,
    All,
    AtMost,
    Differ,
    Of,
    Shows,
    Stops,
    Survived,
    refused,
)
from luminaguard.doctor.registry import ATTACKS
from luminaguard.domain.calls import JsonValue

MOUNT = Step(did="mount", refused="EPERM")


def ran(*steps: Step, ended: str = DONE) -> Evidence:
    return Evidence(ran=True, ended=ended, steps=steps)


def holds(judge: Judge, evidence: Evidence) -> bool:
    return judge(evidence).verdict is Verdict.ENFORCED


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_judge_of_the_catalogue_takes_silence_for_success(attack: Attack) -> None:
    for nothing in (
        Evidence(),
        Evidence(ran=True),
        Evidence(ran=True, ended=DONE),
        Evidence(ran=True, ended="signal 9"),
        Evidence(ran=True, ended="timed out"),
        Evidence(ran=True, ended="killed"),
        *(read_evidence(output, "n", [attack.name])[attack.name] for output in (b"", b"ok\n")),
    ):
        for host in ((), (Step(did=LIVES, value=0), Step(did=TOOK, value=1.0))):
            assert attack.judge(replace(nothing, host=host)).verdict is Verdict.BROKEN


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_judge_of_the_catalogue_believes_evidence_that_is_in_trouble(attack: Attack) -> None:
    evidence = replace(ran(*(replace(MOUNT, did=str(n)) for n in range(100))), trouble="a lie")
    assert attack.judge(evidence).verdict is Verdict.BROKEN


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_every_judge_of_the_catalogue_finds_an_attack_broken_that_went_through(
    attack: Attack,
) -> None:
    through = ran(*(Step(did=f"attempt {n}", value=n) for n in range(100)))
    seen = (Step(did=LIVES, value=0), Step(did=TOOK, value=1.0))
    assert attack.judge(replace(through, host=seen)).verdict is Verdict.BROKEN


def test_an_attack_is_held_when_every_attempt_was_refused_by_its_control() -> None:
    finding = refused("EPERM", "ENOSYS", at_least=2)(ran(MOUNT, replace(MOUNT, refused="ENOSYS")))
    assert finding.verdict is Verdict.ENFORCED
    assert finding.reason == "EPERM (no right), ENOSYS (no such call)"


def test_one_attempt_that_went_through_is_enough() -> None:
    finding = refused("EPERM")(ran(MOUNT, Step(did="umount", value=0), MOUNT))
    assert finding.verdict is Verdict.BROKEN
    assert finding.reason == "umount went through: 0"


def test_an_error_of_another_kind_means_that_the_control_was_passed() -> None:
    finding = refused("EPERM")(ran(MOUNT, replace(MOUNT, did="keyctl", refused="EINVAL")))
    assert finding.verdict is Verdict.BROKEN
    assert finding.reason == "keyctl got past the control, as far as EINVAL"


def test_fewer_attempts_than_there_are_prove_nothing() -> None:
    assert not holds(refused("EPERM", at_least=2), ran(MOUNT))


def test_the_filter_is_named_where_it_answered() -> None:
    finding = refused("EPERM")(ran(replace(MOUNT, filtered=True), replace(MOUNT, filtered=True)))
    assert finding.reason == "EPERM x2 (system call filter)"


def test_a_filter_that_kills_holds_an_attack_that_began() -> None:
    assert holds(refused("EPERM"), ran(ended="signal 31"))
    assert not holds(refused("EPERM"), replace(ran(ended="signal 31"), trouble="a lie"))
    assert not holds(refused("EPERM"), Evidence(ended="signal 31"))
    assert not holds(refused("EPERM"), ran(MOUNT, ended="signal 11"))


def reached(value: JsonValue, error: str | None = None) -> Step:
    return Step(did="processes", value=value, refused=error)


STOPS = Stops(frozenset({"EAGAIN"}), at_most=512, at_least=16, ends=frozenset({"signal 9"}))


def test_a_flood_is_held_when_it_was_refused_within_its_limit() -> None:
    assert holds(STOPS, ran(reached(64), reached(510, "EAGAIN")))
    assert holds(STOPS, ran(reached(64), ended="signal 9"))


@pytest.mark.parametrize(
    "evidence",
    [
        ran(reached(600, "EAGAIN")),
        ran(reached(2, "EAGAIN")),
        ran(reached(510, "ENOENT")),
        ran(reached(510)),
        ran(reached(510), ended="signal 11"),
        ran(reached(600), ended="signal 9"),
        ran(reached(None, "EAGAIN")),
        ran(reached(True, "EAGAIN")),
        ran(reached("510", "EAGAIN")),
    ],
)
def test_a_flood_that_went_on_or_stopped_for_another_reason_is_not_held(evidence: Evidence) -> None:
    assert not holds(STOPS, evidence)


CLEAN = Step(did="CapEff", value=0)


def test_facts_hold_when_each_was_told_once_as_expected() -> None:
    judge = Shows({"CapEff": 0}, errors=frozenset({"EPERM"}))
    assert holds(judge, ran(CLEAN))
    assert holds(judge, ran(MOUNT, CLEAN))


@pytest.mark.parametrize(
    "evidence",
    [
        ran(MOUNT),
        ran(Step(did="CapEff", value=1)),
        ran(CLEAN, CLEAN),
        ran(CLEAN, Step(did="CapEff", value=1)),
        ran(Step(did="CapEff", refused="EPERM")),
        ran(CLEAN, Step(did="capset", value=0)),
        ran(CLEAN, Step(did="capset", refused="EINVAL")),
        ran(CLEAN, ended="late"),
    ],
)
def test_facts_that_are_missing_contradicted_or_surrounded_by_success_do_not_hold(
    evidence: Evidence,
) -> None:
    assert not holds(Shows({"CapEff": 0}, errors=frozenset({"EPERM"})), evidence)


def drawn(*values: JsonValue) -> Evidence:
    return ran(*(Step(did="draw", value=value) for value in values))


def test_machines_must_tell_values_that_differ() -> None:
    judge = Differ(("draw",))
    assert holds(judge, drawn("a", "b"))
    assert not holds(judge, drawn("a", "a"))
    assert not holds(judge, drawn("a"))
    assert not holds(judge, drawn("a", None))
    assert not holds(judge, drawn("", "b"))


@pytest.mark.parametrize(
    ("value", "held"), [(0.2, True), (0.0, True), (0.6, False), (-1, False), (True, False)]
)
def test_a_measure_must_lie_within_its_bounds(value: JsonValue, *, held: bool) -> None:
    judge = AtMost({"seconds off": (0.0, 0.5)})
    assert holds(judge, ran(Step(did="seconds off", value=value))) is held


def test_a_measure_that_was_not_told_or_told_twice_does_not_hold() -> None:
    judge = AtMost({"seconds off": (0.0, 0.5)})
    assert not holds(judge, ran(Step(did="something else", value=0)))
    assert not holds(judge, ran(Step(did="seconds off", value=0), Step(did="seconds off", value=0)))
    assert not holds(judge, ran(Step(did="seconds off", value="0")))


def survived(**changed: JsonValue) -> tuple[Step, ...]:
    seen: Mapping[str, JsonValue] = {LIVES: 0, TOOK: 1.0} | changed
    return tuple(Step(did=did, value=value) for did, value in seen.items())


def test_a_machine_must_go_on_after_an_attack_in_time() -> None:
    judge = Survived(refused("EPERM"), within_s=5)
    assert holds(judge, replace(ran(MOUNT), host=survived()))
    for odd in ({LIVES: 1}, {LIVES: None}, {TOOK: 6.0}, {TOOK: None}):
        assert not holds(judge, replace(ran(MOUNT), host=survived(**odd)))
    assert not holds(judge, ran(MOUNT))
    assert not holds(judge, replace(ran(Step(did="mount")), host=survived()))


def test_several_judges_must_all_agree() -> None:
    both = All(
        (
            Of(lambda step: step.did == "mount", refused("EPERM")),
            Of(lambda step: step.did == "CapEff", Shows({"CapEff": 0})),
        )
    )
    assert holds(both, ran(MOUNT, CLEAN))
    assert not holds(both, ran(MOUNT))
    assert not holds(both, ran(CLEAN))


errors = st.sampled_from(["EPERM", "EACCES", "EINVAL", "ENOSYS", None])


@given(st.lists(errors, min_size=1, max_size=8))
def test_refusal_is_exactly_that_all_errors_are_the_controls(found: list[str | None]) -> None:
    evidence = ran(*(Step(did="x", refused=one) for one in found))
    wanted = {"EPERM", "EACCES"}
    assert holds(refused(*wanted), evidence) == all(one in wanted for one in found)
