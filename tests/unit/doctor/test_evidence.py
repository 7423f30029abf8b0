"""A guest that is silent, garbled or lying gives no evidence."""

import json

from hypothesis import given
from hypothesis import strategies as st

from luminaguard.doctor.attack import DONE, Evidence, Step
from luminaguard.doctor.evidence import distrusted, read_evidence

NONCE = "n" * 32
TRUTH = Evidence(
    ran=True,
    ended=DONE,
    steps=(
        Step(did="getpid", value=7),
        Step(did="the process id by system call", value=True),
        Step(did="close", refused="EBADF"),
        Step(did="open /dev/null", value=3),
        Step(did="open a file that is not there", refused="ENOENT"),
        Step(did="user", value=[1000, 1000, 1000]),
    ),
)


def told(*facts: dict[str, object], nonce: str = NONCE, attack: str = "a") -> bytes:
    lines = (json.dumps({"nonce": nonce, "attack": attack, **fact}) for fact in facts)
    return "\n".join(lines).encode() + b"\n"


BEGIN: dict[str, object] = {"begin": True}
END: dict[str, object] = {"ended": "done"}
REFUSED: dict[str, object] = {"did": "mount", "refused": "EPERM"}


def of(output: bytes) -> Evidence:
    return read_evidence(output, NONCE, ["a"])["a"]


def test_what_an_attack_told_is_read_in_order() -> None:
    evidence = of(told(BEGIN, REFUSED, {"did": "open", "value": 3}, END))
    assert evidence.ran
    assert evidence.ended == DONE
    assert evidence.trouble is None
    assert evidence.steps == (Step(did="mount", refused="EPERM"), Step(did="open", value=3))


def test_silence_is_no_evidence() -> None:
    assert not of(b"").ran
    assert of(b"").trouble == "it never ran: nothing came back"


def test_another_nonce_is_not_believed() -> None:
    assert not of(told(BEGIN, REFUSED, END, nonce="m" * 32)).ran


def test_what_an_attack_says_under_anothers_name_does_not_count_for_it() -> None:
    output = told(BEGIN, REFUSED, END, attack="b")
    assert not of(output).ran


def test_an_attack_that_begins_twice_is_not_believed() -> None:
    assert of(told(BEGIN, REFUSED, END) + told(BEGIN, REFUSED, END)).trouble
    assert of(told(REFUSED, BEGIN, END)).trouble


def test_an_attack_that_speaks_after_its_end_is_not_believed() -> None:
    assert of(told(BEGIN, END, REFUSED)).trouble
    assert of(told(BEGIN, REFUSED, END, END)).trouble


def test_an_attack_that_was_cut_off_has_no_end() -> None:
    evidence = of(told(BEGIN, REFUSED))
    assert evidence.ran
    assert evidence.ended == ""


def test_an_attack_that_failed_of_itself_is_not_believed() -> None:
    trouble = of(told(BEGIN, {"problem": "NameError: x"}, {"ended": "failed"})).trouble
    assert trouble is not None
    assert "NameError" in trouble


def test_of_a_flood_of_steps_the_first_and_the_last_are_kept() -> None:
    steps: list[dict[str, object]] = [{"did": "n", "value": n} for n in range(1000)]
    values = [step.value for step in of(told(BEGIN, *steps, END)).steps]
    assert values[0] == 0
    assert values[-1] == 999
    assert len(values) == 200


@given(st.binary(max_size=400))
def test_no_garbage_is_taken_for_evidence(garbage: bytes) -> None:
    assert not of(garbage).ran


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_a_value_of_any_shape_is_read(value: object) -> None:
    assert of(told(BEGIN, {"did": "x", "value": value}, END)).steps[0].value == value


def test_a_guest_that_answers_truthfully_is_trusted() -> None:
    assert distrusted(TRUTH) is None


def lying(did: str, answer: Step) -> Evidence:
    steps = tuple(answer if step.did == did else step for step in TRUTH.steps)
    return Evidence(ran=True, ended=DONE, steps=steps)


def test_a_guest_that_refuses_everything_is_not_trusted() -> None:
    everything = tuple(Step(did=step.did, refused="EPERM") for step in TRUTH.steps)
    assert distrusted(Evidence(ran=True, ended=DONE, steps=everything))
    assert distrusted(lying("open /dev/null", Step(did="open /dev/null", refused="EPERM")))
    assert distrusted(lying("close", Step(did="close", refused="EPERM")))


def test_a_guest_that_allows_everything_or_says_nothing_is_not_trusted() -> None:
    gone = "open a file that is not there"
    assert distrusted(lying(gone, Step(did=gone, value=3)))
    called = "the process id by system call"
    assert distrusted(lying(called, Step(did=called, value=False)))
    assert distrusted(Evidence())
    assert distrusted(Evidence(ran=True, ended=DONE))
    assert distrusted(Evidence(ran=True, steps=TRUTH.steps))
    assert distrusted(Evidence(ran=True, ended=DONE, steps=TRUTH.steps, trouble="odd"))
