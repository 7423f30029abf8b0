"""What an examination found, as a table, as JSON and as an exit code."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from commandline import CommandLine
from luminaguard.cli.doctor import exit_code
from luminaguard.doctor.attack import (
    DONE,
    Attack,
    Evidence,
    Finding,
    GuestScript,
    Result,
    Step,
    Verdict,
    Where,
)
from luminaguard.doctor.examine import as_chosen
from luminaguard.doctor.judges import broken, enforced, refused, unavailable
from luminaguard.doctor.registry import ALLOWED, ATTACKS
from luminaguard.doctor.report import Report
from luminaguard.doctor.table import COLUMNS, table
from luminaguard.domain.isolation import GuestHardening, Isolation, Jail, Tier
from luminaguard.vm.hardening import PROFILES
from luminaguard.vm.hypervisor import Probe

LONG = "because of something that takes more than a line to say, whatever the terminal's width is"


def result(name: str, layer: str, where: Where, finding: Finding) -> Result:
    attack = Attack(
        name=name,
        layer=layer,
        control="a filter",
        where=where,
        script=GuestScript(code="pass"),
        judge=refused("EPERM"),
    )
    evidence = Evidence(ran=True, ended=DONE, steps=(Step(did="mount", refused="EPERM"),))
    return Result(attack=attack, finding=finding, evidence=evidence)


HELD = result("mount-it", "capabilities", Where.INSIDE, enforced("EPERM (no right)"))
OPEN = result("keep-keys", "seccomp", Where.INSIDE, broken("keyctl went through: 12"))
LACKING = result("share-a-user", "jail-uid", Where.VMM, unavailable(LONG, "run it as root"))


def report(*results: Result, missing: dict[str, str] | None = None) -> Report:
    jail = Jail(layers=("seccomp", "no-capabilities"), missing=missing or {})
    isolation = Isolation(
        backend="qemu",
        tier=Tier.EMULATED,
        accelerator="tcg",
        jail=jail,
        guest=GuestHardening(profile="strict", lsm="apparmor"),
    )
    tried = (("kvm", "the guest never came up"),)
    probe = Probe(tier=Tier.EMULATED, accelerator="tcg", version="7.2.22 (Debian)", tried=tried)
    return Report(
        results=results,
        isolation=isolation,
        probe=probe,
        image="ab" * 32,
        seconds=12.34,
        complete=True,
    )


def plain(_verdict: Verdict, text: str) -> str:
    return text


def shown(report: Report, *, verbose: bool = False) -> str:
    return "\n".join(table(report, plain, verbose=verbose))


def test_a_layer_is_broken_by_one_attack_however_many_were_held() -> None:
    both = report(HELD, replace(OPEN, attack=replace(OPEN.attack, layer="capabilities")))
    (row,) = both.rows
    assert row.verdict is Verdict.BROKEN
    assert (row.count(Verdict.ENFORCED), row.count(Verdict.BROKEN)) == (1, 1)


def test_a_layer_on_which_nothing_could_be_tried_is_unavailable() -> None:
    assert [row.verdict for row in report(LACKING).rows] == [Verdict.UNAVAILABLE]


def test_the_exit_code_is_0_unless_something_is_broken() -> None:
    assert exit_code(report(HELD, LACKING)) == 0
    assert exit_code(report(HELD, OPEN, LACKING)) == 1


def test_an_examination_that_tried_nothing_is_broken() -> None:
    assert exit_code(report()) == 1
    assert report().verdict is Verdict.BROKEN


def test_the_table_says_in_words_what_held_and_what_did_not() -> None:
    text = shown(report(HELD, OPEN, LACKING, missing={"distinct-uid": LONG}))
    lines = text.splitlines()
    assert any(line.startswith("  enforced ") and "1 of 1 held" in line for line in lines)
    assert any(line.startswith("  BROKEN ") and "0 of 1 held" in line for line in lines)
    assert any(line.startswith("  unavailable ") for line in lines)
    assert "BROKEN keep-keys: keyctl went through: 12" in text
    assert "should be stopped by: a filter" in text
    assert "get it: run it as root" in text
    assert "distinct-uid: because" in text
    assert "kvm was tried and not taken: the guest never came up" in text
    assert "Isolation is BROKEN." in text.replace("\n", " ")
    assert "mount-it" not in text  # what was held is counted, and named only on request


def test_on_request_every_attack_is_shown_with_what_answered() -> None:
    assert "held mount-it: EPERM (no right)" in shown(report(HELD), verbose=True)


def test_no_line_is_wider_than_80_columns() -> None:
    told = report(HELD, OPEN, LACKING, missing={"distinct-uid": LONG, "cgroup-limits": LONG})
    assert max(map(len, shown(told, verbose=True).splitlines())) <= COLUMNS == 80


def test_what_a_guest_said_cannot_steer_the_terminal() -> None:
    odd = replace(OPEN, finding=broken("x went through: \x1b[2J\x1b[31m\u202e"))
    assert not any(char in shown(report(odd)) for char in ("\x1b", "\u202e"))


def test_colors_only_underline_what_the_words_say() -> None:
    def painted(verdict: Verdict, text: str) -> str:
        return f"<{verdict}>{text}</>"

    marked = "\n".join(table(report(HELD, OPEN), painted))
    without = marked.replace("</>", "").replace("<BROKEN>", "").replace("<enforced>", "")
    assert without == shown(report(HELD, OPEN))


def test_the_json_object_has_its_promised_keys_and_the_raw_evidence() -> None:
    told = json.loads(json.dumps(report(HELD, OPEN, missing={"distinct-uid": "why"}).as_json()))
    assert set(told) == {
        "format",
        "luminaguard",
        "verdict",
        "complete",
        "seconds",
        "image",
        "vm",
        "accelerators_refused",
        "missing",
        "layers",
        "attacks",
    }
    assert told["verdict"] == "BROKEN"
    assert told["vm"]["tier"] == "emulated"
    assert told["missing"] == [
        {"layer": "distinct-uid", "why": "why", "get": told["missing"][0]["get"]}
    ]
    assert told["layers"][1] == {
        "key": "seccomp",
        "where": "inside",
        "title": "system call filter",
        "verdict": "BROKEN",
        "enforced": 0,
        "unavailable": 0,
        "broken": 1,
    }
    assert told["attacks"][0] == {
        "name": "mount-it",
        "layer": "capabilities",
        "where": "inside",
        "control": "a filter",
        "verdict": "enforced",
        "reason": "EPERM (no right)",
        "get": None,
        "ended": "done",
        "evidence": [{"did": "mount", "refused": "EPERM", "value": None, "filtered": False}],
        "seen_by_host": [],
    }


def test_what_a_profile_allows_on_purpose_is_not_broken_under_that_profile_only() -> None:
    bomb = replace(OPEN, attack=replace(OPEN.attack, name="fork-bomb"))
    relaxed = as_chosen(bomb, "relaxed").finding
    assert relaxed.verdict is Verdict.UNAVAILABLE
    assert "relaxed" in relaxed.reason
    assert as_chosen(bomb, "strict") == bomb
    assert as_chosen(OPEN, "relaxed") == OPEN
    held = replace(HELD, attack=bomb.attack)
    assert as_chosen(held, "relaxed") == held


def test_what_profiles_allow_are_attacks_of_the_catalogue() -> None:
    names = {attack.name for attack in ATTACKS}
    assert all(allowed <= names for allowed in ALLOWED.values())
    assert set(ALLOWED) < set(PROFILES)


@pytest.fixture
def user(tmp_path: Path) -> CommandLine:
    return CommandLine(home=tmp_path, workspace=tmp_path, cache=tmp_path / "cache")


def test_without_a_guest_image_nothing_can_be_tried_and_the_exit_code_is_125(
    user: CommandLine,
) -> None:
    done = user.run("doctor", "--json")
    assert done.returncode == 125
    told = json.loads(done.stdout)
    assert (told["verdict"], told["complete"]) == (None, False)
    assert "attacks" not in told
    assert "luminaguard image build" in done.stderr


def test_a_pattern_that_names_no_attack_is_an_error(user: CommandLine) -> None:
    done = user.run("doctor", "--only", "no-such-attack")
    assert done.returncode == 125
    assert "no-such-attack" in done.stderr
