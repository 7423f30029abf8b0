"""Screens in other processes: they see whole cards, and their answers count once, if proved."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from desks import SECRET, asking_desk, known_secret, numbered_card, until_ended
from luminaguard.approval.codec import card as codec
from luminaguard.approval.desk.admission import Admission, admission
from luminaguard.approval.desk.client import Identity, RemoteDesk, find_desks
from luminaguard.approval.desk.desk import UNSEEN, Answer, Desk
from luminaguard.approval.desk.held import DeskApprover, HeldDesk
from luminaguard.approval.desk.refusals import (
    AnswerRefused,
    DeskLost,
    NotProven,
    RequestExpired,
    RequestSpent,
    RequestWithdrawn,
    SecretWanted,
    UnknownRequest,
)
from luminaguard.approval.desk.secret import (
    FILE_NAME,
    Prover,
    enroll,
    enrolled,
    statement,
    unlock,
)
from luminaguard.approval.desk.server import served
from luminaguard.approval.queue import ApprovalQueue
from luminaguard.domain.approval import End
from luminaguard.errors import ApprovalError, WorkspaceRefused

pytestmark = pytest.mark.anyio

YES = Answer(end=End.APPROVED, reason="looks right")
NO = Answer(end=End.REJECTED, reason="not that file")
ONE, TWO = numbered_card(1), numbered_card(2)


def prover() -> Prover:
    return known_secret()[1]


@pytest.mark.guarantee("G2")
async def test_another_process_sees_the_cards_of_all_sessions_whole(tmp_path: Path) -> None:
    async with asking_desk(tmp_path, ONE, TWO) as desk:
        _, pending = await desk.seen()
        assert [item.card for item in pending] == [ONE, TWO]
        assert [item.origin for item in pending] == ["a test", "a test"]
        assert pending == desk.held.pending()


@pytest.mark.guarantee("G1")
async def test_a_yes_with_the_secret_counts_and_the_record_says_how_it_was_proved(
    tmp_path: Path,
) -> None:
    async with asking_desk(tmp_path, ONE, TWO) as desk:
        screen, _ = await desk.seen(prover())
        decision = await screen.answer(ONE.request.digest, YES)
        assert await until_ended(desk, ONE) == decision
        assert (decision.end, decision.approver, decision.reason) == (
            End.APPROVED,
            "queue",
            "looks right",
        )
        assert f"key {known_secret()[0].fingerprint}" in decision.proof
        assert "signature" in decision.proof
        assert "process" in decision.proof
        assert [item.card for item in desk.held.pending()] == [TWO]


@pytest.mark.guarantee("G1")
async def test_a_yes_without_the_secret_is_refused_and_the_request_stays_open(
    tmp_path: Path,
) -> None:
    async with asking_desk(tmp_path, ONE) as desk:
        screen, _ = await desk.seen()
        with pytest.raises(SecretWanted):
            await screen.answer(ONE.request.digest, YES)
        assert desk.end_of(ONE) is None
        screen.identity.prover = prover()
        assert (await screen.answer(ONE.request.digest, YES)).end is End.APPROVED


async def test_a_no_needs_no_secret(tmp_path: Path) -> None:
    async with asking_desk(tmp_path, ONE) as desk:
        screen, _ = await desk.seen()
        decision = await screen.answer(ONE.request.digest, NO)
        assert (decision.end, decision.reason) == (End.REJECTED, "not that file")
        assert (await until_ended(desk, ONE)).proof.startswith("none needed to reject; process")


class Replaying(Prover):
    """Signs what it was told, not what it is asked to."""

    def __init__(self, signature: bytes) -> None:
        self._signature = signature

    def sign(self, content: bytes) -> bytes:
        del content
        return self._signature


class Remembering(Prover):
    def __init__(self) -> None:
        self.signature = b""

    def sign(self, content: bytes) -> bytes:
        self.signature = prover().sign(content)
        return self.signature


@pytest.mark.guarantee("G1")
async def test_a_signature_is_good_for_one_answer_to_one_request(tmp_path: Path) -> None:
    async with asking_desk(tmp_path, ONE, TWO) as desk:
        seen = Remembering()
        screen, _ = await desk.seen(seen)
        await screen.answer(ONE.request.digest, YES)
        for signature in (seen.signature, bytes(64), b"short"):
            thief, _ = await desk.seen(Replaying(signature))
            with pytest.raises(NotProven):
                await thief.answer(TWO.request.digest, YES)
        assert desk.end_of(TWO) is None


@pytest.mark.guarantee("G1")
def test_what_is_signed_is_another_for_every_request_answer_and_challenge() -> None:
    rule = Admission(enrollment=known_secret()[0])
    assert len({rule.challenge(YES) for _ in range(100)}) == 100
    signed = {
        statement(digest, answer, challenge)
        for digest in ("d" * 64, "e" * 64)
        for answer in (YES, NO, Answer(end=End.APPROVED), replace(YES, grant="exact"))
        for challenge in ("1", "2")
    }
    assert len(signed) == 2 * 4 * 2


@pytest.mark.guarantee("G1")
async def test_wrong_secrets_are_slowed_down_and_the_right_one_too(tmp_path: Path) -> None:
    clock = [100.0]
    rule = Admission(enrollment=known_secret()[0], steady=lambda: clock[0])
    async with asking_desk(tmp_path, ONE, admission=rule) as desk:
        thief, _ = await desk.seen(Replaying(bytes(64)))
        for _ in range(3):
            with pytest.raises(NotProven, match="not signed"):
                await thief.answer(ONE.request.digest, YES)
        human, _ = await desk.seen(prover())
        for wait_s in (1.0, 2.0, 4.0):
            for screen in (thief, human):
                with pytest.raises(NotProven, match="too many wrong secrets"):
                    await screen.answer(ONE.request.digest, YES)
            clock[0] += wait_s
            with pytest.raises(NotProven, match="not signed"):
                await thief.answer(ONE.request.digest, YES)
        clock[0] += 300
        assert (await human.answer(ONE.request.digest, YES)).end is End.APPROVED


@pytest.mark.guarantee("G1")
async def test_a_secret_that_was_enrolled_after_the_session_began_does_not_count(
    tmp_path: Path,
) -> None:
    with pytest.raises(ApprovalError, match="no approver secret is enrolled"):
        admission(None, unattended="")
    began_without = Admission(enrollment=None)
    async with asking_desk(tmp_path, ONE, admission=began_without) as desk:
        screen, _ = await desk.seen(prover())
        with pytest.raises(NotProven, match="began without"):
            await screen.answer(ONE.request.digest, YES)
        assert (await screen.answer(ONE.request.digest, NO)).end is End.REJECTED


async def test_where_unattended_use_is_allowed_the_record_says_that_nothing_was_proved(
    tmp_path: Path,
) -> None:
    rule = admission(None, unattended="configuration")
    async with asking_desk(tmp_path, ONE, admission=rule) as desk:
        screen, _ = await desk.seen()
        decision = await screen.answer(ONE.request.digest, YES)
        assert "unattended use is allowed by configuration" in decision.proof


@pytest.mark.guarantee("G2")
async def test_of_two_deciders_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    told: list[End | type[Exception]] = []

    async def decide(screen: Desk, answer: Answer) -> None:
        try:
            told.append((await screen.answer(ONE.request.digest, answer)).end)
        except AnswerRefused as refused:
            told.append(type(refused))

    async with asking_desk(tmp_path, ONE) as desk:
        screens = [await desk.seen(prover()) for _ in range(4)]
        async with anyio.create_task_group() as tasks:
            for number, (screen, _) in enumerate(screens):
                tasks.start_soon(decide, screen, YES if number % 2 else NO)
        decision = await until_ended(desk, ONE)
        assert sorted(told, key=str) == sorted([decision.end, *[RequestSpent] * 3], key=str)


@pytest.mark.guarantee("G4")
async def test_what_is_no_longer_open_cannot_be_answered(tmp_path: Path) -> None:
    brief = numbered_card(3, open_s=0.3)
    async with asking_desk(tmp_path, brief) as desk:
        screen, _ = await desk.seen(prover())
        assert (await until_ended(desk, brief)).end is End.EXPIRED
        with pytest.raises(RequestExpired):
            await screen.answer(brief.request.digest, YES)
        with pytest.raises(UnknownRequest):
            await screen.answer("0" * 64, YES)
        with anyio.move_on_after(0.01):
            await desk.held.ask(TWO.request, TWO, origin="cancelled")
        with pytest.raises(RequestWithdrawn):
            await screen.answer(TWO.request.digest, YES)


async def test_a_screen_hears_of_every_change(tmp_path: Path) -> None:
    async with asking_desk(tmp_path, ONE) as desk:
        screen, _ = await desk.seen()
        version = await screen.wait_for_change(UNSEEN)
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                await desk.held.ask(TWO.request, TWO, origin="later")

            tasks.start_soon(ask)
            version = await screen.wait_for_change(version)
            assert [item.card for item in screen.pending()] == [ONE, TWO]
            tasks.cancel_scope.cancel()
        await screen.wait_for_change(version)
        assert [item.card for item in screen.pending()] == [ONE]


@pytest.mark.guarantee("G4")
async def test_a_request_stays_open_when_its_screen_dies_and_another_may_attach(
    tmp_path: Path,
) -> None:
    async with asking_desk(tmp_path, ONE) as desk:
        screen, _ = await desk.seen(prover())
        with anyio.move_on_after(0.05):  # the screen dies while it waits
            await screen.wait_for_change(desk.held.version)
        assert desk.end_of(ONE) is None
        other, pending = await desk.seen(prover())
        assert [item.card for item in pending] == [ONE]
        assert (await other.answer(ONE.request.digest, YES)).end is End.APPROVED


@pytest.mark.guarantee("G4")
async def test_without_the_process_that_asked_nobody_can_answer(tmp_path: Path) -> None:
    async with asking_desk(tmp_path, ONE) as desk:
        screen, _ = await desk.seen(prover())
    with pytest.raises(DeskLost):
        await screen.answer(ONE.request.digest, YES)
    with pytest.raises(DeskLost):
        await screen.wait_for_change(UNSEEN)
    assert find_desks(tmp_path) == ()


async def test_a_session_gets_its_decision_through_the_desk(tmp_path: Path) -> None:
    async with asking_desk(tmp_path) as desk:
        approver = DeskApprover(desk=desk.held, origin="session")
        screen, _ = await desk.seen(prover())

        async def decide() -> None:
            await screen.wait_for_change(0)
            await screen.answer(screen.pending()[0].digest, YES)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(decide)
            decision = await ApprovalQueue(approver=approver).ask(ONE.request, ONE)
            assert (decision.end, decision.approver) == (End.APPROVED, "queue")


@pytest.mark.guarantee("G1")
async def test_the_session_hears_of_a_wrong_secret_and_who_gave_it(tmp_path: Path) -> None:
    desk, told = HeldDesk(approver="queue"), list[str]()
    rule = Admission(enrollment=known_secret()[0])
    async with served(desk, runtime_dir=tmp_path, admission=rule, notice=told.append):
        (thief,) = find_desks(tmp_path, Identity(Replaying(bytes(64))))
        with pytest.raises(NotProven):
            await thief.answer(ONE.request.digest, YES)
    assert len(told) == 1
    assert f"wrong approver secret was given by process {os.getpid()} of uid" in told[0]


async def test_an_error_of_the_session_comes_out_as_itself(tmp_path: Path) -> None:
    desk = HeldDesk(approver="queue")
    rule = Admission(enrollment=known_secret()[0])
    with pytest.raises(WorkspaceRefused):
        async with served(desk, runtime_dir=tmp_path, admission=rule):
            raise WorkspaceRefused("not this tree")
    assert find_desks(tmp_path) == ()


async def test_more_screens_than_may_wait_are_served_all_the_same(tmp_path: Path) -> None:
    async with asking_desk(tmp_path, ONE) as desk, anyio.create_task_group() as tasks:
        version = desk.held.version
        for _ in range(40):
            tasks.start_soon(desk.client().wait_for_change, version)
        screen, _ = await desk.seen(prover())
        await screen.answer(ONE.request.digest, YES)


async def test_a_card_that_cannot_be_sent_hides_no_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "LONGEST_CARD_BYTES", 50_000)
    huge = replace(TWO, prose="x" * 50_000)
    async with asking_desk(tmp_path, ONE, huge) as desk:
        screen, pending = await desk.seen(prover())
        assert [item.card for item in pending] == [ONE]
        (why,) = screen.unshown.values()
        assert "too many for another process" in why


async def test_the_desks_of_two_processes_share_what_the_screen_has_proved(tmp_path: Path) -> None:
    async with asking_desk(tmp_path, ONE), asking_desk(tmp_path, TWO):
        shared = Identity()
        desks = find_desks(tmp_path, shared)
        assert len(desks) == 2
        assert all(desk.identity is shared for desk in desks)


def test_an_enrolled_secret_opens_with_itself_only(tmp_path: Path) -> None:
    made = enroll(tmp_path, SECRET, at=datetime.now(UTC))
    kept = tmp_path / FILE_NAME
    assert kept.stat().st_mode & 0o777 == 0o600
    assert SECRET.encode() not in kept.read_bytes()
    assert enrolled(tmp_path) == made
    signed = unlock(made, SECRET).sign(b"something")
    assert made.is_signed(b"something", signed)
    assert not made.is_signed(b"something else", signed)
    with pytest.raises(NotProven):
        unlock(made, SECRET + "!")


def test_two_people_with_the_same_secret_have_different_keys(tmp_path: Path) -> None:
    made = [enroll(tmp_path, SECRET, at=datetime.now(UTC)) for _ in range(2)]
    assert made[0].public_key != made[1].public_key


@pytest.mark.parametrize("secret", ["", "seven77", "x" * 1_001])
def test_a_secret_of_a_bad_length_is_refused(tmp_path: Path, secret: str) -> None:
    with pytest.raises(ApprovalError, match="characters"):
        enroll(tmp_path, secret, at=datetime.now(UTC))
    assert enrolled(tmp_path) is None


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b"x" * 5_000, b'{"version":2}'],
)
def test_a_damaged_enrollment_lets_nobody_approve(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ApprovalError, match="damaged"):
        enrolled(tmp_path)


@pytest.mark.guarantee("G1")
def test_an_enrollment_that_others_could_have_written_does_not_count(tmp_path: Path) -> None:
    enroll(tmp_path, SECRET, at=datetime.now(UTC))
    path = tmp_path / FILE_NAME
    for mode in (0o620, 0o602, 0o604):
        path.chmod(mode)
        with pytest.raises(ApprovalError, match="others"):
            enrolled(tmp_path)
    real = tmp_path / "elsewhere.json"
    path.chmod(0o600)
    path.rename(real)
    path.symlink_to(real)
    with pytest.raises(ApprovalError):
        enrolled(tmp_path)


def is_a_desk(desk: RemoteDesk) -> Desk:
    return desk
