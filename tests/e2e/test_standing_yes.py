"""Rules and grants in place of a human: what passes unasked, and how that is recorded."""

import json
from collections.abc import Callable

import pytest

from luminaguard.approval.card import DiffCard
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.domain.verdict import Lane
from luminaguard.testing.approver import FixedApprover
from luminaguard.testing.hypervisor import FakeGuest
from standing import ALLOW_RESTYLE, granting, restyle, rules, writing
from trees import fingerprint
from world import World

pytestmark = pytest.mark.anyio


async def calls(world: World, approver: FixedApprover, *commands: tuple[str, ...]) -> list[Outcome]:
    async with world.session(approver) as session:
        return [await session.exec(command) for command in commands]


def decided(world: World) -> list[dict[str, object]]:
    found = AuditReader(world.root / "state").find(
        Query(kind="approval.decided", newest_first=False)
    )
    return [json.loads(json.dumps(record.body)) for record in found]


@pytest.mark.guarantee("G1")
async def test_a_rule_that_allows_commits_unasked_and_is_named_in_the_record(world: World) -> None:
    rules(world, ALLOW_RESTYLE)
    restyle(world)
    nobody = FixedApprover([])
    (outcome,) = await calls(world, nobody, ("restyle", "src/main.py", "tidy"))
    assert (outcome.kind, nobody.cards) == (OutcomeKind.COMMITTED, [])
    assert (world.workspace / "src/main.py").read_text() == "tidy"
    (record,) = decided(world)
    decision = record["decision"]
    assert isinstance(decision, dict)
    assert decision["approver"] == "rule"
    assert "user:restyle" in decision["reason"]
    assert "policy.toml sha256:" in decision["proof"]
    assert outcome.verdict.lane is Lane.RED
    assert world.verifies()


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize(("effect", "why"), [
    (writing("README", b"x"), "README"), (writing("src/new.py", b"x"), "create"),
    (lambda guest: guest.upper.delete("src/main.py"), "delete"),
    (writing("src/conftest.py", b"x"), "runs-later"),
])  # fmt: skip
async def test_an_effect_beyond_a_rule_s_bounds_is_asked_about_and_the_card_says_why(
    world: World, effect: Callable[[FakeGuest], None], why: str
) -> None:
    rules(world, ALLOW_RESTYLE)
    world.program("restyle", effect)
    before = fingerprint(world.workspace)
    asked = FixedApprover([End.REJECTED])
    (outcome,) = await calls(world, asked, ("restyle", "src"))
    assert outcome.kind is OutcomeKind.DISCARDED
    assert fingerprint(world.workspace) == before
    (card,) = asked.cards
    said = card.verdict.reasons[-1]
    assert said.startswith("rule user:restyle does not cover it")
    assert why in said


@pytest.mark.guarantee("G1")
async def test_a_change_that_a_rule_denies_is_never_committed_whatever_the_call_was_named(
    world: World,
) -> None:
    rules(world, '[[deny]]\nname = "keep"\npath = "README"\nreason = "it is history"\n')
    world.program("tidy", lambda guest: guest.upper.delete("README"))
    before = fingerprint(world.workspace)
    nobody = FixedApprover([End.APPROVED])
    (outcome,) = await calls(world, nobody, ("tidy",))
    assert (outcome.kind, nobody.cards) == (OutcomeKind.DENIED, [])
    assert outcome.verdict.rules == ("user:keep",)
    assert "README" in outcome.verdict.reasons[0]
    assert fingerprint(world.workspace) == before
    assert outcome.report is None


async def test_what_was_granted_for_a_pattern_passes_unasked_and_is_counted(world: World) -> None:
    restyle(world)
    (world.workspace / "src/two.py").write_text("two")
    asked = FixedApprover([granting("pattern")])
    first, second = await calls(
        world, asked, ("restyle", "src/main.py", "tidy"), ("restyle", "src/two.py", "tidy")
    )
    assert (first.kind, second.kind) == (OutcomeKind.COMMITTED, OutcomeKind.COMMITTED)
    assert len(asked.cards) == 1
    assert second.decision is not None
    assert second.decision.approver == "grant"
    assert "use 1 of" in second.decision.proof
    given, used = decided(world)
    granted = given["granted"]
    assert isinstance(granted, dict)
    decision = used["decision"]
    assert isinstance(decision, dict)
    assert str(granted["grant_id"]) in decision["proof"]
    (third,) = await calls(world, FixedApprover([]), ("restyle", "src/main.py", "tidy"))
    assert third.kind is OutcomeKind.EXECUTED, "it was tidy already"
    (fourth,) = await calls(world, FixedApprover([]), ("restyle", "src/one.py", "tidy"))
    assert fourth.kind is OutcomeKind.DISCARDED, "a new file is a change of another kind"


async def test_a_session_s_grant_ends_with_the_session(world: World) -> None:
    restyle(world)
    (world.workspace / "src/two.py").write_text("two")
    asked = FixedApprover([granting("session")])
    await calls(world, asked, ("restyle", "src/main.py", "tidy"))
    (later,) = await calls(world, FixedApprover([]), ("restyle", "src/two.py", "tidy"))
    assert later.kind is OutcomeKind.DISCARDED


@pytest.mark.guarantee("G4")
async def test_an_answer_that_takes_an_offer_that_was_not_made_approves_nothing(
    world: World,
) -> None:
    restyle(world)
    before = fingerprint(world.workspace)
    asked = FixedApprover([granting("everything")])
    (outcome,) = await calls(world, asked, ("restyle", "src/main.py", "tidy"))
    assert outcome.decision is not None
    assert (outcome.kind, outcome.decision.end) == (OutcomeKind.DISCARDED, End.FAILED)
    assert fingerprint(world.workspace) == before


async def test_nothing_is_offered_for_what_runs_later(world: World) -> None:
    world.program("setup", writing(".git/hooks/pre-commit", b"#!/bin/sh\n"))
    asked = FixedApprover([End.REJECTED])
    await calls(world, asked, ("setup",))
    assert asked.cards[0].offers == ()


async def test_an_offer_says_what_it_covers_and_what_else(world: World) -> None:
    restyle(world)
    asked = FixedApprover([End.REJECTED])
    await calls(world, asked, ("restyle", "src/main.py", "tidy"))
    exact, session, pattern = asked.cards[0].offers
    assert [o.offer_id for o in (exact, session, pattern)] == ["exact", "session", "pattern"]
    assert "this very call" in exact.covers
    assert exact.also == ()
    assert "src/**" in pattern.covers
    assert any("src/another/file" in also for also in pattern.also)


async def test_an_offer_shows_calls_of_the_past_that_it_would_also_let_through(
    world: World,
) -> None:
    restyle(world)
    await calls(world, FixedApprover([End.REJECTED]), ("restyle", "src/two.py", "tidy"))
    (world.workspace / "src/two.py").write_text("two")
    asked = FixedApprover([End.REJECTED])
    await calls(world, asked, ("restyle", "src/main.py", "tidy"))
    assert asked.cards[0].offers[-1].also[0] == "restyle src/two.py tidy"


@pytest.mark.guarantee("G2")
async def test_a_policy_that_changes_while_the_human_decides_is_a_conflict(world: World) -> None:
    restyle(world)
    before = fingerprint(world.workspace)

    def meanwhile(request: ApprovalRequest, card: DiffCard) -> Decision:
        rules(world, '[[deny]]\nname = "no-fmt"\ncommand = "restyle"\n')
        return granting("")(request, card)

    command = ("restyle", "src/main.py", "x")
    first, second = await calls(world, FixedApprover([meanwhile]), command, command)
    assert (first.kind, first.error_code) == (OutcomeKind.FAILED, "conflict")
    assert (second.kind, second.verdict.rules) == (OutcomeKind.DENIED, ("user:no-fmt",))
    assert fingerprint(world.workspace) == before


@pytest.mark.guarantee("G4")
async def test_rules_that_become_unreadable_forbid_everything_until_they_are_mended(
    world: World,
) -> None:
    path = rules(world, ALLOW_RESTYLE)
    async with world.session("deny") as session:
        path.write_text("[[allow]\n")
        broken = await session.exec(["true"])
        path.write_text(ALLOW_RESTYLE)
        mended = await session.exec(["true"])
    assert (broken.kind, broken.verdict.rules) == (OutcomeKind.DENIED, ("policy-unreadable",))
    assert mended.kind is OutcomeKind.EXECUTED
