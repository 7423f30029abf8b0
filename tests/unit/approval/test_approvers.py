"""Approvers that ask nobody, and the queue that trusts no approver."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest

from luminaguard.approval.approver import INTERRUPTED
from luminaguard.approval.approvers import AllApprover, DenyApprover, all_approver
from luminaguard.approval.bind import still_binds
from luminaguard.approval.card import DiffCard
from luminaguard.approval.queue import ApprovalQueue, Escalation, InTurn
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.errors import ApprovalError, ChangesetConflict
from luminaguard.testing.approver import FixedApprover, answering_another_request
from luminaguard.testing.cards import text_card

pytestmark = pytest.mark.anyio

CARD = text_card({"a.txt": ("old", "new")}, open_for=timedelta(days=1))  # outlasts a long test run
REQUEST = CARD.request


async def ask(approver: object, card: DiffCard = CARD) -> Decision:
    queue = ApprovalQueue(approver=approver, grace_s=0.05)  # type: ignore[arg-type]
    with anyio.fail_after(5):
        return await queue.ask(card.request, card)


@pytest.mark.guarantee("G4")
async def test_deny_rejects_and_says_how_to_be_asked() -> None:
    decision = await ask(DenyApprover())
    assert decision.end is End.REJECTED
    assert "--approver tty" in decision.reason


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("environ", [{}, {"LUMINAGUARD_ALLOW_UNATTENDED": "0"}])
def test_all_is_refused_without_a_permission(environ: dict[str, str]) -> None:
    with pytest.raises(ApprovalError) as refused:
        all_approver(environ, config_entry=False)
    assert "LUMINAGUARD_ALLOW_UNATTENDED=1" in str(refused.value.hint)
    with pytest.raises(ApprovalError):
        AllApprover(allowed_by="because")


@pytest.mark.guarantee("G1")
async def test_all_approves_loudly_and_names_its_permission() -> None:
    loud: list[str] = []
    for approver in (
        all_approver({"LUMINAGUARD_ALLOW_UNATTENDED": "1"}, config_entry=False),
        all_approver({}, config_entry=True),
        all_approver({}, config_entry=False, knows_secret=lambda: True),
    ):
        approver.warn = loud.append
        decision = await ask(approver)
        await ask(approver)
        assert (decision.end, decision.approver) == (End.APPROVED, "all")
        assert approver.allowed_by in decision.proof
    assert sum("WARNING" in line for line in loud) == 3, "once for each approver"
    assert sum("approved unseen [medium]: 1 path changes" in line for line in loud) == 6


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize("end", End)
async def test_the_four_ends_stay_apart(end: End) -> None:
    assert (await ask(FixedApprover([end]))).end is end


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    "answer",
    [RuntimeError("broken"), ApprovalError("no screen"), answering_another_request],
)
async def test_a_broken_or_confused_approver_fails(answer: Exception) -> None:
    decision = await ask(FixedApprover([answer]))
    assert decision.end is End.FAILED
    assert decision.request_digest == REQUEST.digest


@pytest.mark.guarantee("G4")
async def test_an_answer_in_another_name_fails() -> None:
    def impostor(request: ApprovalRequest, card: DiffCard) -> Decision:
        return Decision(
            end=End.APPROVED,
            request_digest=request.digest,
            approver="tty",
            reason="",
            at=datetime.now(UTC),
        )

    assert (await ask(FixedApprover([impostor]))).end is End.FAILED


class Hanging:
    name = "hanging"

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        await anyio.sleep_forever()
        raise AssertionError


@pytest.mark.guarantee("G4")
async def test_an_approver_that_hangs_lets_the_request_expire() -> None:
    card = text_card({"a": (None, "b")}, open_for=timedelta(seconds=0.05))
    assert (await ask(Hanging(), card)).end is End.EXPIRED


@pytest.mark.guarantee("G4")
async def test_a_yes_after_the_expiry_is_no_yes() -> None:
    card = text_card({"a": (None, "b")})
    times: Iterator[datetime] = iter(
        [card.request.requested_at] * 2 + [card.request.expires_at] * 9
    )
    queue = ApprovalQueue(approver=FixedApprover([End.APPROVED]), now=lambda: next(times))
    assert (await queue.ask(card.request, card)).end is End.EXPIRED


@pytest.mark.guarantee("G4")
async def test_a_request_that_expired_while_waiting_its_turn_is_not_shown() -> None:
    approver = FixedApprover([End.APPROVED])
    card = text_card({"a": (None, "b")}, open_for=timedelta(seconds=-1))
    assert (await ask(approver, card)).end is End.EXPIRED
    assert approver.cards == []


@pytest.mark.guarantee("G2")
async def test_a_card_of_another_request_is_not_shown() -> None:
    approver = FixedApprover([End.APPROVED])
    other = replace(REQUEST, nonce="other")
    assert (await ApprovalQueue(approver=approver).ask(other, CARD)).end is End.FAILED
    assert approver.cards == []


class Counting:
    name = "counting"
    now = most = 0

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        self.now += 1
        self.most = max(self.most, self.now)
        await anyio.lowlevel.checkpoint()
        self.now -= 1
        return answered(self.name, End.REJECTED)


def answered(name: str, end: End, reason: str = "") -> Decision:
    now = datetime.now(UTC)
    return Decision(end=end, request_digest=REQUEST.digest, approver=name, reason=reason, at=now)


async def test_an_approver_can_be_asked_one_question_at_a_time_by_many_sessions() -> None:
    approver = Counting()
    shared = InTurn(approver=approver)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ApprovalQueue(approver=shared).ask, REQUEST, CARD)
    assert approver.most == 1


async def test_a_queue_asks_the_questions_of_many_sessions_at_once() -> None:
    approver = Counting()
    queue = ApprovalQueue(approver=approver)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(queue.ask, REQUEST, CARD)
    assert approver.most == 5


@pytest.mark.guarantee("G4")
async def test_setting_the_clock_back_does_not_keep_a_request_open() -> None:
    started = CARD.request.requested_at
    steady = iter([0.0, 0.0, timedelta(days=2).total_seconds()])
    queue = ApprovalQueue(
        approver=FixedApprover([End.APPROVED], now=lambda: started),
        now=lambda: started,
        steady=lambda: next(steady),
    )
    assert (await queue.ask(REQUEST, CARD)).end is End.EXPIRED


@pytest.mark.guarantee("G1")
async def test_a_yes_cannot_be_remembered_in_a_way_that_was_not_offered() -> None:
    def greedy(request: ApprovalRequest, card: DiffCard) -> Decision:
        del request, card
        return replace(answered("fixed", End.APPROVED), grant="everything")

    decision = await ask(FixedApprover([greedy]))
    assert (decision.end, decision.grant) == (End.FAILED, "")


class Scripted:
    """Waits for its cue, then answers."""

    def __init__(self, name: str, *answers: Decision, cue: anyio.Event | None = None) -> None:
        self.name = name
        self.answers = answers
        self.cue = cue
        self.asked = anyio.Event()
        self.is_withdrawn = False

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        del request, card
        self.asked.set()
        try:
            if self.cue is not None:
                await self.cue.wait()
        except anyio.get_cancelled_exc_class():
            self.is_withdrawn = True
            raise
        return self.answers[0]


async def escalated(first: Scripted, second: Scripted, after_s: float) -> Decision:
    told: list[str] = []
    queue = ApprovalQueue(
        approver=first,
        escalation=Escalation(after_s=after_s, to=second),
        notice=told.append,
    )
    with anyio.fail_after(5):
        decision = await queue.ask(REQUEST, CARD)
    assert bool(told) == second.asked.is_set()
    return decision


async def test_another_is_asked_when_the_first_does_not_answer_and_the_record_says_so() -> None:
    first = Scripted("tty", cue=anyio.Event())
    second = Scripted("queue", answered("queue", End.APPROVED))
    decision = await escalated(first, second, 0.01)
    assert (decision.end, decision.approver) == (End.APPROVED, "queue")
    assert decision.as_json()["offered"] == ["tty", "queue"]
    assert first.is_withdrawn


async def test_the_first_can_still_answer_after_another_was_asked() -> None:
    never = anyio.Event()
    second = Scripted("queue", cue=never)
    first = Scripted("tty", answered("tty", End.REJECTED, "no"), cue=second.asked)
    decision = await escalated(first, second, 0.01)
    assert (decision.end, decision.approver, decision.offered) == (
        End.REJECTED,
        "tty",
        ("tty", "queue"),
    )
    assert second.is_withdrawn


async def test_nobody_else_is_asked_when_the_first_answers_in_time() -> None:
    second = Scripted("queue", answered("queue", End.APPROVED))
    decision = await escalated(Scripted("tty", answered("tty", End.REJECTED)), second, 60)
    assert (decision.end, decision.offered) == (End.REJECTED, ())
    assert not second.asked.is_set()


async def test_a_lost_screen_is_no_answer_where_another_can_be_asked() -> None:
    lost = Scripted("tty", answered("tty", End.FAILED, "the terminal was closed"))
    second = Scripted("queue", answered("queue", End.APPROVED))
    assert (await escalated(lost, second, 60)).end is End.APPROVED


@pytest.mark.guarantee("G4")
async def test_ctrl_c_is_an_answer_also_where_another_could_be_asked() -> None:
    ended = Scripted("tty", answered("tty", End.FAILED, INTERRUPTED))
    second = Scripted("queue", answered("queue", End.APPROVED))
    assert (await escalated(ended, second, 60)).end is End.FAILED
    assert not second.asked.is_set()


@pytest.mark.guarantee("G1")
async def test_a_no_beats_a_yes_of_the_same_moment() -> None:
    cue = anyio.Event()
    first = Scripted("tty", answered("tty", End.APPROVED), cue=cue)
    second = Scripted("queue", answered("queue", End.REJECTED), cue=cue)

    async def both() -> None:
        await second.asked.wait()
        cue.set()

    decisions: list[Decision] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(both)
        decisions = [await escalated(first, second, 0.01)]
    assert [(item.end, item.approver) for item in decisions] == [(End.REJECTED, "queue")]


async def test_a_script_that_runs_out_fails() -> None:
    assert (await ask(FixedApprover([]))).end is End.FAILED


YES = Decision(
    end=End.APPROVED,
    request_digest=REQUEST.digest,
    approver="tty",
    reason="",
    at=REQUEST.requested_at,
)


def check(decision: Decision = YES, drifted: str = "", *, now: datetime | None = None) -> None:
    def fact(name: str) -> str:
        return "another" if name == drifted else str(getattr(REQUEST, name))

    still_binds(
        REQUEST,
        decision,
        call_digest=fact("call_digest"),
        changeset_digest=fact("changeset_digest"),
        policy_version=fact("policy_version"),
        now=now or REQUEST.requested_at,
    )


@pytest.mark.guarantee("G2")
def test_a_yes_binds_while_nothing_moved() -> None:
    check()


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("fact", ["call_digest", "changeset_digest", "policy_version"])
def test_a_yes_does_not_bind_what_drifted(fact: str) -> None:
    with pytest.raises(ChangesetConflict):
        check(drifted=fact)


@pytest.mark.guarantee("G2")
def test_a_yes_does_not_bind_after_the_expiry() -> None:
    with pytest.raises(ApprovalError, match="expired"):
        check(now=REQUEST.expires_at)


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize(
    "decision",
    [
        *(replace(YES, end=end) for end in End if end is not End.APPROVED),
        replace(YES, request_digest="x"),
        replace(YES, at=REQUEST.expires_at + timedelta(seconds=1)),
        replace(YES, at=REQUEST.requested_at - timedelta(seconds=1)),
    ],
)
def test_what_is_no_yes_to_this_request_does_not_bind(decision: Decision) -> None:
    with pytest.raises(ApprovalError):
        check(decision)
