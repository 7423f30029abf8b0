"""The way of a call through the guard, to each of its ends."""

import subprocess
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from luminaguard.approval.card import DiffCard
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.domain.harvest import FileBytes, UpperDirectory, UpperFile, UpperRecord, Whiteout
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.domain.verdict import Lane
from luminaguard.errors import AuditWriteFailed, GuestLost, WireError, WorkspaceError
from luminaguard.testing.approver import FixedApprover, answering_another_request
from luminaguard.testing.hypervisor import FakeGuest, exited
from luminaguard.vm.lifecycle import VmState
from trees import fingerprint
from world import World

pytestmark = pytest.mark.anyio


def edit(guest: FakeGuest) -> None:
    guest.upper.write("src/main.py", b"print('two')\n")
    guest.upper.write("new.txt", b"new\n", mode=0o600)
    guest.upper.delete("README")


def nothing(_: FakeGuest) -> None:
    return


async def one(world: World, approver: FixedApprover | str, *argv: str) -> Outcome:
    async with world.session(approver) as session:
        return await session.exec(argv)


async def test_a_pure_read_runs_unasked(world: World) -> None:
    asked = FixedApprover([])
    outcome = await one(world, asked, "true")
    assert (outcome.kind, outcome.verdict.lane) == (OutcomeKind.EXECUTED, Lane.GREEN)
    assert outcome.decision is None
    assert asked.cards == []


async def test_a_call_of_unknown_effect_that_had_none_is_released_unasked(world: World) -> None:
    world.program("compile", nothing, b"ok\n")
    asked = FixedApprover([])
    outcome = await one(world, asked, "compile")
    assert (outcome.verdict.lane, outcome.verdict.rules[-1]) == (Lane.RED, "no-effect")
    assert outcome.report is not None
    assert outcome.report.stdout == b"ok\n"
    assert (outcome.kind, asked.cards) == (OutcomeKind.EXECUTED, [])


async def test_without_the_no_effect_rule_such_a_call_is_asked_about(world: World) -> None:
    world.program("compile", nothing)
    asked = FixedApprover([End.REJECTED])
    async with world.session(asked, no_effect=False) as session:
        outcome = await session.exec(["compile"])
    assert (outcome.kind, len(asked.cards)) == (OutcomeKind.DISCARDED, 1)


async def test_a_process_left_behind_is_an_effect_to_ask_about(world: World) -> None:
    report = GuestReport(ended=exited(0).ended, exit_code=0, leftover=("server",))
    world.hypervisor.programs["serve"] = lambda _guest, _execution: report
    asked = FixedApprover([End.REJECTED])
    outcome = await one(world, asked, "serve")
    assert outcome.kind is OutcomeKind.DISCARDED


@pytest.mark.guarantee("G2")
async def test_what_is_approved_is_committed_byte_for_byte(world: World) -> None:
    world.program("edit", edit)
    asked = FixedApprover([End.APPROVED])
    outcome = await one(world, asked, "edit")
    assert outcome.kind is OutcomeKind.COMMITTED
    assert outcome.changeset is not None
    assert outcome.changeset.digest == asked.cards[0].request.changeset_digest
    assert (world.workspace / "src/main.py").read_bytes() == b"print('two')\n"
    assert (world.workspace / "new.txt").read_bytes() == b"new\n"
    assert (world.workspace / "new.txt").stat().st_mode & 0o777 == 0o600
    assert not (world.workspace / "README").exists()
    assert world.verifies()


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("end", [End.REJECTED, End.EXPIRED, End.FAILED])
async def test_without_an_approval_nothing_changes_and_no_output_is_seen(
    world: World, end: End
) -> None:
    world.program("edit", edit, b"secret output\n")
    before = fingerprint(world.workspace)
    outcome = await one(world, FixedApprover([end]), "edit")
    assert (outcome.kind, outcome.report) == (OutcomeKind.DISCARDED, None)
    assert outcome.decision is not None
    assert outcome.decision.end is end
    assert fingerprint(world.workspace) == before
    assert world.verifies()


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (RuntimeError("screen burned down"), End.FAILED),
        (answering_another_request, End.FAILED),
    ],
)
async def test_an_approver_that_misbehaves_approves_nothing(
    world: World, answer: object, end: End
) -> None:
    world.program("edit", edit)
    before = fingerprint(world.workspace)
    outcome = await one(world, FixedApprover([answer]), "edit")  # type: ignore[list-item]
    assert outcome.decision is not None
    assert (outcome.kind, outcome.decision.end) == (OutcomeKind.DISCARDED, end)
    assert fingerprint(world.workspace) == before


@pytest.mark.guarantee("G4")
async def test_a_request_that_nobody_answers_expires(world: World) -> None:
    class Silent(FixedApprover):
        async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
            await anyio.sleep_forever()
            return await super().decide(request, card)

    world.program("edit", edit)
    before = fingerprint(world.workspace)
    async with world.session(Silent([]), approval_timeout_s=0.05) as session:
        outcome = await session.exec(["edit"])
    assert outcome.decision is not None
    assert (outcome.kind, outcome.decision.end) == (OutcomeKind.DISCARDED, End.EXPIRED)
    assert fingerprint(world.workspace) == before


@pytest.mark.guarantee("G4")
async def test_an_approval_dated_after_the_expiry_approves_nothing(world: World) -> None:
    def late(request: ApprovalRequest, _: DiffCard) -> Decision:
        return Decision(
            end=End.APPROVED,
            request_digest=request.digest,
            approver="fixed",
            reason="",
            at=request.expires_at + timedelta(seconds=1),
        )

    world.program("edit", edit)
    before = fingerprint(world.workspace)
    outcome = await one(world, FixedApprover([late]), "edit")
    assert outcome.kind is not OutcomeKind.COMMITTED
    assert fingerprint(world.workspace) == before


@pytest.mark.guarantee("G6")
async def test_a_machine_that_ran_an_unapproved_call_is_destroyed_and_never_reused(
    world: World,
) -> None:
    world.program("edit", edit)
    async with world.session(FixedApprover([End.REJECTED])) as session:
        await session.exec(["edit"])
        (first,) = world.hypervisor.machines
        assert first.state is VmState.STOPPED
        outcome = await session.exec(["true"])
    assert outcome.kind is OutcomeKind.EXECUTED
    assert len(world.hypervisor.machines) == 2
    assert [e.argv for e in world.hypervisor.machines[1].executed] == [("true",)]


async def test_a_settled_machine_goes_on_and_only_new_changes_are_asked_about(
    world: World,
) -> None:
    world.program("edit", edit)
    world.program("more", lambda guest: guest.upper.write("more.txt", b"more\n"))
    asked = FixedApprover([End.APPROVED, End.APPROVED])
    async with world.session(asked) as session:
        await session.exec(["edit"])
        unasked = await session.exec(["true"])
        outcome = await session.exec(["more"])
    assert (unasked.kind, outcome.kind) == (OutcomeKind.EXECUTED, OutcomeKind.COMMITTED)
    assert outcome.changeset is not None
    assert [change.path for change in outcome.changeset.changes] == ["more.txt"]
    assert len(world.hypervisor.machines) == 1
    assert (world.workspace / "more.txt").read_bytes() == b"more\n"


async def test_the_machine_is_paused_while_the_human_decides(world: World) -> None:
    states: list[VmState] = []

    def look(request: ApprovalRequest, _: DiffCard) -> Decision:
        states.append(world.hypervisor.machines[0].state)
        raise WorkspaceError("seen enough")

    world.program("edit", edit)
    await one(world, FixedApprover([look]), "edit")
    assert states == [VmState.PAUSED]


@pytest.mark.guarantee("G3")
async def test_a_host_file_that_moved_while_the_human_decided_is_a_conflict(world: World) -> None:
    def approve_after_the_user_edits(request: ApprovalRequest, card: DiffCard) -> Decision:
        (world.workspace / "src/main.py").write_text("print('mine')\n")
        del card
        return Decision(
            end=End.APPROVED,
            request_digest=request.digest,
            approver="fixed",
            reason="",
            at=request.requested_at,
        )

    world.program("edit", edit)
    outcome = await one(world, FixedApprover([approve_after_the_user_edits]), "edit")
    assert (outcome.kind, outcome.error_code) == (OutcomeKind.FAILED, "conflict")
    assert (world.workspace / "src/main.py").read_text() == "print('mine')\n"
    assert (world.workspace / "README").exists()
    assert not (world.workspace / "new.txt").exists()
    await one(world, "deny", "true")
    assert "intent.unknown" not in world.kinds()
    assert world.verifies()


@pytest.mark.guarantee("G3")
async def test_a_host_file_that_moved_before_the_card_is_a_conflict_and_nobody_is_asked(
    world: World,
) -> None:
    def meanwhile(guest: FakeGuest) -> None:
        edit(guest)
        (world.workspace / "README").write_text("mine\n")

    world.program("edit", meanwhile)
    asked = FixedApprover([End.APPROVED])
    outcome = await one(world, asked, "edit")
    assert (outcome.kind, outcome.error_code) == (OutcomeKind.FAILED, "conflict")
    assert asked.cards == []
    assert (world.workspace / "README").read_text() == "mine\n"


async def test_an_edit_of_the_users_elsewhere_is_told_on_the_card(world: World) -> None:
    def meanwhile(guest: FakeGuest) -> None:
        guest.upper.write("new.txt", b"new\n")
        (world.workspace / "README").write_text("mine\n")

    world.program("edit", meanwhile)
    asked = FixedApprover([End.APPROVED])
    outcome = await one(world, asked, "edit")
    assert outcome.kind is OutcomeKind.COMMITTED
    assert asked.cards[0].host_changes == ("README",)
    assert (world.workspace / "README").read_text() == "mine\n"


@pytest.mark.guarantee("G1")
async def test_a_read_of_something_secret_is_asked_about_although_it_changes_nothing(
    world: World,
) -> None:
    world.program("cat", nothing, b"PASSWORD=x\n")
    rejected = await one(world, FixedApprover([End.REJECTED]), "cat", ".env")
    assert (rejected.kind, rejected.report) == (OutcomeKind.DISCARDED, None)
    approved = await one(world, FixedApprover([End.APPROVED]), "cat", ".env")
    assert approved.kind is OutcomeKind.EXECUTED
    assert approved.report is not None
    assert approved.report.stdout == b"PASSWORD=x\n"


async def test_an_unknown_tool_never_reaches_a_machine(world: World) -> None:
    async with world.session() as session:
        outcome = await session.call("mail", to="everyone")
    assert outcome.kind in {OutcomeKind.DENIED, OutcomeKind.FAILED}
    assert world.hypervisor.machines == []


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("template", WireError("bad frame")),
        ("restore", GuestLost("never answered")),
        ("attach", GuestLost("gone")),
        ("reseed", GuestLost("gone")),
        ("mount", GuestLost("gone")),
        ("execute", GuestLost("killed")),
        ("harvest", WireError("bad frame")),
        ("pause", GuestLost("gone")),
    ],
)
async def test_a_machine_that_fails_at_any_point_leaves_the_workspace_as_it_was(
    world: World, operation: str, fault: Exception
) -> None:
    world.program("edit", edit)
    world.hypervisor.faults[operation] = fault
    before = fingerprint(world.workspace)
    asked = FixedApprover([End.APPROVED])
    outcome = await one(world, asked, "edit")
    assert (outcome.kind, outcome.report) == (OutcomeKind.FAILED, None)
    assert outcome.decision is not None
    assert outcome.decision.end is End.FAILED
    assert asked.cards == []
    assert fingerprint(world.workspace) == before
    assert all(machine.state is VmState.STOPPED for machine in world.hypervisor.machines)
    assert world.verifies()


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    "claims",
    [
        [UpperFile(b"../outside", 0o644, 0, 0)],
        [UpperFile(b"/etc/passwd", 0o644, 0, 0)],
        [Whiteout(b"src"), UpperFile(b"src/x", 0o644, 0, 0)],
        [UpperFile(b"short", 0o644, 2, 0), FileBytes(0, b"longer")],
        [UpperDirectory(b".luminaguard-x", 0o755, opaque=False, redirect=None)],
    ],
)
async def test_a_guest_that_lies_about_its_changes_gets_nothing_committed(
    world: World, claims: list[UpperRecord]
) -> None:
    def lie(guest: FakeGuest) -> None:
        guest.claims = claims

    world.program("lie", lie)
    before = fingerprint(world.root)
    asked = FixedApprover([End.APPROVED])
    outcome = await one(world, asked, "lie")
    assert outcome.kind is OutcomeKind.FAILED
    assert asked.cards == []
    assert {k: v for k, v in before.items() if k.startswith("project/")} == {
        k: v for k, v in fingerprint(world.root).items() if k.startswith("project/")
    }


async def test_a_command_that_runs_too_long_is_killed_and_changes_nothing(world: World) -> None:
    async def hang(guest: FakeGuest, _: Execution) -> GuestReport:
        edit(guest)
        await anyio.sleep_forever()
        return exited(0)

    world.hypervisor.programs["hang"] = hang
    before = fingerprint(world.workspace)
    asked = FixedApprover([End.APPROVED])
    async with world.session(asked, command_timeout_s=0.05) as session:
        outcome = await session.exec(["hang"])
    assert (outcome.kind, outcome.error_code) == (OutcomeKind.FAILED, "timeout")
    assert outcome.report is None
    assert asked.cards == []
    assert fingerprint(world.workspace) == before
    assert world.hypervisor.machines[0].state is VmState.STOPPED


async def test_an_interrupted_command_changes_nothing_and_its_end_is_recorded(
    world: World,
) -> None:
    async def hang(guest: FakeGuest, _: Execution) -> GuestReport:
        edit(guest)
        session.interrupt()
        await anyio.sleep_forever()
        return exited(0)

    world.hypervisor.programs["hang"] = hang
    before = fingerprint(world.workspace)
    async with world.session(FixedApprover([End.APPROVED])) as session:
        outcome = await session.exec(["hang"])
        again = await session.exec(["true"])
    assert (outcome.kind, outcome.error_code) == (OutcomeKind.FAILED, "interrupted")
    assert again.kind is OutcomeKind.EXECUTED
    assert fingerprint(world.workspace) == before
    assert world.hypervisor.machines[0].state is VmState.STOPPED
    assert world.verifies()


async def test_an_interruption_between_calls_ends_the_next_one(world: World) -> None:
    async with world.session(FixedApprover([])) as session:
        await session.exec(["true"])
        session.interrupt()
        outcome = await session.exec(["true"])
        again = await session.exec(["true"])
    assert (outcome.kind, outcome.error_code) == (OutcomeKind.FAILED, "interrupted")
    assert again.kind is OutcomeKind.EXECUTED


@pytest.mark.guarantee("G7")
async def test_every_call_is_recorded_before_it_runs_and_to_its_end(world: World) -> None:
    world.program("edit", edit)
    await one(world, FixedApprover([End.APPROVED]), "edit")
    assert world.kinds() == [
        "log.created",
        "session.started",
        "call.proposed",
        "call.rehearsed",
        "approval.requested",
        "approval.decided",
        "commit.started",
        "commit.finished",
        "call.outcome",
        "session.ended",
    ]


@pytest.mark.guarantee("G7")
async def test_a_call_that_cannot_be_recorded_does_not_run(world: World) -> None:
    world.program("edit", edit)
    before = fingerprint(world.workspace)
    async with world.session(FixedApprover([End.APPROVED])) as session:
        head = world.root / "state" / "audit" / "head.json"
        saved = head.read_bytes()
        head.write_bytes(b"not a head")
        with pytest.raises(AuditWriteFailed):
            await session.exec(["edit"])
        head.write_bytes(saved)
    assert all(not machine.executed for machine in world.hypervisor.machines)
    assert fingerprint(world.workspace) == before


@pytest.mark.guarantee("G7")
async def test_a_decision_that_cannot_be_recorded_commits_nothing(world: World) -> None:
    head = world.root / "state" / "audit" / "head.json"
    saved: list[bytes] = []

    def approve_and_break_the_log(request: ApprovalRequest, _: DiffCard) -> Decision:
        saved.append(head.read_bytes())
        head.write_bytes(b"not a head")
        return Decision(
            end=End.APPROVED,
            request_digest=request.digest,
            approver="fixed",
            reason="",
            at=request.requested_at,
        )

    world.program("edit", edit)
    before = fingerprint(world.workspace)
    async with world.session(FixedApprover([approve_and_break_the_log])) as session:
        with pytest.raises(AuditWriteFailed):
            await session.exec(["edit"])
        head.write_bytes(saved[0])
    assert fingerprint(world.workspace) == before


@pytest.mark.guarantee("G10")
async def test_secrets_of_the_workspace_are_left_out_and_counted_on_the_card(
    world: World,
) -> None:
    (world.workspace / ".env").write_text("TOKEN=1\n")
    world.program("edit", edit)
    asked = FixedApprover([End.REJECTED])
    await one(world, asked, "edit")
    assert asked.cards[0].left_out == (".env",)


async def test_a_user_is_told_when_the_first_machine_takes_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("luminaguard.pipeline.machine.SLOW_S", 0.0)
    async with world.session(notice=told.append) as session:
        await session.exec(["true"])
        await session.exec(["true"])
    assert [("first machine" in text) for text in told] == [True]


async def test_nothing_is_left_behind_by_a_session(world: World, tmp_path: Path) -> None:
    world.program("edit", edit)
    await one(world, FixedApprover([End.REJECTED]), "edit")
    assert list((tmp_path / "state" / "spool").iterdir()) == []
    assert not list(world.workspace.glob(".luminaguard*"))


@pytest.mark.guarantee("G4")
async def test_more_changes_than_may_be_taken_back_end_as_failed(world: World) -> None:
    world.program("edit", lambda guest: guest.upper.write("big", b"x" * 2000))
    before = fingerprint(world.workspace)
    asked = FixedApprover([End.APPROVED])
    async with world.session(asked, max_changeset_bytes=1000) as session:
        outcome = await session.exec(["edit"])
    assert (outcome.kind, outcome.error_code) == (OutcomeKind.FAILED, "workspace-too-large")
    assert "max_changeset_bytes" in outcome.error
    assert asked.cards == []
    assert fingerprint(world.workspace) == before


@pytest.mark.root
@pytest.mark.guarantee("G4")
async def test_a_full_disk_while_taking_changes_in_ends_as_failed(world: World) -> None:
    spools = world.root / "state" / "spool"
    spools.mkdir(parents=True)
    tiny = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(spools)]
    subprocess.run(tiny, check=True)  # noqa: ASYNC221 - quick, and ours
    try:
        world.program("edit", lambda guest: guest.upper.write("big", b"x" * 1_000_000))
        before = fingerprint(world.workspace)
        outcome = await one(world, FixedApprover([End.APPROVED]), "edit")
        assert (outcome.kind, outcome.error_code) == (OutcomeKind.FAILED, "workspace")
        assert "No space left" in outcome.error
        assert fingerprint(world.workspace) == before
        assert list(spools.iterdir()) == []
    finally:
        subprocess.run(["umount", str(spools)], check=True)  # noqa: ASYNC221 - quick, and ours
    assert world.verifies()
